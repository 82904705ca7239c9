import pytest
import torch

from avl_pegp.benchmarks.rendering import FONTS, draw_glyph, render_both, render_glyphs


def test_images_are_uint8_and_sorted_by_label() -> None:
    images, labels = render_glyphs("ΔΩЖ", per_class=4, seed=0, size=24)
    assert images.shape == (12, 3, 24, 24)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_the_same_seed_gives_the_same_pixels() -> None:
    first, _ = render_glyphs("ΔΩ", per_class=600, seed=3)  # more images than one chunk
    again, _ = render_glyphs("ΔΩ", per_class=600, seed=3)
    assert torch.equal(first, again)


def test_another_seed_gives_other_pixels() -> None:
    first, _ = render_glyphs("ΔΩ", per_class=5, seed=3)
    other, _ = render_glyphs("ΔΩ", per_class=5, seed=4)
    assert (first != other).flatten(1).any(1).all()


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(0)
    first, _ = render_glyphs("ΔΩ", per_class=5, seed=3)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    second, _ = render_glyphs("ΔΩ", per_class=5, seed=3)
    assert torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())


def test_ink_and_paper_differ_in_every_image() -> None:
    images, _ = render_glyphs("ΔΩ", per_class=100, seed=0)
    grey = images.float().mean(1).flatten(1) / 255
    contrast = grey.quantile(0.98, dim=1) - grey.quantile(0.02, dim=1)
    assert contrast.min() > 0.2


def test_a_narrowed_choice_of_fonts_is_kept_to() -> None:
    sans, _ = render_glyphs("Ξ", per_class=50, seed=0, fonts=["DejaVuSans"])
    serif, _ = render_glyphs("Ξ", per_class=50, seed=0, fonts=["DejaVuSerif-Bold"])
    assert not torch.equal(sans, serif)


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("letter", "ЖЩW")
def test_a_wide_letter_is_shrunk_rather_than_cut_off(letter: str, font: str) -> None:
    drawing = draw_glyph(letter, font)[0]
    rim = torch.cat([drawing[0], drawing[-1], drawing[:, 0], drawing[:, -1]])
    assert rim.max() == 0
    assert drawing.max() > 200


def test_a_character_without_a_drawing_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"font DejaVuSans has no drawing of '中' \(U\+4E2D\)"):
        render_glyphs("Δ中", per_class=1, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"characters": ""}, "characters=''"),
        ({"characters": "ΔΔ"}, "distinct"),
        ({"characters": ["Δ", "ab"]}, "'ab'"),
        ({"per_class": 0}, "per_class=0"),
        ({"size": 7}, "size=7"),
        ({"fonts": []}, "fonts="),
        ({"fonts": ["Papyrus"]}, "Papyrus"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_glyphs(**{"characters": "Δ", "per_class": 1, "seed": 0, **arguments})


@pytest.mark.parametrize(("counts", "message"), [((0, 1), "train_per_"), ((1, -1), "test_per_")])
def test_no_images_are_refused(counts: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_both(pytest.fail, *counts, seed=0)
