import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from avl_pegp.benchmarks import DataError, ImageFiles, check_images, class_folders, image_files
from avl_pegp.benchmarks.class_folders import require_folder


def paint(path: Path, mode: str = "RGB", colour=None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8), colour or 0).save(path, **options)
    return path


def files_in(folder: Path) -> ImageFiles:
    paths = sorted(file.name for file in folder.iterdir())
    return ImageFiles(folder, paths, [0] * len(paths))


# What is written, and the pixel that is to be read.
MODES = {
    "grey.png": ("L", 100, (100, 100, 100)),
    "two_tone.png": ("1", 1, (255, 255, 255)),
    "grey_alpha.png": ("LA", (100, 50), (100, 100, 100)),
    "alpha.png": ("RGBA", (10, 20, 30, 40), (10, 20, 30)),
    "colour.png": ("RGB", (10, 20, 30), (10, 20, 30)),
    "print.tif": ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_is_read_as_rgb(tmp_path: Path, name: str) -> None:
    mode, colour, expected = MODES[name]
    paint(tmp_path / name, mode, colour)
    image, label = ImageFiles(tmp_path, [name], [7])[0]
    assert (image.mode, image.getpixel((3, 3)), label) == ("RGB", expected, 7)


def test_a_palette_with_transparent_colours_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert ImageFiles(tmp_path, ["a.png"], [0])[0][0].getpixel((0, 0)) == (10, 20, 30)


def test_worker_processes_read_the_files(tmp_path: Path) -> None:
    for i in range(4):
        paint(tmp_path / f"{i}.png", colour=(i, i, i))
    loader = DataLoader(files_in(tmp_path), batch_size=2, num_workers=1, collate_fn=list)
    read = [image.getpixel((0, 0)) for batch in loader for image, _ in batch]
    assert read == [(i, i, i) for i in range(4)]
    assert pickle.loads(pickle.dumps(files_in(tmp_path))).paths == files_in(tmp_path).paths


def test_labels_must_be_as_many_as_paths() -> None:
    with pytest.raises(ValueError, match="targets has 1 labels for 2 paths"):
        ImageFiles(Path("."), ["a.png", "b.png"], [0])


def test_classes_and_their_images_are_found_sorted_and_litter_is_not(tmp_path: Path) -> None:
    for path in ("b/2.PNG", "b/10.png", "a/x.JPEG", "a/deep/y.jpg", "C/1.webp"):
        paint(tmp_path / path)
    for path in ("a/.hidden.png", ".git/1.png", "__MACOSX/a/1.png", "a/__MACOSX/1.png", "top.png"):
        paint(tmp_path / path)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    assert class_folders(tmp_path) == {
        "C": ["C/1.webp"],
        "a": ["a/deep/y.jpg", "a/x.JPEG"],
        "b": ["b/10.png", "b/2.PNG"],
    }
    assert list(class_folders(tmp_path)) == ["C", "a", "b"]


def test_empty_classes_are_named_and_counted(tmp_path: Path) -> None:
    paint(tmp_path / "full" / "1.png")
    for i in range(7):
        (tmp_path / f"empty_{i}").mkdir()
    message = "7 of 8 class folders .* hold no image: empty_0, .*empty_4 and 2 more"
    with pytest.raises(DataError, match=message):
        class_folders(tmp_path)


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    paint(tmp_path / "1.png")
    with pytest.raises(DataError, match=f"{tmp_path} holds no class folder; put"):
        class_folders(tmp_path)


@pytest.mark.parametrize("archive", ["pets.zip", "pets.tar", "pets.tgz", "pets.tar.gz"])
@pytest.mark.parametrize("where", [".", "pets"])
def test_an_archive_that_is_still_packed_is_named(tmp_path: Path, archive: str, where: str) -> None:
    (tmp_path / where).mkdir(exist_ok=True)
    (tmp_path / where / archive).write_bytes(b"")
    with pytest.raises(DataError) as raised:
        require_folder(tmp_path / "pets", "CLASS/*.jpg  images")
    message = str(raised.value)
    assert f"no data in {tmp_path / 'pets'}" in message
    assert "CLASS/*.jpg  images" in message
    assert f"Unpack first, if this is the data: {(tmp_path / where / archive)}" in message


def test_a_folder_that_is_there_is_returned_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(tmp_path / "pets" / "1.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("pets", "~/pets", tmp_path / "pets"):
        assert require_folder(Path(path), "") == tmp_path / "pets"


@pytest.mark.parametrize("empty", [False, True])
def test_an_absent_folder_without_archives_says_nothing_of_them(
    tmp_path: Path, empty: bool
) -> None:
    if empty:
        (tmp_path / "pets").mkdir()
    with pytest.raises(DataError, match="no data in") as raised:
        require_folder(tmp_path / "pets", "CLASS")
    assert "npack" not in str(raised.value)


def test_all_images_are_counted_and_converted_ones_by_mode(tmp_path: Path) -> None:
    for name, (mode, colour, _) in MODES.items():
        paint(tmp_path / name, mode, colour)
    paint(tmp_path / "grey_2.png", "L")
    counts = check_images(files_in(tmp_path), files_in(tmp_path))  # a file is counted once
    assert counts.pop("images") == 7
    assert counts.pop("converted") == 6
    modes = {"1": 1, "CMYK": 1, "L": 2, "LA": 1, "RGBA": 1}
    assert counts == {f"converted_{mode}": count for mode, count in modes.items()}


def test_damaged_files_and_others_are_named_and_counted(tmp_path: Path) -> None:
    good = paint(tmp_path / "a.jpg", colour=(1, 2, 3))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(good)
    content = good.read_bytes()
    (tmp_path / "b_half.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "c_text.png").write_text("<html>not found</html>")
    (tmp_path / "d_empty.png").write_bytes(b"")
    paint(tmp_path / "e_deep.png", "I;16")
    for i in range(3):
        (tmp_path / f"z_{i}.bmp").write_bytes(b"BM")
    with pytest.raises(DataError, match="7 of 8 image files") as raised:
        check_images(files_in(tmp_path))
    bad = sorted(file.name for file in tmp_path.iterdir())[1:]
    assert re.findall(r"[a-z]_\w+\.\w+", str(raised.value)) == bad[:5]
    assert "and 2 more" in str(raised.value)


def test_files_that_do_not_exist_are_named_and_counted(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    files = ImageFiles(tmp_path, ["a.png", "b.png", "c.png"], [0, 0, 0])
    with pytest.raises(DataError, match=r"2 of 3 image files do not exist: .*b\.png, .*c\.png\."):
        check_images(files)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded so far."""
    names: list[str] = []
    read = image_files.read_rgb

    def noted(path: Path):
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(image_files, "read_rgb", noted)
    return names


def test_what_was_in_order_is_remembered_until_a_file_changes(
    tmp_path: Path, decoded: list[str]
) -> None:
    for name in ("a.png", "b.png"):
        paint(tmp_path / name)
    first = check_images(files_in(tmp_path))
    assert check_images(files_in(tmp_path)) == first
    assert sorted(decoded) == ["a.png", "b.png"]
    os.utime(tmp_path / "a.png", ns=(1, 1))
    check_images(files_in(tmp_path))
    assert len(decoded) == 4
    (tmp_path / "b.png").write_text("?")
    with pytest.raises(DataError):
        check_images(files_in(tmp_path))


def test_faults_are_not_remembered(tmp_path: Path, decoded: list[str]) -> None:
    (tmp_path / "a.png").write_text("?")
    for _ in range(2):
        with pytest.raises(DataError):
            check_images(files_in(tmp_path))
    assert len(decoded) == 2


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "3", "{}", '{"images": 1}', '{"images": null}', "[" * 100_000),
        '{"images": 1, "converted": 1e999}',
        '{"images": 1, "converted": -1}',
        '{"images": 1, "converted": true}',
        '{"images": 7, "converted": 0}',
        '{"images": 1, "converted": ' + "9" * 400 + "}",
    ],
    ids=range(13),
)
def test_a_damaged_memory_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str], content: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paint(tmp_path / "images" / "a.png")
    files = files_in(tmp_path / "images")
    counts = check_images(files)
    (memory,) = (tmp_path / "cache" / "avl_pegp").iterdir()
    memory.write_text(content)
    assert check_images(files) == counts == check_images(files)
    assert len(decoded) == 2


def test_without_a_place_to_remember_images_are_checked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(tmp_path / "a.png")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a.png"))  # a file, so no folder
    assert check_images(files_in(tmp_path))["images"] == 1
