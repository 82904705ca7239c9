"""Any stream goes with any data set: a reader makes the one, and knows nothing of the other."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from image_data import AS_THEY_ARE
from PIL import Image

from avl_pegp.benchmarks import (
    READERS,
    STREAMS,
    ImageData,
    blurry_incremental,
    class_incremental,
    create_benchmark,
    domain_incremental,
    normalise,
    online_benchmark,
    read_core50,
    read_cub200,
    read_digits,
    read_image_folder,
    read_named_datasets,
    si_blurry,
)
from avl_pegp.benchmarks.data import ImageDataset


def contents(stream) -> Counter:
    """All images, and what the benchmark calls their classes."""
    names = stream.benchmark.class_names
    return Counter(
        (image.tobytes(), names[label])
        for experience in stream
        for image, label, *_ in experience.dataset
    )


@pytest.fixture
def cub(miniature: Callable[[str], Path]) -> ImageData:
    return read_cub200(miniature("cub200"))


def test_si_blurry_shares_out_a_data_set_on_disk(cub: ImageData) -> None:
    blurry = blurry_incremental(cub, 5, disjoint=0.4, blurry=0.5, order_seed=3, **AS_THEY_ARE)
    split = class_incremental(cub, 5, **AS_THEY_ARE)
    for stream in ("train_stream", "test_stream"):
        assert contents(getattr(blurry, stream)) == contents(getattr(split, stream))
    tasks = si_blurry(cub.train.targets, 5, 0.4, 0.5, generator=torch.Generator().manual_seed(3))
    assert blurry.class_order == [label for classes in tasks.classes for label in classes]
    for experience, rows in zip(blurry.train_stream, tasks.indices, strict=True):
        old = [blurry.class_order[label] for label in experience.dataset.targets]
        assert old == [cub.train.targets[row] for row in rows]
    strays = [
        set(train.dataset.targets) - set(test.dataset.targets)
        for train, test in zip(blurry.train_stream, blurry.test_stream, strict=True)
    ]
    assert all(strays)


def test_facts_for_the_record_are_those_of_the_data_set(cub: ImageData) -> None:
    blurry = blurry_incremental(cub, 4)
    assert blurry.data == class_incremental(cub, 4).data
    assert blurry.data["images"] == 600


def test_folders_of_ones_own_are_seen_once_in_pieces(tmp_path: Path) -> None:
    for name in ("cat", "dog", "emu"):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.new("RGB", (8, 8), (ord(name[0]), i, 0)).save(tmp_path / name / f"{i}.png")
    data = read_image_folder(tmp_path, test_fraction=0.3)
    for benchmark in (
        class_incremental(data, 3, **AS_THEY_ARE),
        blurry_incremental(data, 3, **AS_THEY_ARE),
    ):
        online = online_benchmark(benchmark, batch_size=3)
        pieces = [piece.dataset for piece in online.train_stream]
        assert len(pieces) == len(online.train_stream) >= 4
        assert max(map(len, pieces)) == 3
        seen = Counter(image.tobytes() for piece in pieces for image, *_ in piece)
        assert len(seen) == seen.total() == 12


def test_domains_are_learned_one_by_one_or_pooled(miniature: Callable[[str], Path]) -> None:
    data = read_core50(miniature("core50"))
    pooled, drawn = (
        class_incremental(data, 10, **AS_THEY_ARE),
        domain_incremental(data, order_seed=1, **AS_THEY_ARE),
    )
    assert sorted(drawn.domains) == sorted(data.parts) != list(drawn.domains)
    for stream in ("train_stream", "test_stream"):
        assert contents(getattr(pooled, stream)) == contents(getattr(drawn, stream))


def test_parts_are_pooled_in_their_order() -> None:
    data = read_named_datasets(train_per_class=1, test_per_class=1)
    assert len(class_incremental(data, 8).train_stream) == 8
    assert list(data.train.targets) == list(range(56))


def test_a_stream_of_domains_asks_for_domains() -> None:
    with pytest.raises(ValueError, match=r"data has no parts.*ImageData\.of_parts"):
        domain_incremental(read_digits())
    with pytest.raises(ValueError, match="parts is empty"):
        ImageData.of_parts({}, ["cat"])


@pytest.mark.parametrize("stream", [class_incremental, blurry_incremental])
@pytest.mark.parametrize("part", ["training", "test"])
def test_a_class_without_images_is_named_by_every_stream(stream, part: str) -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    whole, half = (ImageDataset(images, torch.tensor(labels)) for labels in ([0, 1], [0, 0]))
    pair = (half, whole) if part == "training" else (whole, half)
    with pytest.raises(ValueError, match=f"1 of 2 classes have no {part} image: dog"):
        stream(ImageData(*pair, ["cat", "dog"], transform=normalise), 2)


def test_an_image_is_what_its_data_set_says_unless_a_transform_is_given() -> None:
    data = read_digits()
    for stream in (class_incremental, blurry_incremental):
        usual = stream(data, 2).train_stream[0].dataset[0][0]
        own = stream(data, 2, **AS_THEY_ARE).train_stream[0].dataset[0][0]
        assert torch.equal(usual, normalise(own))


def test_a_stream_and_a_data_set_are_joined_by_name(miniature: Callable[[str], Path]) -> None:
    root = miniature("cub200")
    blurry = create_benchmark("blurry_cub200", data_root=root, n_experiences=4, order_seed=1)
    assert blurry.class_order == blurry_incremental(read_cub200(root), 4, order_seed=1).class_order
    folder = create_benchmark(
        "blurry_image_folder",
        data_root=miniature("image_folder") / "train",
        test_fraction=0.5,
        n_experiences=2,
    )
    assert len(folder.train_stream) == 2
    core = create_benchmark(
        "split_core50", data_root=miniature("core50"), n_experiences=10, order_seed=1
    )
    assert core.class_order != sorted(core.class_order)
    with pytest.raises(ValueError, match="name='blurry_cub200' .* but data_root is not given"):
        create_benchmark("blurry_cub200", n_experiences=4)


def test_a_reader_of_ones_own_needs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_squares(shade: int = 9) -> ImageData:
        images = torch.full((8, 3, 4, 4), shade, dtype=torch.uint8)
        squares = ImageDataset(images, torch.arange(8) % 4)
        parts = {"day": (squares, squares), "night": (squares, squares)}
        return ImageData.of_parts(parts, "abcd", transform=normalise)

    monkeypatch.setitem(READERS, "squares", read_squares)
    options = {"split": {"n_experiences": 2}, "blurry": {"n_experiences": 2}, "domain": {}}
    assert options.keys() == STREAMS.keys()
    for stream, needed in options.items():
        benchmark = create_benchmark(f"{stream}_squares", shade=3, **needed)
        assert len(benchmark.train_stream) == len(benchmark.test_stream) == 2
        assert benchmark.train_stream[0].dataset[0][0].unique() == normalise(torch.tensor(3))
