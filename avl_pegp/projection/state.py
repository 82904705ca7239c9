"""What PEGP knows of the past, as plain tensors and numbers, and back.

A state is refused where it belongs to another model: what it protects would be protected there in
name only. It is refused, by name, where it is damaged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from avl_pegp.fingerprint import changed_settings, digest_of, frozen_tensors, settings_of
from avl_pegp.projection import checks
from avl_pegp.projection.classifier import ClassifierRows
from avl_pegp.projection.coverage import Coverage
from avl_pegp.projection.memory import (
    MEMORY_KEYS,
    SiteMemory,
    memory_from_state,
    memory_to_state,
)
from avl_pegp.projection.probe import Probe
from avl_pegp.wrappers import named_root

T = TypeVar("T")
_FORMAT = 3
_LEAK = 1e-4  # above what float32 weights lose by rounding, far below what another model shows
_KEYS = (
    *("format", "checksum", "experiences", "trained", "backbone", "settings", "probe"),
    *("moments", "sites", "classifiers", "frozen"),
)


@dataclass(frozen=True)
class Past:
    """Everything kept of earlier experiences.

    Attributes:
        experiences: how many there were.
        memories: what is remembered at each site.
        rows: the rule of each head of the classifier.
        frozen: tensors that are held because no condition covers them.
        trained: names of all tensors that were trained.
        backbone: digest of everything else.
        settings: how the modules were set up, but for the classifier.
        call: what the model was called with, to ask it again; ``None`` where that can't be described.
        model: the object that was learned from, without wrappers. No part of a state.
    """

    experiences: int = 0
    memories: dict[str, SiteMemory] = field(default_factory=dict)
    rows: dict[str, ClassifierRows] = field(default_factory=dict)
    frozen: dict[str, Tensor] = field(default_factory=dict)
    trained: tuple[str, ...] = ()
    backbone: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    call: dict[str, Any] | None = None
    model: nn.Module | None = None

    @property
    def is_hard(self) -> bool:
        """Whether steps lose all of what is protected: to take it away twice is then no more."""
        rows_are = all(rows.is_hard for rows in self.rows.values())
        return rows_are and all(m.project.is_hard for m in self.memories.values())


def require_same_model(past: Past, model: nn.Module, coverage: Coverage) -> None:
    """Raise ValueError where the model is no longer the one that the past is about.

    What became trainable since has no past that could protect it; what was frozen and changed, or is
    set up in another way, gives other features than those that were gathered.
    """
    if past.experiences == 0:
        return
    _require_same_tensors(past, coverage)
    of_heads = (name for head in coverage.heads.values() for name in head.tensors)
    if digest_of(frozen_tensors(model, {*past.trained, *of_heads})) != past.backbone:
        raise ValueError(
            "the frozen weights are not those that features were gathered with: this is another "
            "model, another dtype, or an edited backbone (peft's merging edits it, and leaves rounding "
            "when it is undone: do that to a copy); begin with a fresh PEGP"
        )
    changed = changed_settings(past.settings, present_settings(model, coverage))
    if changed:
        raise ValueError(
            f"the model is set up otherwise than when features were gathered: {'; '.join(changed[:4])}"
            ". Build it as it was, or begin with a fresh PEGP (numbers that count as a module runs "
            "belong in its private attributes)"
        )
    if past.model is not None and past.model is not named_root(model):
        raise ValueError(
            "this PEGP has learned from another model object, and would hold this one to what that "
            "was: begin with a fresh PEGP (PEGPPlugin) for another run; for a model that was saved and "
            "built again, give load_state_dict() what state_dict() returned"
        )


def _require_same_tensors(past: Past, coverage: Coverage) -> None:
    gone = sorted(past.memories.keys() - coverage.sites.keys())
    gone += sorted(past.rows.keys() - coverage.heads.keys())
    new = sorted(coverage.sites.keys() - past.memories.keys())
    new += sorted(set(coverage.uncovered) - past.frozen.keys())
    if not past.rows:  # beside heads of earlier tasks there may be new ones
        new += sorted(coverage.heads)
    if gone or new:
        raise ValueError(
            "what the model trains has changed since the first experience: no longer "
            f"{', '.join(gone) or 'nothing'}, newly {', '.join(new) or 'nothing'}. Nothing protects "
            "that; decide on it before the first experience, or begin with a fresh PEGP"
        )
    tensors = coverage.tensors()
    for name, site in coverage.sites.items():
        now, then = site.read(tensors).shape, past.memories[name].reference.shape
        if now != then:
            raise ValueError(
                f"{name} has shape {tuple(now)}, bias included, and had {tuple(then)} when its "
                "features were gathered: this is another model; begin with a fresh PEGP"
            )
    for name, rows in past.rows.items():
        if rows.reference is None:
            continue
        now, then = coverage.heads[name].read(tensors).shape[1:], rows.reference.shape
        if now[0] < then[0] or now[1] != then[1]:
            raise ValueError(
                f"the classifier {name} has shape {tuple(now)}, bias included, and had "
                f"{tuple(then)}: it may gain rows, but not lose any"
            )


def present_settings(model: nn.Module, coverage: Coverage) -> dict[str, str]:
    """How the model's modules are set up, but for the classifier, which may grow."""
    return settings_of(model, tuple(coverage.heads))


def _present_probe(past: Past, model: nn.Module, coverage: Coverage) -> Probe | None:
    """What the model answers now on a made input; see ``Probe.of``."""
    heads = [head.module for head in coverage.heads.values()]
    rows = [head.read(coverage.tensors()).shape[1] for head in coverage.heads.values()]
    return Probe.of(model, past.call, past.trained, heads, rows[0] if len(rows) == 1 else 0)


def _require_same_answers(past: Past, then: Probe, model: nn.Module, coverage: Coverage) -> None:
    """Raise ValueError where the model computes something else, though weights and settings agree."""
    now = _present_probe(past, model, coverage)
    seen: set[int] = set().union(*(rows.seen for rows in past.rows.values()))
    if not then.differs(now, seen) <= 1:
        raise ValueError(
            "the model answers a made input otherwise than when features were gathered, with the same "
            "frozen weights: it computes something else now (an activation, a scale, a forward pass "
            "was changed); build it as it was, or begin with a fresh PEGP"
        )


def state_from_past(past: Past, coverage: Coverage) -> dict[str, Any]:
    """Dicts and lists of tensors and numbers; moments that sites share are stored once.

    Args:
        past: what is known. Its model is asked what it answers on a made input.
        coverage: of that model.
    """
    moments = {id(memory.moment): memory.moment for memory in past.memories.values()}
    order = {key: i for i, key in enumerate(moments)}
    probe = None if past.model is None else _present_probe(past, past.model, coverage)
    state = {
        "format": _FORMAT,
        "experiences": past.experiences,
        "trained": list(past.trained),
        "backbone": past.backbone,
        "settings": dict(past.settings),
        "probe": probe and {"call": probe.call, "rows": probe.rows, "outputs": list(probe.outputs)},
        "moments": [moment.to_state() for moment in moments.values()],
        "sites": {
            name: {"moment": order[id(memory.moment)], **memory_to_state(memory)}
            for name, memory in past.memories.items()
        },
        "classifiers": {name: rows.state_dict() for name, rows in past.rows.items()},
        "frozen": dict(past.frozen),
    }
    return {**state, "checksum": checks.checksum(state)}


@torch.no_grad()
def past_from_state(
    state: dict[str, Any], model: nn.Module, coverage: Coverage, check_weights: bool
) -> Past:
    """The past that a state describes, after checking all of it against the model.

    Args:
        state: as ``state_from_past`` made it.
        model: with its weights loaded.
        coverage: of that model.
        check_weights: whether weights must not have moved along protected directions.

    Raises:
        ValueError: another format, a damaged value, another backbone, set-up, function, set of sites,
            shape, or other weights.
    """
    past, probe = _read(state)
    past = replace(past, model=named_root(model))
    require_same_model(past, model, coverage)
    if probe is not None:
        _require_same_answers(past, probe, model, coverage)
    tensors = coverage.tensors()
    for name, memory in past.memories.items():
        if check_weights and memory.leak(coverage.sites[name].read(tensors)) > _LEAK:
            raise ValueError(
                f"the weights of {name} are not those that the state was saved with: load the "
                "model's weights before the state"
            )
    return past


def _read(state: Any) -> tuple[Past, Probe | None]:
    """The past, and what the model answered on a made input."""
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(
            f"state['format'] must be {_FORMAT}: give what state_dict() returned, by this version"
        )
    state = checks.entries(state, "state", *_KEYS)
    moments = [
        checks.moment_from_state(entry, f"state['moments'][{i}]")
        for i, entry in enumerate(checks.items(state["moments"], "state['moments']"))
    ]
    memories = {}
    for name, entry in checks.entries(state["sites"], "state['sites']").items():
        path = f"state['sites'][{name!r}]"
        entry = checks.entries(entry, path, "moment", *MEMORY_KEYS)
        number = checks.count(entry["moment"], f"{path}['moment']", below=len(moments))
        memories[name] = memory_from_state({**entry, "moment": moments[number]}, path)
    probe = _probe_from_state(state["probe"])
    past = Past(
        checks.count(state["experiences"], "state['experiences']"),
        memories,
        {
            name: ClassifierRows.from_state(entry, f"state['classifiers'][{name!r}]")
            for name, entry in checks.entries(state["classifiers"], "state['classifiers']").items()
        },
        _named(state, "frozen", partial(checks.finite, exact=False)),
        tuple(
            checks.text(name, f"state['trained'][{i}]")
            for i, name in enumerate(checks.items(state["trained"], "state['trained']"))
        ),
        checks.text(state["backbone"], "state['backbone']"),
        _named(state, "settings", checks.text),
        None if probe is None else probe.call,
    )
    if bool(past.experiences) != bool(memories or past.rows):
        raise checks.damaged(
            "state['experiences']", past.experiences, "0 exactly where nothing is remembered"
        )
    if checks.checksum({k: v for k, v in state.items() if k != "checksum"}) != state["checksum"]:
        raise checks.damaged("state['checksum']", state["checksum"], "that of all other entries")
    return past, probe


def _named(state: dict[str, Any], key: str, read: Callable[[Any, str], T]) -> dict[str, T]:
    """The values of a dict in the state, each as ``read`` takes it."""
    found = checks.entries(state[key], f"state[{key!r}]").items()
    return {name: read(value, f"state[{key!r}][{name!r}]") for name, value in found}


def _probe_from_state(state: Any) -> Probe | None:
    if state is None:
        return None
    state = checks.entries(state, "state['probe']", "call", "rows", "outputs")
    call = checks.entries(state["call"], "state['probe']['call']", "args", "kwargs")
    outputs = checks.items(state["outputs"], "state['probe']['outputs']")
    names = [f"state['probe']['outputs'][{i}]" for i in range(len(outputs))]
    rows = checks.count(state["rows"], "state['probe']['rows']")
    return Probe(call, rows, tuple(map(checks.floating, outputs, names)))
