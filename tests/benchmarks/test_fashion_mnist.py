"""Fashion-MNIST: four files, packed or not; whatever is wrong with one is told by its name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from miniature import idx, write_fashion_mnist
from PIL import Image

from avl_pegp.benchmarks import FASHION, DataError, create_benchmark, read_fashion_mnist

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def test_there_are_five_experiences_of_two_classes(miniature: Callable[[str], Path]) -> None:
    benchmark = create_benchmark("split_fashion_mnist", data_root=miniature("fashion_mnist"))
    for stream, count in ((benchmark.train_stream, 2), (benchmark.test_stream, 1)):
        seen = [sorted(experience.dataset.targets) for experience in stream]
        assert seen == [sorted([i, i + 1] * count) for i in range(0, 10, 2)]
    assert benchmark.class_names == FASHION
    assert benchmark.data == {"train_images": 20, "test_images": 10, "converted": 30}
    assert benchmark.train_stream[0].dataset[0][0].shape == (3, 224, 224)


def test_grey_pixels_become_three_equal_channels(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path / "data")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)
    (tmp_path / "data" / IMAGES).write_bytes(idx(pixels))
    image, label = read_fashion_mnist(tmp_path / "data").train[13]
    assert isinstance(image, Image.Image)
    assert label == 3
    assert np.array_equal(np.array(image), pixels[13][:, :, None].repeat(3, axis=2))


def test_a_file_is_read_packed_or_not(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path / "data")
    before = np.array(read_fashion_mnist(tmp_path / "data").train[5][0])
    for name in (IMAGES, LABELS):
        file = tmp_path / "data" / name
        file.with_name(f"{name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert np.array_equal(np.array(read_fashion_mnist(tmp_path / "data").train[5][0]), before)


def test_any_stream_cuts_it(miniature: Callable[[str], Path]) -> None:
    benchmark = create_benchmark(
        "blurry_fashion_mnist", data_root=miniature("fashion_mnist"), train_per_class=1
    )
    assert benchmark.data["train_images"] == 10


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            IMAGES,
            None,
            rf"no file .*{IMAGES}, nor {IMAGES}.gz. Put this there:\n(.|\n)*t10k-labels",
        ),
        (LABELS, None, f"no file .*{LABELS}"),
        (IMAGES, b"", "begins with nothing"),
        (IMAGES, idx(np.zeros(20, np.uint8)), "begins with 00 00 08 01: .* with 00 00 08 03"),
        (LABELS, b"\x1f\x8b\x08\x00", "begins with 1f 8b 08 00"),
        (IMAGES, idx(np.zeros((20, 28, 28), np.uint8))[:-1], "20 x 28 x 28 bytes, and has 15679"),
        (IMAGES, idx(np.zeros((20, 28, 28), np.uint8)) + b"x", "20 x 28 x 28 bytes, and has 15681"),
        (IMAGES, idx(np.zeros((20, 32, 32), np.uint8)), "32x32 pixels, and must have 28x28"),
        (LABELS, idx(np.zeros(19, np.uint8)), "19 labels for the 20 images"),
        (LABELS, idx(np.arange(20, dtype=np.uint8)), "labels 10, 11, 12, .* must be from 0 to 9"),
    ],
)
def test_other_contents_are_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    write_fashion_mnist(tmp_path / "data")
    (tmp_path / "data" / name).unlink()
    if content is not None:
        (tmp_path / "data" / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_fashion_mnist(tmp_path / "data")


@pytest.mark.parametrize("left", [0, 5, 60])
def test_a_packed_file_that_is_cut_is_named(tmp_path: Path, left: int) -> None:
    write_fashion_mnist(tmp_path / "data")
    file = tmp_path / "data" / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz .* source again"):
        read_fashion_mnist(tmp_path / "data")


def test_a_packed_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path / "data")
    file = tmp_path / "data" / "t10k-images-idx3-ubyte.gz"
    content = file.read_bytes()
    file.write_bytes(content[:100] + bytes(50) + content[150:])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz cannot be read"):
        read_fashion_mnist(tmp_path / "data")


def test_an_absent_folder_is_told_with_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data in .*nowhere(.|\n)*train-images-idx3-ubyte"):
        read_fashion_mnist(tmp_path / "nowhere")
