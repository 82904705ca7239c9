from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import write_tiny_imagenet
from PIL import Image

from avl_pegp.benchmarks import DataError, split_tiny_imagenet


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A data set to break."""
    write_tiny_imagenet(tmp_path)
    return tmp_path / "tiny-imagenet-200"


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def as_is(image):
    return image


def test_there_are_ten_experiences_of_twenty_classes(miniature: Callable[[str], Path]) -> None:
    benchmark = split_tiny_imagenet(miniature("tiny_imagenet"))
    for stream, count in ((benchmark.train_stream, 2), (benchmark.test_stream, 1)):
        found = [Counter(experience.dataset.targets) for experience in stream]
        assert found == [dict.fromkeys(range(i, i + 20), count) for i in range(0, 200, 20)]
    assert benchmark.data == {
        "train_images": 400,
        "test_images": 200,
        "images": 600,
        "converted": 0,
    }


def test_labels_are_in_the_order_of_wnids_and_named_by_words(
    miniature: Callable[[str], Path],
) -> None:
    """The miniature's list begins with its class 101; words.txt counts from 0."""
    root = miniature("tiny_imagenet")
    benchmark = split_tiny_imagenet(root, 200, train_transform=as_is, eval_transform=as_is)
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
    ("file", "old", "new", "message"),
    [
        ("wnids.txt", "n00000007\n", "", "wnids.txt lists 199 classes in 199 lines instead of 200"),
        ("wnids.txt", "n00000007\n", "n00000008\n", "lists 199 classes in 200 lines"),
        ("wnids.txt", "n00000007\n", "n00000300\n", "both have n00000007, n00000300 .2 in all"),
        ("words.txt", "n00000007\t", "n00000999\t", r"words.txt does not name n00000007 \(1 in"),
        (
            "val/val_annotations.txt",
            "\tn00000007\t",
            "\tn00000300\t",
            "does not have .*: n00000300",
        ),
        ("val/val_annotations.txt", "\tn00000007\t", "\tn00000008\t", "no test image: thing 6"),
        ("val/val_annotations.txt", "val_6.JPEG\t", "val_7.JPEG\t", "more than once: val_7.JPEG"),
        (
            "val/val_annotations.txt",
            "val_6.JPEG\tn00000007\t0\t0\t31\t31\n",
            "",
            "class of .*val_6",
        ),
        ("val/val_annotations.txt", "val_6.JPEG\t", "val_x.JPEG\t", "class of images/val_6.JPEG"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    tiny: Path, file: str, old: str, new: str, message: str
) -> None:
    edit(tiny / file, old, new)
    with pytest.raises(DataError, match=message):
        split_tiny_imagenet(tiny.parent)


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
