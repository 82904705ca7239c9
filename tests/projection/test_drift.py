"""The meter against the drift of features that a test, and only a test, has kept."""

from __future__ import annotations

import pytest
import torch
from models import OPTIMIZERS, images, small_vit, tune

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt, attach, pet_parameters
from avl_pegp.projection import PEGP


class KeptFeatures:
    """What each site received in each experience, and the weights it had at its end."""

    def __init__(self, pegp: PEGP) -> None:
        self.pegp = pegp
        self.memory: list[tuple[dict, dict]] = []

    def keep(self, x: torch.Tensor) -> None:
        inputs: dict[str, torch.Tensor] = {}
        hooks = [
            site.module.register_forward_pre_hook(
                lambda _, args, name=name: inputs.__setitem__(name, args[0].clone())
            )
            for name, site in self.pegp.coverage.sites.items()
        ]
        with torch.no_grad():
            self.pegp.model.eval()(x)
        for hook in hooks:
            hook.remove()
        self.memory.append((inputs, self.maps()))

    def maps(self):
        return {name: weights_of(site) for name, site in self.pegp.coverage.sites.items()}

    def drift(self, name: str) -> float:
        now, changed, energy = self.maps()[name], 0.0, 0.0
        for inputs, then in self.memory:
            before, after = apply(then[name], inputs[name]), apply(now, inputs[name])
            changed += float((after - before).square().sum())
            energy += float(before.square().sum())
        return changed / energy


def weights_of(site):
    """Weight and bias as functions of the input's last axis, copied."""
    weight = site.module.weight.detach().clone()
    weight = weight.mT if site.transposed else weight
    return weight, None if site.bias is None else site.module.bias.detach().clone()


def apply(weights, x):
    weight, bias = weights
    y = x @ weight.mT
    return y if bias is None else y + bias


@pytest.mark.parametrize("project", ["step", "gradient", "none"])
@pytest.mark.parametrize("optimizer", ["sgd_momentum", "adamw_decay"])
def test_the_meter_equals_the_drift_of_kept_features(project, optimizer):
    model = small_vit()
    attach(model, LoRA(4, targets=("qkv", "fc1")), Adapter(4), Prefix(6), Prompt(6))
    optimizer = OPTIMIZERS[optimizer](pet_parameters(model))
    pegp = PEGP(model, energy=0.9, project=project)
    kept = KeptFeatures(pegp)
    for t in range(3):
        x = images(6, seed=t)
        pegp.begin({2 * t, 2 * t + 1})
        tune(model, optimizer, pegp, x, torch.tensor([2 * t, 2 * t + 1] * 3), steps=8)
        if t > 0:
            drift = pegp.drift()
            for name, value in drift.items():
                assert value == pytest.approx(kept.drift(name), rel=1e-6, abs=1e-25), name
            assert max(drift.values()) > 1e-6
        kept.keep(x)
        pegp.gather([x])
        pegp.extend()
    assert set(pegp.drift()) == set(kept.maps())


def test_the_meter_is_nan_where_the_map_gave_zero():
    model = small_vit()
    attach(model, LoRA(2))
    pegp = PEGP(model)
    pegp.begin()
    pegp.gather([images(2, seed=0)])
    pegp.extend()
    drift = pegp.drift()
    assert torch.tensor(drift["blocks.0.attn.qkv.B"]).isnan()  # B is still zero
    assert drift["blocks.0.attn.qkv.A"] == 0
