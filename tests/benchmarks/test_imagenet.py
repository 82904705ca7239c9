import hashlib
import shutil
from pathlib import Path

import pytest
from miniature import IMAGENET100
from PIL import Image

from avl_pegp.benchmarks import DataError, split_imagenet100, split_imagenet_r
from avl_pegp.benchmarks.imagenet import in_training_part

HUNDRED = IMAGENET100.read_text().split()


def paint(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def all_paths(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*"))


def write_split(file: Path, train: list[str], test: list[str]) -> Path:
    lines = [f"train {path}" for path in train] + [f"test {path}" for path in test]
    file.write_text("\n".join(lines))
    return file


@pytest.fixture
def renditions(miniature, tmp_path: Path) -> Path:
    """A miniature of ImageNet-R that a test may change."""
    return shutil.copytree(miniature("imagenet_r"), tmp_path / "data")


def test_imagenet_r_has_ten_experiences_of_twenty_classes(miniature) -> None:
    benchmark = split_imagenet_r(miniature("imagenet_r"))
    for stream in (benchmark.train_stream, benchmark.test_stream):
        seen = [sorted(set(experience.dataset.targets)) for experience in stream]
        assert seen == [list(range(20 * i, 20 * i + 20)) for i in range(10)]
    assert benchmark.class_names == tuple(sorted(benchmark.class_names))
    assert benchmark.data["train_images"] + benchmark.data["test_images"] == len(
        all_paths(miniature("imagenet_r") / "imagenet-r")
    )


def test_four_fifths_are_to_train_on_and_a_paths_hash_alone_decides() -> None:
    paths = [f"n{c:08d}/art_{i}.jpg" for c in range(100) for i in range(100)]
    in_train = [path for path in paths if in_training_part(path)]
    assert len(in_train) == pytest.approx(8000, abs=160)  # four standard deviations
    for path in paths[:500]:
        digest = hashlib.sha256(path.encode()).hexdigest()
        assert in_training_part(path) == (int(digest[:8], 16) / 16**8 < 0.8)


def test_images_are_on_the_side_that_their_paths_say(miniature) -> None:
    root = miniature("imagenet_r")
    benchmark = split_imagenet_r(root)
    paths = all_paths(root / "imagenet-r")
    expected = sum(map(in_training_part, paths))
    assert (benchmark.data["train_images"], benchmark.data["test_images"]) == (
        expected,
        len(paths) - expected,
    )


def test_a_split_file_decides_instead_and_is_on_record(miniature, tmp_path: Path) -> None:
    root = miniature("imagenet_r")
    paths = all_paths(root / "imagenet-r")
    test = [path for path in paths if path == min(p for p in paths if p[:9] == path[:9])]
    file = write_split(tmp_path / "split.txt", sorted(set(paths) - set(test)), test)
    data = split_imagenet_r(root, split_file=file).data
    assert (data["train_images"], data["test_images"]) == (len(paths) - 200, 200)
    assert data["split_file_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


SPLIT_FAULTS = {
    "names a file that is not there": (
        lambda train, test: (train, [*test, "n01440764/none.jpg"]),
        "1 are named but not there: n01440764/none.jpg",
    ),
    "names a class that is not there": (
        lambda train, test: ([*train, "n99999999/1.jpg"], test),
        "1 are named but not there: n99999999/1.jpg",
    ),
    "leaves files out": (
        lambda train, test: (train[7:], test),
        "7 are there but not named: n0.* 2 more",
    ),
    "names a file twice": (
        lambda train, test: (train, [*test, train[0]]),
        "1 are named more than once",
    ),
    "has a class without test images": (
        lambda train, test: (train + test, []),
        "200 of 200 classes have no test image",
    ),
    "has a class without training images": (
        lambda train, test: (
            [path for path in train if path[:9] != "n01484850"],
            test + [path for path in train if path[:9] == "n01484850"],
        ),
        "1 of 200 classes have no training image: n01484850",
    ),
}


@pytest.mark.parametrize("fault", SPLIT_FAULTS)
def test_a_split_file_that_does_not_fit_is_refused(miniature, tmp_path: Path, fault: str) -> None:
    root = miniature("imagenet_r")
    paths = all_paths(root / "imagenet-r")
    train = [path for path in paths if in_training_part(path)]
    change, message = SPLIT_FAULTS[fault]
    file = write_split(tmp_path / "split.txt", *change(train, sorted(set(paths) - set(train))))
    with pytest.raises(DataError, match=message):
        split_imagenet_r(root, split_file=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"train\n", "1 are not: line 1, 'train'"),
        (b"val n01440764/1.jpg\n", "1 start with neither train nor test: val n01440764/1.jpg"),
        (b"\xff\xfe\x00", "is no text file"),
        (None, "There is no file .*split.txt"),
    ],
)
def test_a_split_file_of_another_form_is_refused(
    miniature, tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "split.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        split_imagenet_r(miniature("imagenet_r"), split_file=file)


def test_a_class_too_few_or_with_another_name_is_refused(renditions: Path) -> None:
    moved = (renditions / "imagenet-r" / "n01440764").rename(renditions / "imagenet-r" / "extra")
    with pytest.raises(DataError, match="has 200 class folders, 1 of .* n01440764: extra; 200"):
        split_imagenet_r(renditions)
    shutil.rmtree(moved)
    with pytest.raises(DataError, match="has 199 class folders, 0 of"):
        split_imagenet_r(renditions)


def test_a_broken_rendition_is_named(renditions: Path) -> None:
    path = all_paths(renditions / "imagenet-r")[5]
    (renditions / "imagenet-r" / path).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=f"1 of .* image files are damaged.*{path}"):
        split_imagenet_r(renditions)


def test_imagenet100_has_ten_experiences_of_ten_classes(miniature) -> None:
    benchmark = split_imagenet100(miniature("imagenet100"), order_seed=1)
    for stream in (benchmark.train_stream, benchmark.test_stream):
        seen = [sorted(set(experience.dataset.targets)) for experience in stream]
        assert seen == [list(range(10 * i, 10 * i + 10)) for i in range(10)]
    assert sorted(benchmark.class_names) == HUNDRED
    assert benchmark.class_names != tuple(sorted(benchmark.class_names))


@pytest.fixture
def more_than_100(miniature, tmp_path: Path) -> Path:
    """As from the whole of ImageNet: two classes too many."""
    root = shutil.copytree(miniature("imagenet100"), tmp_path / "data")
    for part in ("train", "val"):
        for name in ("n00000000", "n00000050x"):
            paint(root / part / name / "1.JPEG")
    (root / "train" / "n00000050x").rename(root / "train" / "n00000501")
    (root / "val" / "n00000050x").rename(root / "val" / "n00000501")
    return root


def test_a_class_list_chooses_a_hundred_whatever_their_order(
    more_than_100: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="has 102 class folders.*class_list"):
        split_imagenet100(more_than_100)
    chosen = [*HUNDRED[2:], "n00000501", "n00000000"]
    file = tmp_path / "classes.txt"
    file.write_text("\n".join(chosen))
    benchmark = split_imagenet100(more_than_100, class_list=file)
    assert list(benchmark.class_names) == sorted(chosen)
    assert benchmark.data["class_list_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (99, "names 99 different classes, of which 0 have no folder; name 100"),
        (101, "names 101 different"),
        (100, "names 100 different .* 1 have no folder: n00000502"),
    ],
)
def test_a_class_list_of_others_is_refused(
    more_than_100: Path, tmp_path: Path, lines: int, message: str
) -> None:
    names = ["n00000000", *HUNDRED, "n00000501"][:lines]
    if lines == 100:
        names[0] = "n00000502"
    (tmp_path / "classes.txt").write_text("\n".join(names))
    with pytest.raises(DataError, match=message):
        split_imagenet100(more_than_100, class_list=tmp_path / "classes.txt")


def test_classes_that_differ_between_train_and_val_are_refused(
    more_than_100: Path, tmp_path: Path
) -> None:
    shutil.rmtree(more_than_100 / "val" / "n01440764")
    with pytest.raises(DataError, match="has 102 classes and .* has 101.*train: n01440764"):
        split_imagenet100(more_than_100)


def test_half_of_the_data_is_refused(miniature, tmp_path: Path) -> None:
    shutil.copytree(miniature("imagenet100") / "train", tmp_path / "train")
    with pytest.raises(DataError, match=f"no data in {tmp_path}/val"):
        split_imagenet100(tmp_path)
