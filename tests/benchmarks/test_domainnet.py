import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from image_data import facts
from PIL import Image

from avl_pegp.benchmarks import DOMAINNET, DataError, domainnet, split_domainnet

PER_LIST = {"train": 690, "test": 345}  # images in a list of the miniature
LISTS = [f"{domain}_{part}.txt" for domain in DOMAINNET for part in PER_LIST]


@pytest.fixture
def linked(miniature, tmp_path: Path) -> Path:
    """A miniature whose lists and class folders a test may change, but not its images."""
    root = miniature("domainnet")
    for domain in DOMAINNET:
        (tmp_path / domain).mkdir()
        for folder in (root / domain).iterdir():
            (tmp_path / domain / folder.name).symlink_to(folder)
    for name in LISTS:
        shutil.copy(root / name, tmp_path)
    return tmp_path


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines()


def class_of(line: str) -> str:
    return line.split("/")[1]


def rename(root: Path, old: str, new: str) -> None:
    for domain in DOMAINNET:
        (root / domain / old).rename(root / domain / new)
    for name in LISTS:
        (root / name).write_text((root / name).read_text().replace(f"/{old}/", f"/{new}/"))


def remove(file: Path, *classes: str, keep: int = 0) -> None:
    """Take classes out of a list, but for the first few images of each."""
    lines = lines_of(file)
    for name in classes:
        own = [line for line in lines if class_of(line) == name]
        lines = [line for line in lines if line not in own[keep:]]
    file.write_text("\n".join(lines))


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image))


def on_disk(root: Path, lines: list[str]) -> list[bytes]:
    return [pixels(Image.open(root / line.split()[0])).numpy().tobytes() for line in lines]


def test_each_domain_is_an_experience_of_all_classes(miniature) -> None:
    benchmark = domainnet(miniature("domainnet"))
    assert benchmark.domains == DOMAINNET
    assert len(benchmark.class_names) == 345
    for stream, part in ((benchmark.train_stream, "train"), (benchmark.test_stream, "test")):
        for experience in stream:
            assert set(experience.dataset.targets) == set(range(345))
            assert len(experience.dataset) == PER_LIST[part]


def test_an_experience_has_the_images_of_its_lists_under_their_labels(miniature) -> None:
    root = miniature("domainnet")
    both = {"train_transform": pixels, "eval_transform": pixels}
    benchmark = domainnet(root, ["real", "clipart"], **both)
    for stream, part in ((benchmark.train_stream, "train"), (benchmark.test_stream, "test")):
        for experience, domain in zip(stream, ("real", "clipart"), strict=True):
            lines = lines_of(root / f"{domain}_{part}.txt")
            items = [item[:2] for item in experience.dataset]
            assert [image.numpy().tobytes() for image, _ in items] == on_disk(root, lines)
            for (_, label), line in zip(items, lines, strict=True):
                assert line.endswith(f" {label}")
                assert benchmark.class_names[label] == class_of(line)


def test_the_order_seed_draws_the_order_of_the_domains(miniature) -> None:
    root = miniature("domainnet")
    first, again, other = (domainnet(root, order_seed=seed).domains for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(first) == sorted(other) == sorted(DOMAINNET)


def test_facts_for_the_record_have_the_hashes_of_the_lists(miniature) -> None:
    root = miniature("domainnet")
    hashes = {
        name: hashlib.sha256((root / name).read_bytes()).hexdigest()
        for name in ("sketch_train.txt", "sketch_test.txt")
    }
    data = domainnet(root, ["sketch"]).data
    assert data == facts(690, 345, lacking={}, lists_sha256=hashes)


def test_the_two_gaps_of_the_official_lists_are_accepted_and_on_record(linked: Path) -> None:
    rename(linked, "class_327", "t-shirt")
    rename(linked, "class_300", "syringe")
    remove(linked / "painting_train.txt", "t-shirt")
    remove(linked / "painting_test.txt", "syringe")
    lacking = {"painting_train.txt": ["t-shirt"], "painting_test.txt": ["syringe"]}
    benchmark = domainnet(linked, ["painting"])
    assert benchmark.data["lacking"] == split_domainnet(linked).data["lacking"] == lacking
    for stream, label in ((benchmark.train_stream, 327), (benchmark.test_stream, 300)):
        assert set(stream[0].dataset.targets) == set(range(345)) - {label}


def test_pooled_domains_make_five_experiences_of_69_classes(miniature) -> None:
    benchmark = split_domainnet(miniature("domainnet"))
    for stream, part in ((benchmark.train_stream, "train"), (benchmark.test_stream, "test")):
        assert [sorted(set(experience.dataset.targets)) for experience in stream] == [
            list(range(69 * i, 69 * i + 69)) for i in range(5)
        ]
        assert sum(len(experience.dataset) for experience in stream) == 6 * PER_LIST[part]


def test_a_class_has_its_images_of_all_domains_whatever_its_label(miniature) -> None:
    root = miniature("domainnet")
    benchmark = split_domainnet(root, 69, order_seed=3, eval_transform=pixels)
    label = benchmark.class_names.index("class_123")
    experience = benchmark.test_stream[label // 5]
    lines = [line for domain in DOMAINNET for line in lines_of(root / f"{domain}_test.txt")]
    own = [line for line in lines if class_of(line) == "class_123"]
    found = [item[0].numpy().tobytes() for item in experience.dataset if item[1] == label]
    assert sorted(found) == sorted(on_disk(root, own))


def test_the_classes_with_the_most_images_are_kept_and_ties_go_by_name(linked: Path) -> None:
    fewer = [f"class_{label:03d}" for label in (*range(10), *range(300, 345))]
    remove(linked / "sketch_train.txt", *fewer, keep=1)
    rename(linked, "class_010", "zebra")  # so that names and labels are ordered differently
    rename(linked, "class_299", "ant")
    benchmark = split_domainnet(linked, n_experiences=10, n_classes=200)
    kept = [f"class_{label:03d}" for label in range(11, 210)]
    assert benchmark.class_names == (*kept, "ant")  # in the order of their labels
    assert {len(exp.classes_in_this_experience) for exp in benchmark.train_stream} == {20}
    assert benchmark.data["train_images"] == 200 * 6 * 2


def append(line: str):
    return lambda root: (root / "real_test.txt").write_text(
        (root / "real_test.txt").read_text() + line
    )


FAULTS = {
    "a list is absent": (
        lambda root: (root / "real_test.txt").unlink(),
        r"There is no file .*/real_test\.txt",
    ),
    "a domain is absent": (
        lambda root: shutil.rmtree(root / "real"),
        r"(?s)no data in .*/real\. .*real\.zip, unpacked",
    ),
    "listed images do not exist": (
        lambda root: (root / "real" / "class_005").unlink(),
        r"3 of 1035 image files do not exist: .*real/class_005/",
    ),
    "a list is cut off": (
        lambda root: (root / "real_train.txt").write_text(
            "\n".join(lines_of(root / "real_train.txt")[:680])
        ),
        r"real_train\.txt has no image of 5 of 345 classes: class_340, .*class_344",
    ),
    "a list is empty": (
        lambda root: (root / "real_train.txt").write_text("\n"),
        r"real_train\.txt has no image of 345 of 345 classes",
    ),
    "both lists lack classes": (
        lambda root: [
            remove(root / f"real_{part}.txt", "class_007", "class_008") for part in PER_LIST
        ],
        "343 labels up to 344 for 343 classes",
    ),
    "a class has two labels": (
        append("real/class_000/x.jpg 1\n"),
        "345 labels up to 344 for 345 classes in 346 combinations",
    ),
    "an image comes twice": (
        lambda root: append(lines_of(root / "real_test.txt")[0])(root),
        "real_test.txt lists 1 entries more than once: real/class_000/",
    ),
    "an image is of another domain": (
        append("clipart/class_000/x.jpg 0\n"),
        r"like .* of real; 1 are not: clipart/class_000/x\.jpg 0",
    ),
    "a label is no number": (append("real/class_000/x.jpg zero\n"), "1 are not: real/.* zero"),
    "a label is left out": (append("real/class_000/x.jpg\n"), "1 are not: line 346"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(linked: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(linked)
    with pytest.raises(DataError, match=message):
        domainnet(linked, ["real"])


def test_data_left_packed_is_named(tmp_path: Path) -> None:
    for domain in DOMAINNET:
        (tmp_path / f"{domain}.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)clipart_train\.txt.*Unpack first.*clipart\.zip"):
        split_domainnet(tmp_path)


@pytest.mark.parametrize("domains", [[], ["cartoon"], ["real", "real"]])
def test_domains_must_be_different_known_ones(domains: list[str]) -> None:
    with pytest.raises(ValueError, match="domains=.* must be one or more different ones"):
        domainnet("/no/such/folder", domains)


@pytest.mark.parametrize("n_classes", [0, 346])
def test_the_number_of_classes_is_checked(n_classes: int) -> None:
    with pytest.raises(ValueError, match=f"n_classes={n_classes} must be from 1 to 345"):
        split_domainnet("/no/such/folder", n_classes=n_classes)
