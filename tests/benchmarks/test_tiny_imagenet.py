from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from image_data import AS_THEY_ARE, edit
from miniature import write_tiny_imagenet
from PIL import Image

from avl_pegp.benchmarks import DataError, split_tiny_imagenet


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A data set to break."""
    write_tiny_imagenet(tmp_path)
    return tmp_path / "tiny-imagenet-200"


def test_labels_are_in_the_order_of_wnids_and_named_by_words(
    miniature: Callable[[str], Path],
) -> None:
    """The miniature's list begins with its class 101; words.txt counts from 0."""
    root = miniature("tiny_imagenet")
    benchmark = split_tiny_imagenet(root, 200, **AS_THEY_ARE)
    assert benchmark.class_names[:2] == ("thing 100", "thing 101")
    assert benchmark.class_names[100] == "thing 0"
    folder = root / "tiny-imagenet-200"
    shown = {image.tobytes() for image, *_ in benchmark.train_stream[0].dataset}
    images = (folder / "train" / "n00000101" / "images").iterdir()
    assert shown == {Image.open(file).tobytes() for file in images}
    test = benchmark.test_stream[0].dataset[0][0]
    assert test.tobytes() == Image.open(folder / "val" / "images" / "val_100.JPEG").tobytes()


def test_classes_of_one_name_are_told_apart_by_their_ids(tiny: Path) -> None:
    edit(tiny / "words.txt", "\tthing 7,", "\tthing 6,")
    names = split_tiny_imagenet(tiny.parent).class_names
    assert {"thing 6 n00000007", "thing 6 n00000008", "thing 8"} <= set(names)


def test_grey_images_are_converted_and_counted(tiny: Path) -> None:
    file = tiny / "val" / "images" / "val_3.JPEG"
    Image.open(file).convert("L").save(file)
    assert split_tiny_imagenet(tiny.parent).data["converted_L"] == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("wnids.txt", "no file .*wnids.txt"),
        ("words.txt", "no file .*words.txt"),
        ("val/val_annotations.txt", "no file .*val_annotations.txt"),
        ("train", "(?s)no data in .*train.*tiny-imagenet-200/wnids.txt"),
        ("train/n00000042", "both have n00000042"),
        ("train/n00000042/images", "hold no image: n00000042"),
        ("val", "no file .*val_annotations.txt"),
        ("val/images", "(?s)no data in .*val/images.*tiny-imagenet-200/wnids.txt"),
        ("val/images/val_0.JPEG", "1 of 600 image files do not exist: .*val_0.JPEG"),
    ],
)
def test_what_is_absent_is_named(tiny: Path, path: str, message: str) -> None:
    gone = tiny / path
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink()
    with pytest.raises(DataError, match=message):
        split_tiny_imagenet(tiny.parent)


def test_a_damaged_image_is_named(tiny: Path) -> None:
    (tiny / "val" / "images" / "val_5.JPEG").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="1 of 600 image files are .*val_5.JPEG"):
        split_tiny_imagenet(tiny.parent)


def test_splits_that_do_not_work_out_are_refused(miniature: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="n_experiences=7 .* choose one of 1, 2, 4, 5"):
        split_tiny_imagenet(miniature("tiny_imagenet"), 7)
