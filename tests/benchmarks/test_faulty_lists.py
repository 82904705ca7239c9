"""A list of a data set that contradicts another, or has a line that means nothing, is refused."""

from pathlib import Path

import pytest
from image_data import edit
from miniature import WRITERS

from avl_pegp.benchmarks import DataError, create_benchmark

# The list below ``data_root``, what reads otherwise in it, and what is told of it.
CUB200 = [
    ("classes.txt", "200 200.Made_up_Bird_200\n", "", "classes.txt has 199 classes instead"),
    ("images.txt", "\n2 001.", "\n3 001.", "images.txt lists 1 entries more than once: 3"),
    ("image_class_labels.txt", "\n17 6\n", "\n", "labels.txt and images.txt .* 1 are .*: 17"),
    ("train_test_split.txt", "\n600 1\n", "\n600 1\n601 1\n", "only: 601"),
    ("train_test_split.txt", "\n7 0\n", "\n7 2\n", "split.txt has 1 lines .*: 7 2"),
    ("image_class_labels.txt", "\n17 6\n", "\n17 201\n", "1 lines of unknown .*: 17 201"),
    ("train_test_split.txt", "\n7 0\n", "\n7 1\n", "no test image: Made up Bird 3"),
    ("images.txt", "600 200.", "600 300.", "1 of 600 image files do not exist"),
    ("images.txt", "\n600 ", "\n600_", "images.txt must have lines like"),
]
TINY_IMAGENET = [
    ("wnids.txt", "n00000007\n", "", "wnids.txt lists 199 classes in 199 lines instead of 200"),
    ("wnids.txt", "n00000007\n", "n00000008\n", "lists 199 classes in 200 lines"),
    ("wnids.txt", "n00000007\n", "n00000300\n", "both have n00000007, n00000300 .2 in all"),
    ("words.txt", "n00000007\t", "n00000999\t", r"words.txt does not name n00000007 \(1 in"),
    ("val/val_annotations.txt", "\tn00000007\t", "\tn00000300\t", "not have .*: n00000300"),
    ("val/val_annotations.txt", "\tn00000007\t", "\tn00000008\t", "no test image: thing 6"),
    ("val/val_annotations.txt", "val_6.JPEG\t", "val_7.JPEG\t", "more than once: val_7.JPEG"),
    ("val/val_annotations.txt", "val_6.JPEG\tn00000007\t0\t0\t31\t31\n", "", "class of .*val_6"),
    ("val/val_annotations.txt", "val_6.JPEG\t", "val_x.JPEG\t", "class of images/val_6.JPEG"),
]


def cases(data_set: str, folder: str, faults: list[tuple[str, str, str, str]]) -> list[tuple]:
    return [(data_set, f"{folder}/{file}", *rest) for file, *rest in faults]


@pytest.mark.parametrize(
    ("data_set", "file", "old", "new", "message"),
    [
        *cases("cub200", "CUB_200_2011", CUB200),
        *cases("tiny_imagenet", "tiny-imagenet-200", TINY_IMAGENET),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    tmp_path: Path, data_set: str, file: str, old: str, new: str, message: str
) -> None:
    WRITERS[data_set](tmp_path)
    edit(tmp_path / file, old, new)
    with pytest.raises(DataError, match=message):
        create_benchmark(f"split_{data_set}", data_root=tmp_path)
