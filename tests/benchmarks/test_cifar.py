from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from miniature import write_cifar100, write_cifar100_folders

from avl_pegp.benchmarks import DataError, read_cifar100, split_cifar100

NAMES = {b"fine_label_names": [b"class_%d" % label for label in range(100)]}


def content(labels=range(100)) -> dict[bytes, object]:
    """Images of one red, one green and otherwise black pixels, which tell the label."""
    data = np.zeros((len(labels), 3, 32, 32), np.uint8)
    data[:, 0, 5, 6] = labels
    data[:, 1, 7, 8] = 255
    return {b"data": data.reshape(-1, 3072), b"fine_labels": list(labels)}


def write(root: Path, protocol: int = 2, **parts: object) -> Path:
    """A data set of three pickles by Python 3, with given contents."""
    folder = root / "cifar-100-python"
    folder.mkdir()
    for name, given in {"train": content(), "test": content(), "meta": NAMES, **parts}.items():
        (folder / name).write_bytes(pickle.dumps(given, protocol))
    return root


def to_array(image) -> torch.Tensor:
    return torch.from_numpy(np.array(image))


def test_there_are_ten_experiences_of_ten_classes(miniature: Callable[[str], Path]) -> None:
    benchmark = split_cifar100(miniature("cifar100"))
    for stream, count in ((benchmark.train_stream, 2), (benchmark.test_stream, 1)):
        seen = [sorted(experience.dataset.targets) for experience in stream]
        assert seen == [sorted([*range(i, i + 10)] * count) for i in range(0, 100, 10)]
    assert benchmark.class_names == tuple(f"class_{label}" for label in range(100))
    assert benchmark.data == {"train_images": 200, "test_images": 100, "converted": 0}
    assert benchmark.train_stream[0].dataset[0][0].shape == (3, 224, 224)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_row_is_three_planes_whatever_the_protocol(tmp_path: Path, protocol: int) -> None:
    benchmark = split_cifar100(
        write(tmp_path, protocol), order_seed=3, train_transform=to_array, eval_transform=to_array
    )
    expected = torch.zeros(100, 32, 32, 3, dtype=torch.uint8)
    expected[:, 5, 6, 0] = torch.tensor(benchmark.class_order)
    expected[:, 7, 8, 1] = 255
    for stream in (benchmark.train_stream, benchmark.test_stream):
        items = sorted(
            ((int(label), image) for exp in stream for image, label, *_ in exp.dataset),
            key=lambda item: item[0],
        )
        assert torch.equal(torch.stack([image for _, image in items]), expected)


def test_a_fortran_array_is_read_as_it_was(tmp_path: Path) -> None:
    turned = content() | {b"data": np.asfortranarray(content()[b"data"])}
    benchmark = split_cifar100(write(tmp_path, train=turned), 1, train_transform=to_array)
    image, label, *_ = benchmark.train_stream[0].dataset[37]
    assert (label, image[5, 6, 0], image[7, 8, 1], int(image.sum())) == (37, 37, 255, 37 + 255)


def test_task_labels_are_the_experiences(miniature: Callable[[str], Path]) -> None:
    benchmark = split_cifar100(miniature("cifar100"), 20, task_labels=True)
    assert [experience.task_labels for experience in benchmark.test_stream] == [
        [t] for t in range(20)
    ]


class Intruder:
    """Makes a pickle call a function when it is loaded, here one that does no harm."""

    def __reduce__(self):
        return shutil.which, ("python",)


@pytest.mark.parametrize(
    ("intruder", "name"),
    [
        (Intruder(), "shutil.which"),
        (Path("x"), "pathlib"),
        (np.float64(1), "numpy.*multiarray.scalar"),
    ],
)
def test_a_pickle_that_asks_for_anything_else_is_refused_by_name(
    tmp_path: Path, intruder: object, name: str
) -> None:
    root = write(tmp_path, test=content() | {b"more": intruder})
    with pytest.raises(DataError, match=rf"cifar-100-python.test .*asks for {name}"):
        split_cifar100(root)


def test_bytes_are_not_decoded_by_any_other_codec(tmp_path: Path) -> None:
    root = write(tmp_path)
    bomb = pickle.dumps(NAMES, 2).replace(b"latin1", b"zlib_c")
    (root / "cifar-100-python" / "meta").write_bytes(bomb)
    with pytest.raises(DataError, match="meta .*bytes in 'zlib_c' instead of 'latin1'"):
        split_cifar100(root)


@pytest.mark.parametrize(
    ("part", "given", "message"),
    [
        ("train", [1, 2], "train cannot be read"),
        ("train", {b"fine_labels": [0]}, r"train must have data of \(N, 3072\)"),
        ("train", content() | {b"data": np.zeros((100, 5), np.uint8)}, "train must have data"),
        ("train", content() | {b"data": np.zeros((100, 3072))}, "an array of type 'f8'"),
        ("test", content() | {b"fine_labels": [0, 1]}, "test must have fine_labels .* 100 images"),
        (
            "test",
            content() | {b"fine_labels": [100] * 100},
            "test must have fine_labels of 0 to 99",
        ),
        ("test", content(range(98)), "2 of 100 classes have no test image: class_98, class_99"),
        ("train", content(range(1, 100)), "1 of 100 classes have no training image: class_0"),
        ("meta", {b"fine_label_names": [b"apple"]}, "meta must have the 100 names"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, part: str, given: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_cifar100(write(tmp_path, **{part: given}))


@pytest.mark.parametrize("part", ["train", "test", "meta"])
@pytest.mark.parametrize("left", [None, 0, 500])
def test_absent_and_cut_files_are_named(tmp_path: Path, part: str, left: int | None) -> None:
    write_cifar100(tmp_path)
    file = tmp_path / "cifar-100-python" / part
    kept = file.read_bytes()[:left]
    file.unlink()
    if left is not None:
        file.write_bytes(kept)
    with pytest.raises(DataError, match=rf"{part} cannot be read.* cifar-100-python.tar.gz"):
        split_cifar100(tmp_path)


def test_splits_that_do_not_work_out_are_refused(miniature: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="n_experiences=3 .* choose one of 1, 2, 4, 5, 10"):
        split_cifar100(miniature("cifar100"), 3)


def test_class_folders_are_read_as_the_pickles_are(miniature: Callable[[str], Path]) -> None:
    benchmark = split_cifar100(miniature("cifar100_folders"))
    assert [sorted({*experience.dataset.targets}) for experience in benchmark.test_stream] == [
        [*range(i, i + 10)] for i in range(0, 100, 10)
    ]
    assert benchmark.class_names == tuple(f"class_{label:02d}" for label in range(100))
    assert (benchmark.data["train_images"], benchmark.data["test_images"]) == (200, 100)
    assert benchmark.train_stream[0].dataset[0][0].shape == (3, 224, 224)


def test_where_both_forms_lie_the_pickles_are_read(tmp_path: Path) -> None:
    write_cifar100_folders(tmp_path / "both")
    assert read_cifar100(write(tmp_path / "both")).class_names[3] == "class_3"


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        (["test"], r"no data in .*test\. (.|\n)*and test/CLASS/"),
        (["train"], r"no data in .*train\. (.|\n)*or train/CLASS/"),
        (["test/class_07"], "must be the same ones; only in .*train: class_07"),
        (["train/class_07", "test/class_07"], "folders of 99 classes, and CIFAR-100 has 100"),
        (["train/class_07/0000.png", "train/class_07/0001.png"], "hold no image: class_07"),
    ],
)
def test_class_folders_that_are_not_all_there_are_refused(
    tmp_path: Path, absent: list[str], message: str
) -> None:
    write_cifar100_folders(tmp_path / "data")
    for name in absent:
        path = tmp_path / "data" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=message):
        split_cifar100(tmp_path / "data")


def test_a_damaged_image_in_a_class_folder_is_named(tmp_path: Path) -> None:
    write_cifar100_folders(tmp_path / "data")
    file = tmp_path / "data/train/class_11/0001.png"
    file.write_bytes(file.read_bytes()[:90])
    with pytest.raises(DataError, match="class_11/0001.png"):
        split_cifar100(tmp_path / "data")


@pytest.mark.parametrize("form", ["cifar100", "cifar100_folders"])
def test_so_many_images_of_each_class_are_drawn(
    miniature: Callable[[str], Path], form: str
) -> None:
    benchmark = split_cifar100(miniature(form), train_per_class=1, seed=3)
    assert sorted(t for e in benchmark.train_stream for t in e.dataset.targets) == [*range(100)]
    assert (benchmark.data["train_images"], benchmark.data["test_images"]) == (100, 100)
    with pytest.raises(ValueError, match="test_per_class=2 must be from 1 to 1, .* class_0"):
        split_cifar100(miniature(form), test_per_class=2)
