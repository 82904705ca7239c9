from __future__ import annotations

import hashlib
import pickle
import pickletools
import sys
from collections.abc import Callable
from pathlib import Path

import miniature
import pytest
from PIL import Image

from avl_pegp.benchmarks import DATASETS, create_benchmark

BENCHMARKS = {
    "cifar100": {"split_cifar100": 10},
    "cifar100_folders": {"split_cifar100": 10},
    "core50": {"core50_classes": 9, "core50_instances": 8},
    "cub200": {"split_cub200": 5},
    "domainnet": {"domainnet": 6, "split_domainnet": 5},
    "fashion_mnist": {"split_fashion_mnist": 5},
    "image_folder": {"image_folder": 2},
    "imagenet100": {"split_imagenet100": 10},
    "imagenet_r": {"split_imagenet_r": 10},
    "tiny_imagenet": {"split_tiny_imagenet": 10},
}


@pytest.fixture
def main(monkeypatch, tmp_path_factory) -> Callable[..., None]:
    """Run the program with these flags, with a memory of checked images of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))

    def run(*flags: object) -> None:
        monkeypatch.setattr(sys, "argv", ["miniature.py", *map(str, flags)])
        miniature.main()

    return run


def digests(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_there_is_a_miniature_for_every_data_set_and_no_other() -> None:
    assert set(BENCHMARKS) == set(miniature.WRITERS)
    assert {name for names in BENCHMARKS.values() for name in names} == set(DATASETS)


def test_every_miniature_is_read_as_its_data_set(main: Callable[..., None], tmp_path: Path) -> None:
    main("--out", tmp_path)
    for folder, names in BENCHMARKS.items():
        for name, experiences in names.items():
            options = {"n_experiences": 2} if name == "image_folder" else {}
            benchmark = create_benchmark(name, data_root=tmp_path / folder, **options)
            assert len(benchmark.train_stream) == len(benchmark.test_stream) == experiences
            grey = folder == "fashion_mnist"
            assert benchmark.data["converted"] == (30 if grey else 0)
            assert benchmark.data["train_images"] >= benchmark.data["test_images"] > 0


@pytest.mark.parametrize(
    "name", sorted({*miniature.WRITERS} - {"domainnet"})
)  # that has 6,210 files
def test_the_same_seed_writes_the_same_files(name: str, tmp_path: Path) -> None:
    written = []
    for i, seed in enumerate((0, 0, 1)):
        miniature.WRITERS[name](tmp_path / str(i), seed)
        written.append(digests(tmp_path / str(i)))
    first, again, other = written
    assert first == again != other
    assert first.keys() == other.keys()


def test_only_what_is_asked_for_is_written(main: Callable[..., None], tmp_path: Path) -> None:
    main("--out", tmp_path / "new", "--only", "cub200", "image_folder", "cub200")
    assert sorted(folder.name for folder in (tmp_path / "new").iterdir()) == [
        "cub200",
        "image_folder",
    ]


def test_images_of_a_class_resemble_one_another(tmp_path: Path) -> None:
    miniature.write_image_folder(tmp_path)
    pixels = [
        Image.open(tmp_path / path).convert("L").resize((4, 4)).tobytes()
        for path in ("train/class_0/0.png", "test/class_0/0.png", "test/class_1/0.png")
    ]
    same, other = (
        sum(abs(a - b) for a, b in zip(pixels[0], pixels[i], strict=True)) for i in (1, 2)
    )
    assert 0 < 4 * same < other


def test_pickles_of_cifar_are_as_python_2_wrote_them(tmp_path: Path) -> None:
    """Nothing but what that had: one kind of string, and numpy's old names."""
    miniature.write_cifar100(tmp_path)
    folder = tmp_path / "cifar-100-python"
    found = list(pickletools.genops((folder / "train").read_bytes()))
    names = {opcode.name for opcode, *_ in found}
    assert "BINSTRING" in names
    assert not names & {"BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "NEWTRUE", "NEWFALSE", "FRAME"}
    globals_ = {argument for opcode, argument, _ in found if opcode.name == "GLOBAL"}
    assert globals_ == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    names = pickle.loads((folder / "meta").read_bytes(), encoding="bytes")
    assert len(names[b"fine_label_names"]) == 100


@pytest.mark.parametrize("write", miniature.WRITERS.values())
def test_a_folder_that_holds_something_is_left_alone(write: Callable, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is not an empty folder; name a new or an empty"):
        write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_is_written_if_one_folder_is_not_empty(
    main: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "tiny_imagenet").mkdir()
    (tmp_path / "tiny_imagenet" / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        main("--out", tmp_path)
    assert "tiny_imagenet is not an empty folder" in capsys.readouterr().err
    assert not any(file.is_file() for file in (tmp_path / "cub200").glob("**/*"))
