import json
import os
import shutil
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from image_data import facts
from PIL import Image

from avl_pegp.benchmarks import DataError, data, image_folder

CLASSES = ("Dog", "cat", "emu", "fox")  # as they are sorted


def paint(path: Path, colour: tuple[int, int, int] = (0, 0, 0), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).convert(mode).save(path)


def write_classes(folder: Path, per_class: int) -> None:
    """Images of which red tells the class and green the number, from the last class on."""
    for label, name in reversed(list(enumerate(CLASSES))):
        for i in range(per_class):
            paint(folder / name / f"{i}.png", (label, i, 0))


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    write_classes(tmp_path / "train", 3)
    write_classes(tmp_path / "test", 2)
    return tmp_path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    write_classes(tmp_path, 10)
    return tmp_path


def colour_of(image: Image.Image) -> torch.Tensor:
    return torch.tensor(image.getpixel((4, 4)))


def read(*args, **options) -> tuple[list, list]:
    """Class (from the image), number and label of all training images, and of all test images."""
    benchmark = image_folder(*args, train_transform=colour_of, eval_transform=colour_of, **options)
    train, test = (
        sorted((*image.tolist()[:2], label) for exp in stream for image, label, *_ in exp.dataset)
        for stream in (benchmark.train_stream, benchmark.test_stream)
    )
    return train, test


def test_folders_become_experiences_in_the_order_of_class_names(parts: Path) -> None:
    benchmark = image_folder(parts, n_experiences=2)
    assert benchmark.class_names == CLASSES
    for stream, per_class in ((benchmark.train_stream, 3), (benchmark.test_stream, 2)):
        assert [Counter(experience.dataset.targets) for experience in stream] == [
            {0: per_class, 1: per_class},
            {2: per_class, 3: per_class},
        ]


def test_labels_go_with_their_images_in_any_order(parts: Path) -> None:
    order = [2, 0, 3, 1]
    assert image_folder(parts, 4, class_order=order).class_names == ("emu", "Dog", "fox", "cat")
    for images, per_class in zip(read(parts, 4, class_order=order), (3, 2), strict=True):
        assert images == [(c, i, order.index(c)) for c in range(4) for i in range(per_class)]


def test_images_are_resized_unless_transforms_are_given(parts: Path) -> None:
    usual = image_folder(parts, 2)
    assert usual.train_stream[0].dataset[0][0].shape == (3, 224, 224)
    own = image_folder(
        parts,
        2,
        train_transform=lambda image: torch.full((1,), image.width),
        eval_transform=lambda image: torch.zeros(2),
    )
    assert own.train_stream[0].dataset[0][0].tolist() == [8]
    assert own.test_stream[0].dataset[0][0].tolist() == [0, 0]


def test_task_labels_count_the_experiences(parts: Path) -> None:
    benchmark = image_folder(parts, n_experiences=4, task_labels=True, order_seed=0)
    assert [experience.task_label for experience in benchmark.test_stream] == [0, 1, 2, 3]
    assert [set(experience.dataset.targets) for experience in benchmark.test_stream] == [
        {0},
        {1},
        {2},
        {3},
    ]


def test_facts_for_the_record_count_images_and_converted_ones(parts: Path) -> None:
    paint(parts / "train" / "cat" / "grey.png", mode="L")
    paint(parts / "test" / "fox" / "clear.png", mode="RGBA")
    data = image_folder(parts, n_experiences=2).data
    assert data == json.loads(json.dumps(data))
    assert data == facts(13, 9, converted=2, converted_L=1, converted_RGBA=1)


@pytest.mark.parametrize(
    ("fraction", "held_out"), [(0.25, 2), (0.5, 5), (0.001, 1), (0.999, 9), (0.26, 3)]
)
def test_a_share_of_each_class_is_held_out(whole: Path, fraction: float, held_out: int) -> None:
    train, test = read(whole, 2, test_fraction=fraction)
    assert sorted(train + test) == [(c, i, c) for c in range(4) for i in range(10)]
    assert Counter(label for _, _, label in test) == dict.fromkeys(range(4), held_out)
    assert len({tuple(i for c, i, _ in test if c == label) for label in range(4)}) > 1


def backwards(entries) -> list[os.DirEntry[str]]:
    with entries:
        return sorted(entries, key=lambda entry: entry.name)[::-1]


def test_the_file_systems_order_does_not_decide_what_is_held_out(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(whole, 2, test_fraction=0.3)
    for name in ("iterdir", "rglob"):
        usual = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda *args, f=usual: sorted(f(*args))[::-1])
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: nullcontext(backwards(scan(path))))
    assert read(whole, 2, test_fraction=0.3) == first


def test_the_split_seed_draws_what_is_held_out(whole: Path) -> None:
    first, again, other = (read(whole, 2, test_fraction=0.3, split_seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_another_class_leaves_the_split_of_the_others_alone(whole: Path) -> None:
    _, first = read(whole, 2, test_fraction=0.3)
    for i in range(10):
        paint(whole / "zoo" / f"{i}.png", (4, i, 0))
    _, after = read(whole, 5, test_fraction=0.3)
    assert [image for image in after if image[0] < 4] == first


def damage_parts(root: Path, fault: str) -> dict:
    """Make one thing wrong with a good folder; the options to read it with."""
    if fault == "no test folder":
        shutil.rmtree(root / "test")
    if fault == "test is empty":
        shutil.rmtree(root / "test")
        (root / "test").mkdir()
    if fault == "one class more":
        paint(root / "train" / "gnu" / "1.png")
    if fault == "one class less":
        shutil.rmtree(root / "train" / "cat")
    if fault == "an empty class":
        (root / "test" / "gnu").mkdir()
    if fault == "a broken image":
        (root / "test" / "emu" / "1.png").write_text("?")
    return {"test_fraction": 0.5} if fault == "held out twice" else {}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no test folder", "(?s)There is no data in .*/test. Put this there.*test_fraction"),
        ("test is empty", "There is no data in .*/test"),
        ("one class more", "has 5 classes and .* has 4.*only in .*/train: gnu"),
        ("one class less", "has 3 classes and .* has 4.*only in .*/test: cat"),
        ("an empty class", "1 of 5 class folders in .*/test hold no image: gnu"),
        ("a broken image", r"1 of 20 image files .*emu/1\.png"),
        ("held out twice", "folders train and test, so nothing is to be held out"),
    ],
)
def test_faults_are_named(parts: Path, fault: str, message: str) -> None:
    options = damage_parts(parts, fault)
    with pytest.raises(DataError, match=message):
        image_folder(parts, 2, **options)


def test_absent_data_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"(?s)no data in {tmp_path}/x.*train/CLASS.*test/CLASS"):
        image_folder(tmp_path / "x", 2)
    with pytest.raises(DataError, match=f"(?s)no data in {tmp_path}/x.*CLASS"):
        image_folder(tmp_path / "x", 2, test_fraction=0.5)


def test_a_class_of_one_image_has_none_to_hold_out(whole: Path) -> None:
    paint(whole / "gnu" / "1.png")
    with pytest.raises(DataError, match="1 of 5 classes in .* have one image.*: gnu"):
        image_folder(whole, 5, test_fraction=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 0}, "test_fraction=0 must be above 0 and below 1"),
        ({"test_fraction": 1.0}, "test_fraction=1.0"),
        ({"test_fraction": float("nan")}, "test_fraction=nan"),
        ({"test_fraction": 0.5, "n_experiences": 3}, "n_experiences=3 does not divide"),
        ({"test_fraction": 0.5, "class_order": [0, 1]}, r"class_order=\[0, 1\]"),
        ({"test_fraction": 0.5, "class_order": [0, 1, 2, 3], "order_seed": 1}, "order_seed=1"),
    ],
)
def test_arguments_out_of_range_are_refused_before_images_are_read(
    whole: Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str
) -> None:
    monkeypatch.setattr(data, "check_images", pytest.fail)
    with pytest.raises(ValueError, match=message):
        image_folder(whole, **{"n_experiences": 2, **options})
