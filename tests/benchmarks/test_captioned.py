"""What a caption says can be measured in the image."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from avl_pegp.benchmarks import captioned
from avl_pegp.benchmarks.captioned import SCENE_DOMAINS, render_scenes
from avl_pegp.benchmarks.named_characters import NAMES
from avl_pegp.benchmarks.rendering import draw_glyph
from avl_pegp.benchmarks.scenes import COLOURS, POSITIONS, TYPEFACES, Scene, draw_scenes

WHITE = Scene("A", "white", "sans", bold=False, italic=False, size="large", position="middle")
#: One way round, or the other, from the middle: (right, down) in pixels, at least.
OFF_CENTRE = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1), "middle": (0, 0)}


def varied(**values) -> list[Scene]:
    """All combinations of these values."""
    return [
        replace(WHITE, **dict(zip(values, combination, strict=True)))
        for combination in product(*values.values())
    ]


def ink_of(scenes: list[Scene]) -> torch.Tensor:
    """Which pixels of white characters on plain dark paper are ink, bool (N, 32, 32)."""
    assert {scene.colour for scene in scenes} == {"white"}
    return render_scenes(scenes, seed=0).amin(1) > 140


def centres_of(ink: torch.Tensor) -> torch.Tensor:
    """Middle of the box around the ink, (N, 2): right and down from the image's."""
    ends = []
    for axis in (1, 2):
        at = ink.any(axis).float() * torch.arange(1, 33)
        last = at.amax(1)
        first = torch.where(at > 0, at, 33).amin(1)
        ends.append((first + last) / 2 - 16.5)
    return torch.stack(ends, 1)


def test_images_are_uint8_and_depend_on_the_arguments_alone() -> None:
    scenes = draw_scenes(1100, 0, "AB")  # more than one chunk
    state = torch.get_rng_state()
    first, again, other = (render_scenes(scenes, seed) for seed in (3, 3, 4))
    assert (first.shape, first.dtype) == ((1100, 3, 32, 32), torch.uint8)
    assert torch.equal(first, again)
    assert (first != other).flatten(1).any(1).all()
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("domain", [name for name in SCENE_DOMAINS if name != "noisy"])
@pytest.mark.parametrize("colour", COLOURS)
def test_ink_has_the_colour_that_is_named(colour: str, domain: str) -> None:
    """Where ink of the scene would be if it were white, it is nearer to this colour than to others."""
    scenes = varied(character="BM8Ω", position=POSITIONS, bold=(True,))
    images = render_scenes([replace(scene, colour=colour) for scene in scenes], 0, domain).float()
    lit = render_scenes(scenes, 0, domain).float()
    ink = (lit.mean(1) > 0.8 * lit.mean(1).flatten(1).amax(1)[:, None, None])[:, None]
    seen = (images * ink).sum((0, 2, 3)) / ink.sum() / 255
    known = torch.tensor(list(COLOURS.values()))
    seen, known = seen / seen.max(), known / known.amax(1, keepdim=True)
    nearest = (known - seen).norm(dim=1).argmin()
    assert list(COLOURS)[nearest] == colour


def test_colours_are_far_apart_and_from_dark_paper() -> None:
    colours = torch.tensor([(0.0, 0.0, 0.0), *COLOURS.values()])
    apart = torch.cdist(colours, colours) + 9 * torch.eye(len(colours))
    assert apart.min() > 0.35


@pytest.mark.parametrize("position", POSITIONS)
def test_the_character_is_on_the_side_that_is_named(position: str) -> None:
    scenes = varied(character=NAMES, size=("large", "tiny"), position=[position])
    offset = centres_of(ink_of(scenes))
    for along, side in zip(offset.T, OFF_CENTRE[position], strict=True):
        if side:
            assert (along * side).min() > 3.5
        else:
            assert along.abs().max() < 2.5


def test_characters_are_whole_at_every_place() -> None:
    ink = ink_of(
        varied(character=NAMES, typeface=TYPEFACES, bold=(False, True), position=POSITIONS)
    )
    rim = ink[:, 0].sum(1) + ink[:, -1].sum(1) + ink[:, :, 0].sum(1) + ink[:, :, -1].sum(1)
    assert rim.max() <= 6  # a stroke may touch it
    assert (rim > 0).float().mean() < 0.02


def test_a_large_character_is_clearly_larger_than_the_same_one_tiny() -> None:
    large, tiny = (
        ink_of(varied(character=NAMES, typeface=TYPEFACES, size=[size])).flatten(1).sum(1)
        for size in ("large", "tiny")
    )
    assert (large / tiny).min() > 1.7


@pytest.mark.parametrize("typeface", TYPEFACES)
def test_a_bold_character_has_more_ink(typeface: str) -> None:
    bold, regular = (
        ink_of(varied(character=NAMES, typeface=[typeface], bold=[value])).flatten(1).sum(1)
        for value in (True, False)
    )
    assert (bold > regular).float().mean() > 0.95


@pytest.mark.parametrize("typeface", TYPEFACES)
def test_an_italic_stem_leans_to_the_right(typeface: str) -> None:
    """Of letters that are one stem: how far the top of the ink is right of its bottom."""

    def lean(italic: bool) -> torch.Tensor:
        ink = ink_of(varied(character="TLFE", typeface=[typeface], italic=[italic])).float()
        columns, rows = torch.arange(32.0), ink.any(2)
        left = torch.where(ink.bool(), columns, 99).amin(2)
        middle = [(left[i][rows[i]])[2:-2] for i in range(len(ink))]
        return torch.stack([(edge[1:] - edge[:-1]).mean() for edge in middle])

    assert lean(True).mean() < lean(False).mean() - 0.05


@pytest.mark.parametrize(
    ("typeface", "bold", "italic", "font"),
    [
        ("sans", False, False, "DejaVuSans"),
        ("sans", True, False, "DejaVuSans-Bold"),
        ("serif", False, False, "DejaVuSerif"),
        ("serif", False, True, "DejaVuSerif-Italic"),
        ("serif", True, True, "DejaVuSerif-BoldItalic"),
        ("mono", False, True, "DejaVuSansMono-Oblique"),
        ("mono", True, True, "DejaVuSansMono-BoldOblique"),
    ],
)
def test_a_typeface_is_a_family_of_fonts(
    monkeypatch: pytest.MonkeyPatch, typeface: str, bold: bool, italic: bool, font: str
) -> None:
    drawn = []
    monkeypatch.setattr(
        captioned, "draw_glyph", lambda *which: drawn.append(which) or draw_glyph(*which)
    )
    render_scenes([replace(WHITE, typeface=typeface, bold=bold, italic=italic)], 0)
    assert drawn == [("A", font, 32)]


@pytest.mark.parametrize("domain", SCENE_DOMAINS)
def test_a_domain_leaves_characters_where_they_are(domain: str) -> None:
    scenes = varied(character="BM8Ω", bold=(True,), position=POSITIONS)
    images = render_scenes(scenes, 0, domain).float().amin(1)
    light = (images - images.flatten(1).median(1).values[:, None, None]).clamp(min=0) ** 2
    at = torch.arange(32) - 15.5
    total = light.sum((1, 2))
    found = (
        torch.stack([(light.sum(1) * at).sum(1), (light.sum(2) * at).sum(1)], 1) / total[:, None]
    )
    meant = torch.tensor([OFF_CENTRE[scene.position] for scene in scenes]).float()
    places = torch.tensor(list(OFF_CENTRE.values())).float()
    nearest = torch.cdist(found / 4, places).argmin(1)
    assert (places[nearest] == meant).all()


def test_tilted_characters_are_tilted_to_the_left_by_30_degrees() -> None:
    scenes = [replace(WHITE, character="1")] * 20
    upright, tilted = (stem_of(render_scenes(scenes, 0, name)) for name in ("plain", "tilted"))
    assert torch.rad2deg(tilted - upright).sub(30).abs().max() < 8


def stem_of(images: torch.Tensor) -> torch.Tensor:
    """How far the long axis of the ink leans to the left, in radians, (N,)."""
    leaning = []
    for ink in images.amin(1) > 140:
        down, right = torch.cov(ink.nonzero().T.float())
        leaning.append(0.5 * torch.atan2(2 * down[1], down[0] - right[1]))
    return torch.stack(leaning)


def test_every_domain_looks_different_from_plain() -> None:
    scenes = draw_scenes(50, 0, "AB")
    plain = render_scenes(scenes, 0).float()
    for domain in SCENE_DOMAINS[1:]:
        assert (render_scenes(scenes, 0, domain).float() - plain).abs().mean() > 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenes": []}, "scenes is empty"),
        ({"domain": "inverted"}, "domain='inverted' must be one of plain, tilted"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_scenes(**{"scenes": [WHITE], "seed": 0, **arguments})
