"""Photographs that lie on their side, scans that are very large, and files of several images."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avl_pegp.benchmarks import DataError, ImageFiles, check_images, image_folder

ORIENTATION = 0x0112
#: The image as it is meant, from what lies in the file, by orientation.
MEANT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
    7: lambda pixels: pixels.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
    0: lambda pixels: pixels,
    9: lambda pixels: pixels,
}
PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 9


def paint(path: Path, orientation: int | None = None, pixels: np.ndarray = PIXELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif, lossless=True)
    return path


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("orientation", MEANT)
def test_an_image_is_turned_as_its_exif_data_says(tmp_path, orientation: int, suffix: str) -> None:
    name = paint(tmp_path / f"a.{suffix}", orientation).name
    read, _ = ImageFiles(tmp_path, [name], [0])[0]
    assert np.array_equal(np.asarray(read), MEANT[orientation](PIXELS))
    plain, _ = ImageFiles(tmp_path, [name], [0], upright=False)[0]
    assert np.array_equal(np.asarray(plain), PIXELS)


def test_a_photograph_is_turned(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 16:] = 255
    name = paint(tmp_path / "a.jpg", 6, pixels).name  # to be turned by a quarter to the right
    read = np.asarray(ImageFiles(tmp_path, [name], [0])[0][0])
    assert read.shape == (32, 16, 3)
    assert read[:12].max() < 20 < 235 < read[20:].min()


def test_exif_data_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12")
    read, _ = ImageFiles(tmp_path, ["a.png"], [0])[0]
    assert np.array_equal(np.asarray(read), PIXELS)
    assert check_images(ImageFiles(tmp_path, ["a.png"], [0])) == {"images": 1, "converted": 0}


def test_images_of_ones_own_are_turned_and_counted(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for i, orientation in enumerate((None, 1, 6, 8)):
            paint(tmp_path / name / f"{i}.png", orientation)
    benchmark = image_folder(
        tmp_path,
        2,
        test_fraction=0.25,
        train_transform=lambda image: image.size,
        eval_transform=lambda image: image.size,
    )
    assert benchmark.data["exif_turned"] == 4
    sizes = [tuple(x[0]) for s in benchmark.streams.values() for e in s for x in e.dataset]
    assert sorted(sizes) == [(2, 3)] * 4 + [(3, 2)] * 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("limit", "is_read"), [(32, True), (20, True), (15, False)])
def test_an_image_of_too_many_pixels_is_called_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, is_read: bool
) -> None:
    Image.new("L", (8, 4)).save(tmp_path / "scan.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    files = ImageFiles(tmp_path, ["scan.png"], [0])
    if is_read:
        assert check_images(files)["images"] == 1
        return
    message = r"scan\.png .?has 32 pixels, twice what Pillow allows; make it smaller, or raise PIL"
    with pytest.raises(DataError, match=message) as raised:
        check_images(files)
    assert "damaged" not in str(raised.value)
    with pytest.raises(DataError, match=message):
        files[0]


def test_a_large_scan_is_read_once_pillow_may(tmp_path: Path, monkeypatch) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "scan.png")
    files = ImageFiles(tmp_path, ["scan.png"], [0])
    with pytest.raises(DataError, match="200,000,000 pixels"):
        check_images(files)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)
    with pytest.raises(DataError, match="200,000,000 pixels"):
        files[0]


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "apng", "avif"])
def test_of_several_images_in_a_file_the_first_is_read(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    red, green, blue = ImageFiles(tmp_path, [path.name], [0])[0][0].getpixel((8, 8))
    assert red > 240 > 15 > max(green, blue)


@pytest.mark.parametrize("mode", ["P", "L", "1", "RGBA", "LA", "CMYK", "I;16", "I", "F"])
def test_a_fault_is_told_of_the_file_that_has_it(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tif"
    Image.new(mode, (8, 8)).save(path)
    (tmp_path / "b.tif").write_bytes(b"?")
    files = ImageFiles(tmp_path, ["a.tif", "b.tif"], [0, 1])
    with warnings.catch_warnings(), pytest.raises(DataError) as raised:
        warnings.simplefilter("error")
        check_images(files)
    deep = mode[0] in "IF"
    assert (f"a.tif (has pixels of mode {mode}; save it with 8 bits" in str(raised.value)) == deep
    assert ("b.tif (damaged or no image)" in str(raised.value)) == deep
    assert "b.tif" in str(raised.value)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch) -> None:
    paint(tmp_path / "a.png")

    def closed(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", closed)
    with pytest.raises(DataError, match=r"a\.png \(may not be read\)"):
        check_images(ImageFiles(tmp_path, ["a.png"], [0]))


@pytest.mark.parametrize("path", ["a.png/b.png", "x" * 300 + ".png"])
def test_a_path_that_leads_nowhere_is_named(tmp_path: Path, path: str) -> None:
    paint(tmp_path / "a.png")
    with pytest.raises(DataError, match=path[:9]):
        check_images(ImageFiles(tmp_path, [path], [0]))
