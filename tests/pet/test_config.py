"""Configurations check themselves."""

from __future__ import annotations

import pytest

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LoRA(0), "LoRA.rank=0"),
        (lambda: LoRA(2.5), "LoRA.rank=2.5"),
        (lambda: LoRA(2, alpha=-1), "LoRA.alpha=-1"),
        (lambda: LoRA(2, targets=("qkv", "query")), "LoRA.targets.*qkv, proj, fc1, fc2, q, k, v"),
        (lambda: LoRA(2, targets=()), "LoRA.targets"),
        (lambda: LoRA(2, blocks=[]), "LoRA.blocks"),
        (lambda: LoRA(2, blocks=[-1]), "LoRA.blocks"),
        (lambda: Adapter(2, parallel_to="head"), "Adapter.parallel_to='head'.*mlp, attention"),
        (lambda: Adapter(2, scale=float("nan")), "Adapter.scale=nan"),
        (lambda: Prefix(True), "Prefix.length=True"),
        (lambda: Prompt(-3), "Prompt.length=-3"),
    ],
)
def test_a_configuration_names_its_wrong_field(make, message):
    with pytest.raises(ValueError, match=message):
        make()
