"""What PEGP knows of the past, as plain tensors and numbers, and back.

A state is refused where it belongs to another model: what it protects would be protected there in
name only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.projection.classifier import ClassifierRows
from avl_pegp.projection.coverage import Coverage
from avl_pegp.projection.memory import SiteMemory, memory_from_state, memory_to_state
from avl_pegp.projection.moments import Moment

_FORMAT = 2
_LEAK = 1e-4  # above what float32 weights lose by rounding, far below what another model shows


@dataclass(frozen=True)
class Past:
    """Everything kept of earlier experiences.

    Attributes:
        experiences: how many there were.
        memories: what is remembered at each site.
        rows: the rule of each head of the classifier.
        frozen: tensors that are held because no condition covers them.
        trained: names of all tensors that were trained.
        backbone: fingerprint of everything else.
    """

    experiences: int = 0
    memories: dict[str, SiteMemory] = field(default_factory=dict)
    rows: dict[str, ClassifierRows] = field(default_factory=dict)
    frozen: dict[str, Tensor] = field(default_factory=dict)
    trained: tuple[str, ...] = ()
    backbone: str = ""

    @property
    def is_hard(self) -> bool:
        """Whether steps lose all of what is protected: to take it away twice is then no more."""
        rows_are = all(rows.is_hard for rows in self.rows.values())
        return rows_are and all(m.project.is_hard for m in self.memories.values())


def require_same_model(past: Past, model: nn.Module, coverage: Coverage) -> None:
    """Raise ValueError where the model is no longer the one that the past is about.

    What became trainable since has no past that could protect it; what was frozen and changed gives
    other features than those that were gathered.
    """
    if past.experiences == 0:
        return
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
    of_heads = (name for head in coverage.heads.values() for name in head.tensors)
    if fingerprint(model, {*past.trained, *of_heads}) != past.backbone:
        raise ValueError(
            "the frozen weights are not those that features were gathered with: this is another "
            "model, another dtype, or an edited backbone; begin with a fresh PEGP"
        )


def state_from_past(past: Past) -> dict[str, Any]:
    """Dicts and lists of tensors and numbers; moments that sites share are stored once."""
    moments = {id(memory.moment): memory.moment for memory in past.memories.values()}
    order = {key: i for i, key in enumerate(moments)}
    return {
        "format": _FORMAT,
        "experiences": past.experiences,
        "trained": list(past.trained),
        "backbone": past.backbone,
        "moments": [moment.to_state() for moment in moments.values()],
        "sites": {
            name: {"moment": order[id(memory.moment)], **memory_to_state(memory)}
            for name, memory in past.memories.items()
        },
        "classifiers": {name: rows.state_dict() for name, rows in past.rows.items()},
        "frozen": dict(past.frozen),
    }


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
        ValueError: another format, backbone, set of sites, shape, or other weights.
    """
    past = _read(state)
    require_same_model(past, model, coverage)
    tensors = coverage.tensors()
    for name, memory in past.memories.items():
        if check_weights and memory.leak(coverage.sites[name].read(tensors)) > _LEAK:
            raise ValueError(
                f"the weights of {name} are not those that the state was saved with: load the "
                "model's weights before the state"
            )
    return past


def _read(state: dict[str, Any]) -> Past:
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(
            f"state['format'] must be {_FORMAT}: give what state_dict() returned, by this version"
        )
    try:
        moments = [Moment.from_state(entry) for entry in state["moments"]]
        memories = {
            name: memory_from_state({**entry, "moment": moments[entry["moment"]]})
            for name, entry in state["sites"].items()
        }
        return Past(
            state["experiences"],
            memories,
            {n: ClassifierRows.from_state(rows) for n, rows in state["classifiers"].items()},
            dict(state["frozen"]),
            tuple(state["trained"]),
            state["backbone"],
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"the state is incomplete or damaged: {error!r}") from error


def fingerprint(model: nn.Module, trained: Collection[str]) -> str:
    """SHA-256 over names, shapes and bytes of the tensors that are not trained.

    Floating-point buffers count, such as running statistics; others, such as a growing head's record
    of its classes, do not, nor what a module says is added to without changing what was there, by an
    attribute ``growing`` with the names of buffers.
    """
    digest = hashlib.sha256()
    layers = model.named_modules()
    grow = {f"{path}.{name}" for path, m in layers for name in getattr(m, "growing", ())}
    parameters = ((n, p) for n, p in model.named_parameters() if n not in set(trained))
    floats = ((n, b) for n, b in model.named_buffers() if b.is_floating_point())
    buffers = ((n, b) for n, b in floats if n not in grow)
    for name, tensor in (*parameters, *buffers):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
