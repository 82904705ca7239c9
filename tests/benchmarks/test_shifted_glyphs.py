import pytest
import torch
from avalanche.benchmarks import NCScenario

from avl_pegp.benchmarks import GLYPHS, STYLES, render_glyphs, shifted_glyphs
from avl_pegp.benchmarks.corruptions import CORRUPTIONS, corruption_generator
from avl_pegp.benchmarks.glyphs import DARK_INK

TRAIN, TEST = 4, 3


@pytest.fixture(scope="module")
def benchmark() -> NCScenario:
    return shifted_glyphs(train_per_class=TRAIN, test_per_class=TEST)


def pixels(experience) -> torch.Tensor:
    """Images of an experience by label, uint8."""
    items = sorted(experience.dataset, key=lambda item: item[1])
    return ((torch.stack([item[0] for item in items]) + 1) * 127.5).round().to(torch.uint8)


def test_styles_go_round(benchmark: NCScenario) -> None:
    assert benchmark.styles == STYLES * 2


@pytest.mark.parametrize(("part", "count", "stream"), [(0, TRAIN, "train"), (1, TEST, "test")])
def test_an_experience_has_its_own_classes_in_its_own_style(
    benchmark: NCScenario, part: int, count: int, stream: str
) -> None:
    source, _ = render_glyphs(GLYPHS, count, seed=part, variation=DARK_INK)
    generator = corruption_generator(part)
    chunks = source.split(7 * count)
    for experience, style, chunk in zip(
        getattr(benchmark, f"{stream}_stream"), benchmark.styles, chunks, strict=True
    ):
        assert torch.equal(pixels(experience), CORRUPTIONS[style](chunk, generator))


def test_every_style_looks_different_from_plain(benchmark: NCScenario) -> None:
    """By what a person sees first: how light and how sharp it is."""
    means, edges = {}, {}
    for experience, style in zip(benchmark.train_stream, benchmark.styles, strict=True):
        grey = pixels(experience).float().mean(1)
        means[style] = grey.mean()
        edges[style] = (grey[:, 1:] - grey[:, :-1]).abs().mean()
    assert means["inverted"] < 128 < means["plain"]
    assert edges["blurred"] < 0.3 * edges["plain"]
    assert means["striped"] < 0.9 * means["plain"]


def test_a_class_order_takes_the_styles_along() -> None:
    order = list(range(69, -1, -1))
    benchmark = shifted_glyphs(10, order, train_per_class=1, test_per_class=1)
    assert benchmark.class_order == order
    assert benchmark.class_names == GLYPHS[::-1]
    source, _ = render_glyphs(GLYPHS, 1, seed=0, variation=DARK_INK)
    inverted = pixels(benchmark.train_stream[1])
    assert torch.equal(inverted, 255 - source[56:63].flip(0))
