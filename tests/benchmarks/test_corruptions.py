import pytest
import torch

from avl_pegp.benchmarks.corruptions import CORRUPTIONS, corruption_generator
from avl_pegp.benchmarks.glyphs import DARK_INK
from avl_pegp.benchmarks.rendering import render_glyphs

RANDOM = {"striped", "noisy", "occluded"}


@pytest.fixture(scope="module")
def letters() -> torch.Tensor:
    return render_glyphs("ΔΩЖ", per_class=20, seed=0, variation=DARK_INK)[0]


def corrupted(images: torch.Tensor, name: str, seed: int = 0) -> torch.Tensor:
    return CORRUPTIONS[name](images, corruption_generator(seed))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_stay_uint8_of_the_same_shape_and_the_originals_are_left_alone(
    letters: torch.Tensor, name: str
) -> None:
    before = letters.clone()
    after = corrupted(letters, name)
    assert after.dtype == torch.uint8
    assert after.shape == letters.shape
    assert after.data_ptr() != letters.data_ptr()
    assert torch.equal(letters, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_generator_alone_decides(letters: torch.Tensor, name: str) -> None:
    state = torch.get_rng_state()
    first, again, other = (corrupted(letters, name, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name not in RANDOM)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_images_of_a_call_differ_in_what_is_random(name: str) -> None:
    grey = torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)
    first, second = corrupted(grey, name)
    assert not torch.equal(first, second)


def test_inverting_is_the_negative(letters: torch.Tensor) -> None:
    assert (corrupted(letters, "inverted").int() + letters.int() == 255).all()


def test_rotating_is_a_quarter_turn_to_the_left() -> None:
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[:, :, 0, 31] = 9  # top right goes to top left
    assert corrupted(image, "rotated")[0, 0, 0, 0] == 9


def test_blurring_spreads_a_point_over_a_gaussian_and_keeps_a_plain_area() -> None:
    image = torch.full((1, 3, 64, 64), 40, dtype=torch.uint8)
    assert torch.equal(corrupted(image, "blurred"), image)
    image[:, :, 28:36, 28:36] = 240
    mass = corrupted(image, "blurred")[0, 0].double() - 40
    assert mass.sum() == pytest.approx(200 * 64, rel=0.01)
    row = mass.sum(0) / mass.sum()
    at = torch.arange(64, dtype=torch.float64) - 31.5
    variance = (8**2 - 1) / 12 + (0.045 * 64) ** 2  # of the square, and of the filter
    assert (row * at**2).sum() == pytest.approx(variance, rel=0.05)


def test_stripes_darken_half_of_light_paper_and_ink_shows_through(letters: torch.Tensor) -> None:
    white = torch.full((200, 3, 40, 40), 255, dtype=torch.uint8)
    striped = corrupted(white, "striped").float().mean(1)
    assert (striped < 255).float().mean() == pytest.approx(0.5, abs=0.02)
    assert striped.min() >= 127  # half opaque
    assert striped.amin((1, 2)).max() < 200  # visible in every image
    grey = corrupted(letters, "striped").float().mean(1).flatten(1)
    likeness = [
        torch.corrcoef(torch.stack(pair))[0, 1]
        for pair in zip(grey, letters.float().mean(1).flatten(1), strict=True)
    ]
    assert min(likeness) > 0.3


def test_noise_has_its_deviation() -> None:
    grey = torch.full((20, 3, 32, 32), 128, dtype=torch.uint8)
    assert corrupted(grey, "noisy").float().std() == pytest.approx(0.25 * 255, rel=0.1)


def test_one_square_is_hidden_and_the_rest_stays() -> None:
    images = torch.zeros(500, 3, 32, 32, dtype=torch.uint8)
    changed = (corrupted(images, "occluded") != 0).any(1)
    assert (changed.sum((1, 2)) == 11**2).all()
    rows, columns = changed.any(2).sum(1), changed.any(1).sum(1)
    assert (rows == 11).all()
    assert (columns == 11).all()
    assert changed.any(0).float().mean() > 0.95  # anywhere


def test_the_renderers_random_numbers_are_not_used_again() -> None:
    for seed in range(10):
        own = torch.rand(3, generator=corruption_generator(seed))
        assert not torch.equal(own, torch.rand(3, generator=torch.Generator().manual_seed(seed)))
