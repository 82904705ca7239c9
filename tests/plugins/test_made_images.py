from __future__ import annotations

import pytest
import torch

from avl_pegp.plugins.made_images import made_images


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(values, size=8):
    """Images of one grey each, which neither a shift nor a turn changes."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, size, size).contiguous()


def test_each_is_made_of_two_whose_labels_it_has():
    images, labels = flat([0.0, 1.0, 2.0, 3.0]), torch.tensor([5, 6, 7, 8])
    made, origins = made_images(images, labels, chance())
    assert made.shape == images.shape
    assert torch.equal(origins[:, 0], labels)
    low, high = (origins - 5).min(1).values, (origins - 5).max(1).values
    for image, a, b in zip(made, low, high, strict=True):
        assert image.min() >= a - 1e-5
        assert image.max() <= b + 1e-5


def test_half_are_cut_together_and_half_are_mixed():
    images = flat([0.0, 1.0] * 8)
    made, origins = made_images(images, torch.arange(16), chance(3))
    differ = (origins[:, 0] % 2) != (origins[:, 1] % 2)
    is_even = [image.max() - image.min() < 1e-5 for image in made]
    cut, mixed = differ[::2], differ[1::2]
    assert cut.any() and mixed.any()
    assert not any(even for even, d in zip(is_even[::2], cut, strict=True) if d)
    assert all(even for even, d in zip(is_even[1::2], mixed, strict=True) if d)


def test_a_seed_says_which_and_images_stay_as_they_were():
    images, labels = torch.rand(6, 3, 8, 8), torch.arange(6)
    kept = images.clone()
    first, again, other = (made_images(images, labels, chance(s))[0] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, kept)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (3, 1, 6, 10), (2, 4, 5, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_image_other_channels_and_oblong_ones_do_as_well(shape, dtype):
    images = torch.rand(*shape, dtype=dtype)
    made, origins = made_images(images, torch.arange(len(images)), chance())
    assert made.shape == shape
    assert made.dtype == dtype
    assert made.isfinite().all()
    assert origins.shape == (len(images), 2)


def test_what_is_no_batch_of_images_is_refused():
    with pytest.raises(ValueError, match=r"shape \(4, 7\): must be \(B, channels, H, W\)"):
        made_images(torch.zeros(4, 7), torch.zeros(4), chance())
