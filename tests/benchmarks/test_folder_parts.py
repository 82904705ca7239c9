"""Folders that are called as parts of a data set are parts, or refused; never classes in silence."""

from pathlib import Path

import pytest
from PIL import Image

from avl_pegp.benchmarks import DataError, image_folder


def write(root: Path, *folders: str) -> Path:
    """Two images in each of the folders; the place of the folder is their colour."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (8, 8), (number, i, 0)).save(root / folder / f"{i}.png")
    return root


def crossed(outer: str, inner: str) -> list[str]:
    return [f"{one}/{other}" for one in outer.split() for other in inner.split()]


PAIRS = [
    "train val", "Train Test", "training testing", "TRAIN TEST", "train valid", "train validation",
    "train dev", "training_set test_set", "train2017 val2017", "TrainImages TestImages", "train tests",
]  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_parts_are_read_as_parts(tmp_path: Path, pair: str) -> None:
    train, test = pair.split()
    benchmark = image_folder(write(tmp_path, *crossed(pair, "cat dog")), 2)
    assert benchmark.class_names == ("cat", "dog")
    assert benchmark.data["parts"] == {"train": train, "test": test, "unread": []}
    assert (benchmark.data["train_images"], benchmark.data["test_images"]) == (4, 4)


@pytest.mark.parametrize("pair", [*PAIRS, "train test", "seg_train seg_test", "trainA testA"])
@pytest.mark.parametrize("inner", ["cat dog", "images"])
def test_they_are_no_classes_to_hold_out_from(tmp_path: Path, pair: str, inner: str) -> None:
    root = write(tmp_path, *crossed(pair, inner))
    message = f"has folders {' and '.join(pair.split())}, so nothing is to be held out"
    with pytest.raises(DataError, match=message):
        image_folder(root, 2, test_fraction=0.5)


@pytest.mark.parametrize("names", ["train val", "trainA trainB testA testB", "train test cat"])
def test_they_are_none_with_images_in_them_either(tmp_path: Path, names: str) -> None:
    with pytest.raises(DataError, match="has folders train"):
        image_folder(write(tmp_path, *names.split()), 1, test_fraction=0.5)


@pytest.mark.parametrize("others", ["labels", "val", "dev val", "labels val"])
def test_of_three_parts_the_test_images_are_tested_on_and_the_rest_is_told(
    tmp_path: Path, others: str
) -> None:
    root = write(tmp_path, *crossed(f"train test {others}", "cat dog"))
    data = image_folder(root, 2).data
    assert data["parts"] == {"train": "train", "test": "test", "unread": others.split()}
    assert data["images"] == 8


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("train Train test", "the folders Train, train"),
        ("train training test", "the folders train, training"),
        ("train test testing", "the folders test, testing"),
        ("train val dev", "the folders dev, val"),
    ],
)
def test_parts_that_are_not_clear_are_refused(tmp_path: Path, names: str, found: str) -> None:
    with pytest.raises(DataError, match=f"{found}, and it is not clear"):
        image_folder(write(tmp_path, *crossed(names, "cat dog")), 2)


@pytest.mark.parametrize(
    "names",
    [
        "cat test",
        "dog train",
        "car train bus",
        "dev cat",
        "test_tube cup",
        "train_station port",
        "split fold",
    ],
)
def test_classes_may_be_called_as_parts_are(tmp_path: Path, names: str) -> None:
    root = write(tmp_path, *names.split())
    benchmark = image_folder(root, len(names.split()), test_fraction=0.5)
    assert benchmark.class_names == tuple(sorted(names.split()))


@pytest.mark.parametrize("inner", ["cat dog", "cat"])
@pytest.mark.parametrize("name", ["images", "data", "pets", "fold1"])
def test_a_level_too_many_is_refused(tmp_path: Path, name: str, inner: str) -> None:
    root = write(tmp_path, *crossed(name, inner))
    with pytest.raises(DataError, match=name):
        image_folder(root, 1, test_fraction=0.5)


@pytest.mark.parametrize("level", ["train", "data"])
def test_a_level_too_many_in_the_parts_is_refused(tmp_path: Path, level: str) -> None:
    root = write(tmp_path, *crossed(f"train/{level} test/{level}", "cat dog"))
    with pytest.raises(DataError, match=level):
        image_folder(root, 1)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (crossed("fold1 fold2 fold3", "cat dog"), "folders fold1 and fold2 and fold3"),
        (crossed("cat dog", "train test"), "2 of 2 class folders that are split .*: cat, dog"),
        (["cat", "cat/train", "cat/val", "dog"], "1 of 2 class folders that are split .*: cat"),
        (["cat", "cat/dog", "dog"], "1 folders of one class in that of another: dog in cat"),
        (["cat/dog", "dog/cat"], "2 folders of one class in that of another"),
        (crossed("query gallery", "cat dog emu"), "has folders gallery and query"),
        (crossed("real sketch", "cat dog"), "2 folders with the same 2 folders in each: cat, dog"),
        (crossed("art photo sketch", "cat dog emu fox"), "3 folders with the same 4 folders"),
    ],
)
def test_folders_in_folders_that_look_like_classes_are_refused(
    tmp_path: Path, folders: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        image_folder(write(tmp_path, *folders), 2, test_fraction=0.5)


@pytest.mark.parametrize(
    "folders",
    [
        crossed("cat dog", "images"),
        ["cat/indoor", "cat/outdoor", "dog/indoor"],
        ["cat/old", "cat/new", "dog"],
        ["cat/cat", "dog/dog"],
    ],
)
def test_other_folders_in_class_folders_belong_to_the_class(tmp_path: Path, folders) -> None:
    benchmark = image_folder(write(tmp_path, *folders), 2, test_fraction=0.5)
    assert benchmark.class_names == ("cat", "dog")
    assert benchmark.data["images"] == 2 * len(folders)


def test_the_same_folders_in_each_are_no_matter_where_classes_are_more(tmp_path: Path) -> None:
    root = write(tmp_path, *crossed("cat dog emu", "indoor outdoor"))
    assert image_folder(root, 3, test_fraction=0.5).class_names == ("cat", "dog", "emu")


def test_tiny_imagenet_is_not_taken_for_a_folder_of_images(miniature) -> None:
    root = miniature("tiny_imagenet") / "tiny-imagenet-200"
    for options in ({}, {"test_fraction": 0.5}):
        with pytest.raises(DataError):
            image_folder(root, 1, **options)


def test_cub200_is_not_taken_for_a_folder_of_images(miniature) -> None:
    root = miniature("cub200") / "CUB_200_2011"
    with pytest.raises(DataError, match="one class folder, images, with folders in it"):
        image_folder(root, 1, test_fraction=0.5)


def test_core50_is_not_taken_for_a_folder_of_images(miniature) -> None:
    root = miniature("core50") / "core50_128x128"
    with pytest.raises(DataError, match="11 folders with the same 50 folders"):
        image_folder(root, 1, test_fraction=0.5)
