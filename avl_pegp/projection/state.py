"""What PEGP knows of the past, as plain tensors and numbers, and back.

A state is refused where it belongs to another model: what it protects would be protected there in
name only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.projection.classifier import ClassifierRows
from avl_pegp.projection.coverage import Coverage
from avl_pegp.projection.memory import SiteMemory, memory_from_state, memory_to_state
from avl_pegp.projection.moments import Moment

_FORMAT = 1
_LEAK = 1e-4  # above what float32 weights lose by rounding, far below what another model shows


@dataclass(frozen=True)
class Past:
    """Everything kept of earlier experiences: how many, each site's memory, the classifier's rows,
    and the tensors that are held because no condition covers them."""

    experiences: int = 0
    memories: dict[str, SiteMemory] = field(default_factory=dict)
    rows: ClassifierRows = field(default_factory=ClassifierRows)
    frozen: dict[str, Tensor] = field(default_factory=dict)


def state_from_past(past: Past, model: nn.Module) -> dict[str, Any]:
    """Dicts and lists of tensors and numbers; moments that sites share are stored once."""
    moments = {id(memory.moment): memory.moment for memory in past.memories.values()}
    order = {key: i for i, key in enumerate(moments)}
    return {
        "format": _FORMAT,
        "experiences": past.experiences,
        "backbone": fingerprint(model),
        "moments": [{"matrix": m.matrix, "feature_eps": m.feature_eps} for m in moments.values()],
        "sites": {
            name: {"moment": order[id(memory.moment)], **memory_to_state(memory)}
            for name, memory in past.memories.items()
        },
        "classifier": past.rows.state_dict(),
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
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(
            f"state['format'] must be {_FORMAT}: give what state_dict() returned, by this version"
        )
    strange = sorted(state["sites"].keys() - coverage.sites.keys())
    if strange:
        raise ValueError(
            f"the state has bases for {', '.join(strange)}, which this model does not train; it "
            f"trains {', '.join(coverage.sites)}"
        )
    if state["backbone"] != fingerprint(model):
        raise ValueError(
            "the state belongs to another model: the frozen weights differ from those it was made "
            "with; load it into the same backbone, in the same dtype"
        )
    moments = [Moment(m["matrix"], m["feature_eps"]) for m in state["moments"]]
    memories, tensors = {}, coverage.tensors()
    for name, entry in state["sites"].items():
        memory = memory_from_state({**entry, "moment": moments[entry["moment"]]})
        weight = coverage.sites[name].read(tensors)
        if weight.shape != memory.reference.shape:
            raise ValueError(
                f"{name} has shape {tuple(weight.shape)} in the model and "
                f"{tuple(memory.reference.shape)} in the state: the state belongs to another model"
            )
        if check_weights and memory.leak(weight) > _LEAK:
            raise ValueError(
                f"the weights of {name} are not those that the state was saved with: load the "
                "model's weights before the state"
            )
        memories[name] = memory
    rows = ClassifierRows(state["classifier"])
    return Past(state["experiences"], memories, rows, dict(state["frozen"]))


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the names, shapes and bytes of the frozen tensors."""
    digest = hashlib.sha256()
    for name, p in model.named_parameters():
        if not p.requires_grad:
            digest.update(f"{name}{tuple(p.shape)}{p.dtype}".encode())
            digest.update(p.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
