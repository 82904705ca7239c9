"""PETs as recipes write them."""

from __future__ import annotations

import pytest
from reproduction.recipe_pets import pet_of, pets_of
from runs.methods import values_of

from avl_pegp import Context, LinearAdapter, Prompt


def test_a_table_is_a_pet_and_a_list_are_several():
    adapter = {"kind": "linear_adapter", "bottleneck": 5}
    assert pets_of(adapter) == (values_of(LinearAdapter(bottleneck=5)),)
    given = [{"kind": "prompt", "length": 3, "blocks": [0, 2]}, {"kind": "context", "length": 2}]
    assert pets_of(given) == tuple(
        map(values_of, (Prompt(length=3, blocks=(0, 1)), Context(length=2)))
    )


@pytest.mark.parametrize(
    ("pet", "message"),
    [
        (
            {"rank": 4},
            "kind=None: must be one of adapter, lora, prefix, prompt, linear_adapter, context",
        ),
        ({"kind": "lora"}, "lora: .*missing 1 required positional argument: 'rank'"),
        ({"kind": "lora", "rank": 0}, "LoRA.rank=0"),
        ({"kind": "prompt", "length": 3, "width": 2}, "prompt has no width; it has length, blocks"),
    ],
)
def test_an_impossible_pet_is_refused(pet, message):
    with pytest.raises(ValueError, match=message):
        pet_of(pet)
