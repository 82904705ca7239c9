"""A state with anything in it changed is refused by name, and nothing of it is taken over."""

from __future__ import annotations

import copy

import pytest
import torch
from models import images, small_vit
from torch import Tensor

from avl_pegp.pet import Adapter, LoRA, attach
from avl_pegp.projection import PEGP, Protection
from avl_pegp.projection.checks import checksum

TENSORS = {
    "zeros": torch.zeros_like,
    "three times": lambda t: 3 * t,
    "nan": lambda t: torch.full_like(t, torch.nan),
    "infinite": lambda t: torch.full_like(t, torch.inf),
    "turned": lambda t: t.movedim(-1, 0) if t.dim() > 1 else t[:, None],
    "cut": lambda t: t[..., :-1],
    "a row less": lambda t: t[1:],
    "single": lambda t: t.float() if t.dtype == torch.float64 else t.double(),
    "whole numbers": lambda t: torch.zeros_like(t, dtype=torch.long),
    "truth values": lambda t: t > 0,
    "meta": lambda t: t.to("meta"),
    "sparse": lambda t: t.to_sparse(),
    "complex": lambda t: t.to(torch.complex128),
    "a list": lambda t: t.tolist(),
    "nothing": lambda t: None,
}
NUMBERS = {
    "negative": lambda n: -1 - abs(n),
    "truth value": bool,
    "text": str,
    "huge": lambda n: 10**400,
    "nan": lambda n: float("nan"),
    "infinite": lambda n: float("inf"),
    "nothing": lambda n: None,
    "one more": lambda n: n + 1,
    "a tensor": torch.tensor,
}


@pytest.fixture(scope="module")
def learned():
    """A model with a tensor that nothing covers, and the state after an experience."""
    model = small_vit(depth=1)
    attach(model, LoRA(2), Adapter(2))
    model.norm.requires_grad_(True)
    pegp = PEGP(model, energy=1.0, freeze_uncovered=True)
    for c in (0, 1):
        pegp.begin({c})
        pegp.gather([images(2, seed=c)])
        pegp.extend()
    return model, pegp.state_dict()


def places(value, path=()):
    """Every place in nested dicts and lists."""
    yield path, value
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*path, key))


def changed(state, path, value):
    """The state with another value there; what lies elsewhere is shared, not copied."""
    if not path:
        return value
    twin = copy.copy(state)
    twin[path[0]] = changed(state[path[0]], path[1:], value)
    return twin


def assert_refused(model, state, *said):
    pegp = PEGP(model, freeze_uncovered=True)
    with pytest.raises(ValueError) as caught:
        pegp.load_state_dict(state)
    assert all(str(part) in str(caught.value) for part in said), caught.value
    assert pegp.memory.experiences == 0 and pegp.ranks() == {}


def assert_all_refused(learned, kind, changes):
    model, state = learned
    count = 0
    for path, value in places(state):
        if not path or isinstance(value, bool) or not isinstance(value, kind):
            continue
        if path[0] == "settings" and not path[1].startswith("blocks.0.attn.qkv"):
            continue
        for change in changes.values():
            broken = change(value)
            if repr(broken) != repr(value):
                assert_refused(model, changed(state, path, broken))
                count += 1
    assert count > 10


def test_an_undamaged_state_is_taken(learned):
    model, state = learned
    pegp = PEGP(model, freeze_uncovered=True)
    pegp.load_state_dict(copy.deepcopy(state))
    assert pegp.memory.experiences == 2
    assert checksum(pegp.state_dict()) == checksum(state)


@pytest.mark.long
def test_every_tensor_counts(learned):
    assert_all_refused(learned, Tensor, TENSORS)


@pytest.mark.long
def test_every_number_counts(learned):
    assert_all_refused(learned, int | float, NUMBERS)


def test_every_text_counts(learned):
    assert_all_refused(learned, str, {"longer": lambda t: t + "x", "number": lambda t: 1})


def test_every_key_counts(learned):
    model, state = learned
    for path, value in places(state):
        if isinstance(value, dict) and path[:1] != ("settings",):
            for key in value:
                less = {k: v for k, v in value.items() if k != key}
                assert_refused(model, changed(state, path, less))
            assert_refused(model, changed(state, path, {**value, "stray": 1}))


def squared(moment, change):
    """A moment as the matrix that it has where rows are many, changed."""
    factor = moment["factor"]
    return {"matrix": change(factor.mT @ factor), "feature_eps": moment["feature_eps"]}


SITE = "blocks.0.attn.qkv.A"
NAMED = {
    "zeroed basis": (("sites", SITE, "bases", 0), torch.zeros_like, "orthonormal"),
    "basis three times": (("sites", SITE, "bases", 0), lambda t: 3 * t, "orthonormal"),
    "basis with NaN": (("sites", SITE, "bases", 0), lambda t: t * torch.nan, "NaN"),
    "basis of another dtype": (("sites", SITE, "bases", 0), Tensor.float, "torch.float64"),
    "basis of another width": (("sites", SITE, "bases", 0), lambda t: t[1:], "shape (64, 'any')"),
    "hold above 1": (("sites", SITE, "holds", 0), lambda t: 2 * t, "between 0 and 1"),
    "hold below 0": (("sites", SITE, "holds", 0), lambda t: -t, "between 0 and 1"),
    "cross": (("sites", SITE, "cross"), lambda t: t.mT, "shape (1, 2, 64)"),
    "changed": (("sites", SITE, "changed"), lambda n: -1e9, "at least"),
    "energy": (("sites", SITE, "output_energy"), lambda n: float("nan"), "finite"),
    "site's moment": (("sites", SITE, "moment"), lambda n: 99, "whole number"),
    "skewed moment": (("moments", 0), lambda m: squared(m, Tensor.tril), "symmetric"),
    "negative moment": (("moments", 0), lambda m: squared(m, Tensor.neg), "diagonal from 0"),
    "class without a row": (("classifiers", "head", "seen", 0), lambda n: 6, "from 0 to below 6"),
    "class with a name": (("classifiers", "head", "seen", 0), lambda n: "0", "whole number"),
    "count": (("experiences",), lambda n: True, "whole number"),
    "no experience": (("experiences",), lambda n: 0, "nothing is remembered"),
    "a held tensor": (("frozen", "norm.weight"), lambda t: t * torch.nan, "NaN"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_what_is_wrong_is_named(learned, case):
    model, state = learned
    path, change, said = NAMED[case]
    value = state
    for key in path:
        value = value[key]
    assert_refused(model, changed(state, path, change(value)), "damaged", path[0], path[-1], said)


@pytest.mark.parametrize(
    "options",
    [
        {"rebase": True},
        {"protection": Protection(memory="covariance", centred=True, alpha=1.0), "energy": 0.9},
        {"project": "none"},
        {"exclude": "*.B.weight"},
    ],
)
def test_what_may_be_zero_or_nearly_so_is_no_damage(protected, options):
    model, pegp, _, _ = protected(LoRA(4), Adapter(2), **options)
    other = PEGP(model, **options)
    other.load_state_dict(pegp.state_dict())
    assert other.ranks() == pegp.ranks()


def test_a_state_before_any_experience_is_taken(protected):
    model, _, _, _ = protected()
    PEGP(model).load_state_dict(PEGP(model).state_dict())
