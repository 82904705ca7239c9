"""Which directions count as features, and which as their rounding: in every dtype, at both ends."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from models import OPTIMIZERS, PETS, answers, images, relative_change, small_vit, tune
from torch import nn

from avl_pegp.pet import attach, pet_parameters
from avl_pegp.projection import PEGP, Basis, Moment, Protection

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
WIDE = 768  # where the rounding of bfloat16, squared, times the width, is 0.05


def rank(x: torch.Tensor, energy: float, protection: Protection | None = None) -> int:
    moment, empty = Moment.of(x), Basis.empty(x.shape[1])
    (basis,) = (protection or Protection()).extend([empty], moment, moment, energy)
    return basis.rank


def decaying(rows: int, d: int, seed: int = 0) -> torch.Tensor:
    """Directions whose sizes fall by a factor of a thousand."""
    g = torch.Generator().manual_seed(seed)
    sizes = torch.logspace(0, -3, min(rows, d), dtype=torch.float64)
    left = torch.linalg.qr(torch.randn(rows, len(sizes), generator=g, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(d, len(sizes), generator=g, dtype=torch.float64))[0]
    return left * sizes @ right.mT * d


@pytest.mark.parametrize("rows", [100, 1000])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("energy", [0.5, 0.97, 0.9999, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_dtype_gives_fewer_directions_than_hold_the_energy(dtype, energy, centred, rows):
    x = decaying(rows, WIDE if rows == 100 else 300).to(DTYPES[dtype])
    seen = x.double().numpy()
    seen = seen - seen.mean(0) if centred else seen
    shares = np.linalg.svd(seen, compute_uv=False) ** 2
    shares = shares.cumsum() / shares.sum()
    needed = int((shares < energy - 1e-12).sum()) + 1
    found = rank(x, energy, Protection(centred=centred))
    if energy == 1:
        assert found >= min(rows, x.shape[1]) - 1
    else:
        assert needed <= found <= needed + centred


@pytest.mark.parametrize("rows", [30, 500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_rounding_of_features_of_low_rank_takes_no_direction(dtype, rows, mean):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 10, generator=g, dtype=dtype) @ torch.randn(
        10, 96, generator=g, dtype=dtype
    )
    for _ in range(3):  # maps that keep the rank, and add the rounding of their sums
        x = x @ torch.randn(96, 96, generator=g, dtype=dtype) / 96**0.5
    x = x + mean * torch.randn(96, generator=g, dtype=dtype)
    assert rank(x, 1.0) == 10 + (mean > 0)
    assert rank(x, 1.0, Protection(centred=True)) == 10 + (mean > 0)


@pytest.mark.parametrize("rows", [20, 2000])
@pytest.mark.parametrize("size", [1e-6, 3e-8, 1e-11])
def test_float64_features_show_directions_that_squaring_would_hide(rows, size):
    x = torch.randn(rows, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, torch.zeros(rows, 54, dtype=torch.float64)], dim=1)
    x[:, 40] = size * torch.linspace(-1, 1, rows, dtype=torch.float64)
    moment, empty = Moment.of(x), Basis.empty(64)
    (basis,) = Protection().extend([empty], moment, moment, 1.0)
    assert basis.rank == 11
    left = x - x @ basis.columns @ basis.columns.mT
    assert left.norm() <= 1e-14 * x.norm()


def test_small_directions_of_float64_features_keep_old_answers_in_float64():
    """A free step along a direction of size 3e-8 would move answers by 3e-8."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(300, 16, generator=g, dtype=torch.float64)
    x[:, 8:] *= torch.tensor([3e-8] * 4 + [0.0] * 4, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(16, 4)).double()
    pegp = PEGP(model, energy=1.0)
    pegp.begin()
    pegp.gather(x.split(50))
    pegp.extend()
    before = model(x)
    pegp.begin()
    with torch.no_grad():
        model[0].weight.add_(3 * torch.randn(4, 16, generator=g, dtype=torch.float64))
    pegp.project_step()
    assert (model[0].weight.detach().norm() > 5, pegp.ranks()) == (True, {"0": (13, 17)})
    assert (model(x) - before).norm() <= 1e-9 * before.norm()


@pytest.mark.parametrize("experiences", [2])
def test_few_rows_make_a_wide_layer_quick(experiences):
    model = nn.Sequential(nn.Linear(3072, 8))
    pegp, began = PEGP(model, energy=1.0), time.process_time()
    for t in range(experiences):
        pegp.begin()
        pegp.gather([torch.randn(64, 3072, generator=torch.Generator().manual_seed(t))])
        pegp.extend()
        pegp.drift()
    assert time.process_time() - began < 3  # a decomposition of 3072 × 3072 takes ten or more
    assert pegp.ranks() == {"0": (64 * experiences, 3073)}
    state = pegp.state_dict()
    assert state["moments"][0]["factor"].shape == (1, 64 * experiences, 3073)


@pytest.mark.parametrize("optimizer", ["sgd_momentum", "adamw_decay"])
@pytest.mark.parametrize("pet", PETS)
def test_a_loop_that_lies_within_autocast_keeps_what_float32_promises(pet, optimizer):
    """Forward passes are in bfloat16 then, and what comes of them; projections are not."""
    model = small_vit(torch.float32)
    attach(model, PETS[pet])
    optimizer = OPTIMIZERS[optimizer](pet_parameters(model))
    pegp, x = PEGP(model, energy=1.0), images(2, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pegp.begin({0, 1})
        tune(model, optimizer, pegp, x, torch.tensor([0, 1]), steps=3)
        pegp.gather([x])
        pegp.extend()
    before, features = answers(model, x, 2), model.forward_features(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pegp.begin({2, 3})
        new = images(4, seed=2, dtype=torch.float32)
        tune(model, optimizer, pegp, new, torch.tensor([2, 3, 2, 3]), steps=10)
    assert relative_change(answers(model, x, 2), before) <= 1e-5
    assert relative_change(model.forward_features(x), features) <= 1e-5


@pytest.mark.parametrize("asked", ["medium", "high", "highest"])
def test_the_precision_of_matrix_products_is_put_back(asked):
    model = nn.Sequential(nn.Linear(3, 2))
    pegp, before = PEGP(model), torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(asked)
        pegp.begin()
        with pytest.raises(RuntimeError, match="without statistics"):
            pegp.extend()
        assert torch.get_float32_matmul_precision() == asked
    finally:
        torch.set_float32_matmul_precision(before)
