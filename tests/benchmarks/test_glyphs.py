from pathlib import Path

import matplotlib
import pytest
import torch
import torch.nn.functional as F
from avalanche.benchmarks import NCScenario
from PIL import ImageFont

from avl_pegp.backbones.tiny_vit import PRETRAINING_CHARACTERS
from avl_pegp.benchmarks import GLYPHS, create_benchmark, split_glyphs
from avl_pegp.benchmarks.glyphs import STREAM
from avl_pegp.benchmarks.rendering import FONTS, draw_glyph, render_glyphs

TRAIN, TEST = 4, 2


@pytest.fixture(scope="module")
def benchmark() -> NCScenario:
    return split_glyphs(train_per_class=TRAIN, test_per_class=TEST)


@pytest.fixture(scope="module")
def drawings() -> torch.Tensor:
    """Every class in every font, (70, fonts, pixels), 0 to 1."""
    rows = [torch.stack([draw_glyph(glyph, font) for font in FONTS]) for glyph in GLYPHS]
    return torch.stack(rows).flatten(2).float() / 255


def test_there_are_70_distinct_letters_none_of_which_was_seen_in_pretraining() -> None:
    assert len(set(GLYPHS)) == 70
    assert not set(GLYPHS) & set(PRETRAINING_CHARACTERS)


def test_no_glyph_is_blank(drawings: torch.Tensor) -> None:
    assert drawings.mean(2).min() > 0.02


@pytest.mark.parametrize("font", FONTS)
def test_no_glyph_is_the_box_that_stands_for_a_missing_one(font: str) -> None:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    typeface = ImageFont.truetype(str(path), 40, layout_engine=ImageFont.Layout.BASIC)
    box = bytes(typeface.getmask("\uffff"))
    assert all(bytes(typeface.getmask(glyph)) != box for glyph in GLYPHS)


def cut_out(drawing: torch.Tensor) -> torch.Tensor:
    """The inked part of a drawing in a 16x16 square of its own: likeness whatever the size."""
    ink = drawing[0].float() / 255
    (top, left), (bottom, right) = (ink > 0.3).nonzero().aminmax(dim=0)
    part = ink[top : bottom + 1, left : right + 1]
    scale = 15 / max(part.shape)
    shape = [max(1, round(scale * side)) for side in part.shape]
    small = F.interpolate(part[None, None], shape, mode="bilinear", antialias=True)[0, 0]
    square = torch.zeros(16, 16)
    row, column = ((16 - side) // 2 for side in shape)
    square[row : row + shape[0], column : column + shape[1]] = small
    return square


def test_no_two_classes_look_alike_nor_like_a_pretraining_letter() -> None:
    shapes = [
        torch.stack([cut_out(draw_glyph(character, font)) for font in FONTS])
        for character in (*GLYPHS, *PRETRAINING_CHARACTERS)
    ]
    flat = torch.stack(shapes).flatten(2)
    centred = F.normalize(flat - flat.mean(2, keepdim=True), dim=2)
    likeness = torch.einsum("cfp,dfp->cd", centred[: len(GLYPHS)], centred) / len(FONTS)
    assert likeness.fill_diagonal_(0).max() < 0.85


def test_every_class_lands_in_exactly_one_experience(benchmark: NCScenario) -> None:
    assert len(benchmark.train_stream) == len(benchmark.test_stream) == 10
    for stream in (benchmark.train_stream, benchmark.test_stream):
        seen = [sorted(set(experience.dataset.targets)) for experience in stream]
        assert seen == [list(range(7 * i, 7 * i + 7)) for i in range(10)]


def test_each_experience_has_all_images_of_its_classes(benchmark: NCScenario) -> None:
    assert [len(experience.dataset) for experience in benchmark.train_stream] == [7 * TRAIN] * 10
    assert [len(experience.dataset) for experience in benchmark.test_stream] == [7 * TEST] * 10


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_items_are_normalised_floats_in_both_modes(benchmark: NCScenario, mode: str) -> None:
    dataset = getattr(benchmark.train_stream[0].dataset, mode)()
    image = dataset[0][0]
    assert image.dtype == torch.float32
    assert image.shape == (3, 32, 32)
    assert image.min() >= -1
    assert image.max() <= 1
    assert image.min() < -0.2 < 0.2 < image.max()


def test_class_order_decides_who_comes_when_and_names_and_labels_follow() -> None:
    order = list(range(69, -1, -1))
    benchmark = split_glyphs(class_order=order, train_per_class=TRAIN, test_per_class=1, seed=5)
    assert benchmark.class_names == GLYPHS[::-1]
    images, _ = render_glyphs(GLYPHS, TRAIN, seed=10, variation=STREAM)
    image, label = benchmark.train_stream[0].dataset[0][:2]
    source = TRAIN * GLYPHS.index(benchmark.class_names[label])
    candidates = images[source : source + TRAIN].float() / 127.5 - 1
    assert any(torch.equal(image, candidate) for candidate in candidates)


@pytest.mark.parametrize("task_labels", [False, True])
def test_task_labels_are_given_when_asked_for(task_labels: bool) -> None:
    benchmark = split_glyphs(
        task_labels=task_labels, order_seed=1, train_per_class=1, test_per_class=1
    )
    for stream in (benchmark.train_stream, benchmark.test_stream):
        for t, experience in enumerate(stream):
            assert experience.task_labels == [t if task_labels else 0]
            assert sorted(experience.dataset.targets) == list(range(7 * t, 7 * t + 7))
    assert benchmark.class_names == tuple(GLYPHS[label] for label in benchmark.class_order)
    assert benchmark.class_order != list(range(70))


def test_test_images_are_others_than_training_images_and_do_not_depend_on_their_number() -> None:
    few = split_glyphs(n_experiences=1, train_per_class=1, test_per_class=1)
    more = split_glyphs(n_experiences=1, train_per_class=2, test_per_class=1)
    test = torch.stack([item[0] for item in few.test_stream[0].dataset])
    assert torch.equal(test, torch.stack([item[0] for item in more.test_stream[0].dataset]))
    train = torch.stack([item[0] for item in few.train_stream[0].dataset])
    assert (train != test).flatten(1).any(1).all()


def test_scripts_are_mixed_in_the_first_experience() -> None:
    blocks = {ord(glyph) >> 8 if ord(glyph) < 0x500 else ord(glyph) >> 6 for glyph in GLYPHS[:7]}
    assert len(blocks) >= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_experiences": 9}, r"n_experiences=9 .* choose one of 1, 2, 5, 7, 10, 14, 35, 70"),
        ({"n_experiences": 0}, "n_experiences=0"),
        ({"n_experiences": -7}, "n_experiences=-7"),
        ({"class_order": [0] * 70}, "not a permutation"),
        ({"class_order": [1, 0]}, r"class_order=\[1, 0\]"),
        ({"train_per_class": 0}, "train_per_class=0"),
        ({"test_per_class": 0}, "test_per_class=0"),
        ({"class_order": list(range(70)), "order_seed": 0}, "order_seed=0 .* one of the two"),
    ],
)
@pytest.mark.long
def test_splits_that_do_not_work_out_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_glyphs(**options)


def test_an_unknown_benchmark_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'split_glyps' .* split_digits, .*split_glyphs, "):
        create_benchmark("split_glyps")
