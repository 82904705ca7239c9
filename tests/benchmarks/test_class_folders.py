"""What lies in class folders besides good image files, and is found or refused, never passed over."""

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image, features

from avl_pegp.benchmarks import DataError, ImageFiles, check_images, class_folders, image_folder


def paint(path: Path, colour=(0, 0, 0), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path, **options)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for name in ("cat", "dog"):
        for i in range(2):
            paint(root / name / f"{i}.png")
    return root


def refused(root: Path, *words: str) -> None:
    with pytest.raises(DataError) as raised:
        class_folders(root)
    for word in (str(root), *words):
        assert word in str(raised.value)


def test_linked_folders_and_files_are_read(pets: Path, tmp_path: Path) -> None:
    for i in range(3):
        paint(tmp_path / "elsewhere" / f"{i}.png")
        paint(tmp_path / "far" / f"{i}.png")
    (pets / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (pets / "emu").symlink_to(tmp_path / "far")
    (pets / "dog" / "9.png").symlink_to(tmp_path / "far" / "0.png")
    assert class_folders(pets) == {
        "cat": ["cat/0.png", "cat/1.png", *(f"cat/more/{i}.png" for i in range(3))],
        "dog": ["dog/0.png", "dog/1.png", "dog/9.png"],
        "emu": [f"emu/{i}.png" for i in range(3)],
    }
    assert image_folder(pets, 3, test_fraction=0.3).data["images"] == 11


@pytest.mark.parametrize("where", ["cat/9.png", "cat/more", "cat/deep/9.jpg", "emu", "notes.txt"])
def test_a_link_that_leads_nowhere_is_named(pets: Path, where: str) -> None:
    (pets / where).parent.mkdir(exist_ok=True)
    (pets / where).symlink_to(pets / "gone")
    refused(pets, "1 links that lead nowhere", str(pets / where))


def test_a_link_that_leads_to_itself_is_named(pets: Path) -> None:
    (pets / "cat" / "x.png").symlink_to(pets / "cat" / "x.png")
    refused(pets, "1 links that lead nowhere", "x.png")


@pytest.mark.parametrize("target", ["cat", "cat/deep", ".", "..", "/", "dog"])
def test_a_folder_that_is_found_twice_is_named_and_loops_end(pets: Path, target: str) -> None:
    paint(pets / "cat" / "deep" / "1.png")
    (pets / "cat" / "deep" / "again").symlink_to((pets / target).resolve())
    refused(pets, "1 folders that are found a second time, by a link")


def test_a_class_that_is_another_by_a_link_is_named(pets: Path) -> None:
    (pets / "emu").symlink_to(pets / "cat")
    refused(pets, "found a second time", str(pets / "emu"))


@pytest.mark.parametrize("link", ["test", "test/cat"])
def test_the_same_folder_is_not_to_train_and_to_test_on(pets: Path, link: str) -> None:
    root = pets.parent
    pets.rename(root / "train")
    if "/" in link:
        paint(root / "test" / "dog" / "7.png")
    (root / link).symlink_to(root / "train" / link.removeprefix("test").strip("/"))
    with pytest.raises(DataError, match="to train on and to test on is the same folder"):
        image_folder(root, 2)


@pytest.mark.parametrize("closed", ["", "cat", "cat/deep"])
def test_a_folder_that_may_not_be_read_is_named(
    pets: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    paint(pets / "cat" / "deep" / "1.png")
    scan = os.scandir

    def guarded(path):
        if Path(path) == pets / closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    refused(pets, "1 folders that cannot be read", str(pets / closed))


@pytest.mark.parametrize(
    "suffix", ["gif", "GIF", "jfif", "jpe", "jp2", "apng", "tga", "ico", "dib", "pbm", "mpo"]
)
def test_images_of_rarer_suffixes_are_read(pets: Path, suffix: str) -> None:
    paint(pets / "cat" / f"2.{suffix}")
    assert f"cat/2.{suffix}" in class_folders(pets)["cat"]
    assert check_images(ImageFiles(pets, class_folders(pets)["cat"], [0] * 3))["images"] == 3


def test_avif_is_read_where_pillow_reads_it_and_else_named(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pets / "cat" / "2.avif").write_bytes(b"")
    if features.check("avif"):
        assert "cat/2.avif" in class_folders(pets)["cat"]
    monkeypatch.setattr(Image, "registered_extensions", dict)
    refused(pets, "1 images in formats that are not read here", "2.avif")


@pytest.mark.parametrize("name", ["2.heic", "2.HEIC", "2.svg", "2.cr2", "2.dng", "2.exr", "2.dcm"])
def test_images_that_are_not_read_here_are_named(pets: Path, name: str) -> None:
    (pets / "cat" / name).write_bytes(b"?")
    refused(pets, "1 images in formats that are not read here", f"cat/{name}")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("name", ["photo", "photo.jpg_original", "photo.download"])
def test_images_without_the_suffix_of_one_are_named(pets: Path, kind: str, name: str) -> None:
    paint(pets / "cat" / name, format=kind)
    refused(pets, "1 images by their content, but not by their suffix", f"cat/{name}")


@pytest.mark.parametrize(
    "name", ["Thumbs.db", "desktop.ini", "notes.txt", "a.json", "empty", ".hidden.heic", "a.mp4"]
)
def test_what_is_no_image_is_passed_over(pets: Path, name: str) -> None:
    expected = class_folders(pets)
    (pets / "cat" / name).write_bytes(b"\xd0\xcf\x11\xe0" * (name != "empty"))
    assert class_folders(pets) == expected


def test_a_pipe_that_is_called_as_an_image_is_named(pets: Path) -> None:
    os.mkfifo(pets / "cat" / "2.jpg")
    refused(pets, "1 no ordinary files", "cat/2.jpg")


def test_a_folder_that_is_called_as_an_image_is_a_folder(pets: Path) -> None:
    paint(pets / "cat" / "more.jpg" / "1.png")
    assert "cat/more.jpg/1.png" in class_folders(pets)["cat"]


def test_all_faults_are_told_at_once(pets: Path) -> None:
    for i in range(7):
        (pets / "cat" / f"{i}.heic").touch()
    (pets / "dog" / "x.png").symlink_to(pets / "gone")
    refused(pets, "7 images in formats", "4.heic and 2 more", "There are 1 links")


def test_files_whose_names_are_no_utf8_are_read(
    pets: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    paint(pets / "cat" / "x.png").rename(pets / "cat" / name)
    assert f"cat/{name}" in class_folders(pets)["cat"]
    for _ in range(2):  # the second time it is remembered
        benchmark = image_folder(pets, 2, test_fraction=0.4)
        assert benchmark.data["images"] == 5
    assert sum(1 for s in benchmark.streams.values() for e in s for _ in e.dataset) == 5
    (pets / "cat" / name).write_bytes(b"?")
    with pytest.raises(DataError, match=r"1 of 5 image files .*cat/caf\\xe9\.png") as raised:
        image_folder(pets, 2, test_fraction=0.4)
    print(str(raised.value).encode())  # as a terminal has it


def test_a_root_whose_name_is_no_utf8_can_be_told(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    root.mkdir()
    for options in ({}, {"test_fraction": 0.5}):
        with pytest.raises(DataError) as raised:
            image_folder(root, 2, **options)
        assert b"caf\\xe9" in str(raised.value).encode()
    paint(root / "cat" / "1.png")
    with pytest.raises(DataError) as raised:
        image_folder(root, 2, test_fraction=0.5)
    assert str(raised.value).encode()


def test_a_class_whose_name_is_no_utf8_is_refused(pets: Path) -> None:
    (pets / "dog").rename(pets / os.fsdecode(b"caf\xe9"))
    refused(pets, "1 class folders whose names are no UTF-8", r"caf\xe9")


ACCENTED = "Löwe"


def test_a_name_is_the_same_in_either_form_of_its_letters(tmp_path: Path) -> None:
    for part, form in (("train", "NFC"), ("test", "NFD")):
        for name in (ACCENTED, "cat"):
            paint(tmp_path / part / unicodedata.normalize(form, name) / "1.png")
    benchmark = image_folder(tmp_path, 2)
    assert benchmark.class_names == (unicodedata.normalize("NFC", ACCENTED), "cat")
    assert benchmark.data["images"] == 4


@pytest.mark.parametrize(
    "names",
    [
        ("cat", "Cat"),
        ("cat", "cat "),
        tuple(unicodedata.normalize(f, ACCENTED) for f in ("NFC", "NFD")),
    ],
)
def test_names_that_look_alike_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in (*names, "dog"):
        paint(tmp_path / name / "1.png")
    refused(tmp_path, "differ in case, spaces or the encoding of letters alone", *map(repr, names))


def test_letters_in_both_cases_are_classes(tmp_path: Path) -> None:
    for name in "aAbB":
        paint(tmp_path / name / "1.png")
    assert list(class_folders(tmp_path)) == ["A", "B", "a", "b"]
