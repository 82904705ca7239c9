import pytest
import torch
from PIL import Image

from avl_pegp.benchmarks import DataError, join_images, resized, split_images


class Shades:
    """Grey images in memory, whose shade is the label."""

    def __init__(self, targets: list[int]) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        shade = self.targets[index]
        return Image.new("RGB", (4, 4), (shade, shade, shade)), shade


ALL = Shades([label for label in range(6) for _ in range(2)])
NAMES = "abcdef"


def classes_in(stream) -> list[list[int]]:
    return [sorted(set(experience.dataset.targets)) for experience in stream]


def test_images_are_resized_in_their_middle() -> None:
    image = Image.new("RGB", (300, 100), "black")
    image.paste("white", (100, 0, 200, 100))
    tensor = resized(image)
    assert (tensor.shape, tensor.dtype) == ((3, 224, 224), torch.float32)
    assert tensor[:, :, 2:-2].min() == 1
    assert resized(Image.new("RGB", (30, 50), "black")).unique().tolist() == [-1]


def test_experiences_may_have_unequally_many_classes() -> None:
    options = {"classes_per_experience": [3, 1, 2], "class_order": [5, 4, 3, 2, 1, 0]}
    benchmark = split_images(ALL, Shades([0, 1, 2, 3, 4, 5]), NAMES, 3, **options)
    for stream, each in ((benchmark.train_stream, 2), (benchmark.test_stream, 1)):
        assert classes_in(stream) == [[0, 1, 2], [3], [4, 5]]
        assert [len(experience.dataset) for experience in stream] == [3 * each, each, 2 * each]
    assert benchmark.class_names == tuple("fedcba")
    image, label = benchmark.train_stream[1].dataset[0][:2]
    assert (label, image.mean()) == (3, pytest.approx(2 / 127.5 - 1))


@pytest.mark.parametrize("counts", [[3, 3], [2, 2, 1], [6, 0, 0], [7, -2, 1], []])
def test_numbers_of_classes_must_add_up(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="must be 3 positive numbers.*add up to the 6 classes"):
        split_images(ALL, ALL, NAMES, 3, classes_per_experience=counts)


def test_without_them_classes_must_divide_evenly() -> None:
    with pytest.raises(ValueError, match="n_experiences=4 does not divide the 6 classes evenly"):
        split_images(ALL, ALL, NAMES, 4)


@pytest.mark.parametrize("part", ["training", "test"])
def test_a_class_without_images_is_named(part: str) -> None:
    few = Shades([0, 1, 3, 5])
    pair = (few, ALL) if part == "training" else (ALL, few)
    with pytest.raises(DataError, match=f"2 of 6 classes have no {part} image: c, e"):
        split_images(*pair, NAMES, 3)


def test_data_sets_become_experiences_with_transforms_of_their_own() -> None:
    benchmark = join_images(
        [ALL, Shades([0, 1])],
        [ALL, ALL],
        NAMES,
        train_transform=lambda image: torch.ones(1),
        eval_transform=lambda image: torch.zeros(1),
    )
    assert classes_in(benchmark.train_stream) == [[0, 1, 2, 3, 4, 5], [0, 1]]
    assert benchmark.train_stream[1].dataset[0][0] == 1
    assert benchmark.test_stream[1].dataset[0][0] == 0
    assert benchmark.data == {"train_images": 14, "test_images": 24}
