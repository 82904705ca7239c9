"""So many images of each class, drawn by a seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from miniature import write_image_folder

from avl_pegp.benchmarks import (
    ImageData,
    ImageFiles,
    class_incremental,
    few_per_class,
    read_digits,
    read_image_folder,
)


def numbered(per_class: int) -> ImageData:
    """Three classes of images that are never read."""
    part = ImageFiles(
        Path("pets"), [f"{i}.png" for i in range(3 * per_class)], [0, 1, 2] * per_class
    )
    return ImageData.of_files(part, part, ["cat", "dog", "owl"])


def test_each_class_has_as_many_and_fewer_are_among_more() -> None:
    data = numbered(9)
    drawn = [few_per_class(data, train_per_class=n, seed=4).train for n in (2, 5, 9)]
    assert [Counter(part.targets) for part in drawn] == [
        dict.fromkeys(range(3), n) for n in (2, 5, 9)
    ]
    few, more, all_ = (part.paths for part in drawn)
    assert {*few} < {*more} < {*all_}
    assert all_ == data.train.paths  # in their order
    for part in drawn:
        assert [data.train.targets[int(path[:-4])] for path in part.paths] == part.targets


def test_another_seed_draws_others_and_the_same_the_same() -> None:
    first, again, other = (few_per_class(numbered(9), 2, seed=s).train.paths for s in (0, 0, 1))
    assert first == again != other


def test_only_drawn_files_are_decoded(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "data")
    data = few_per_class(read_image_folder(tmp_path / "data"), train_per_class=1)
    assert [len(part) for part in data.files] == [10, 10]
    for path in {p.name for p in (tmp_path / "data/train/class_0").iterdir()}:
        if f"class_0/{path}" not in data.train.paths:
            (tmp_path / "data/train/class_0" / path).write_bytes(b"no image")
    assert class_incremental(data, 2).data["train_images"] == 10


def test_images_in_memory_keep_their_labels() -> None:
    data = read_digits()
    few = few_per_class(data, train_per_class=3, test_per_class=2)
    assert (len(few.train), len(few.test)) == (30, 20)
    for part in (few.train, few.test):
        assert [part[i][1] for i in range(len(part))] == list(part.targets)


def test_nothing_is_drawn_unless_it_is_asked_for() -> None:
    data = read_digits()
    assert few_per_class(data) is data


@pytest.mark.parametrize("count", [0, -1, 10])
@pytest.mark.parametrize("field", ["train_per_class", "test_per_class"])
def test_counts_that_are_not_there_are_refused(field: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"{field}={count} must be from 1 to 9, .* of cat; leave"):
        few_per_class(numbered(9), **{field: count})
