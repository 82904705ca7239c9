from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from image_data import AS_THEY_ARE, edit
from miniature import write_cub200
from PIL import Image

from avl_pegp.benchmarks import DataError, split_cub200


def pictures(stream) -> set[bytes]:
    """The pixels of all images, which ``as_is`` leaves as they are."""
    return {image.tobytes() for experience in stream for image, *_ in experience.dataset}


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """A data set to break."""
    write_cub200(tmp_path)
    return tmp_path / "CUB_200_2011"


def test_names_are_those_of_the_list(miniature: Callable[[str], Path]) -> None:
    names = split_cub200(miniature("cub200")).class_names
    assert names[::199] == ("Made up Bird 1", "Made up Bird 200")


def test_parts_and_labels_are_as_the_lists_say(cub: Path) -> None:
    """The first bird's only test image and one of its training images change places."""
    edit(cub / "train_test_split.txt", "\n2 1\n", "\n2 0\n")
    edit(cub / "train_test_split.txt", "1 0\n2 0\n3 1", "1 1\n2 0\n3 1")
    edit(cub / "image_class_labels.txt", "\n4 2\n", "\n4 200\n")  # another one's is relabelled
    edit(cub / "image_class_labels.txt", "\n600 200\n", "\n600 2\n")
    edit(cub / "train_test_split.txt", "\n600 1\n", "\n600 0\n")
    benchmark = split_cub200(cub.parent, 200, **AS_THEY_ARE)
    files = sorted((cub / "images").glob("001.*/*"))
    first, second, third = (Image.open(file).tobytes() for file in files)
    assert pictures(benchmark.train_stream[:1]) == {first, third}
    assert pictures(benchmark.test_stream[:1]) == {second}
    assert Counter(benchmark.test_stream[199].dataset.targets) == {199: 2}
    assert Counter(benchmark.test_stream[1].dataset.targets) == {1: 1}


def test_grey_images_are_converted_and_counted(cub: Path) -> None:
    for file in sorted((cub / "images").glob("001.*/*"))[:2]:
        Image.open(file).convert("L").save(file)
    benchmark = split_cub200(cub.parent, **AS_THEY_ARE)
    assert {image.mode for image, *_ in benchmark.train_stream[0].dataset} == {"RGB"}
    assert (benchmark.data["converted"], benchmark.data["converted_L"]) == (2, 2)


@pytest.mark.parametrize(
    "file", ["classes.txt", "images.txt", "image_class_labels.txt", "train_test_split.txt"]
)
def test_an_absent_list_is_named(cub: Path, file: str) -> None:
    (cub / file).unlink()
    with pytest.raises(DataError, match=f"no file .*{file}"):
        split_cub200(cub.parent)


def test_damaged_images_are_named_and_counted(cub: Path) -> None:
    cut, text, *_ = sorted((cub / "images").glob("002.*/*"))
    cut.write_bytes(cut.read_bytes()[:-200])
    text.write_text("<html>not found</html>")
    with pytest.raises(DataError, match=f"2 of 600 .*{cut.name}.*{text.name}"):
        split_cub200(cub.parent)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_experiences": 3}, "n_experiences=3 .* choose one of 1, 2, 4, 5"),
        ({"class_order": [0]}, "class_order=.* each of 0 to 199"),
        ({"class_order": list(range(200)), "order_seed": 0}, "one of the two"),
    ],
)
def test_wrong_arguments_are_refused(
    miniature: Callable[[str], Path], options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        split_cub200(miniature("cub200"), **options)
