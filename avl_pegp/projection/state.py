"""PEGP's memory as plain tensors and numbers, and back, refused where the model is another."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from avl_pegp.projection.classifier import ClassifierRows
from avl_pegp.projection.memory import memory_from_state, memory_to_state
from avl_pegp.projection.moments import Moment

if TYPE_CHECKING:
    from avl_pegp.projection.pegp import PEGP

_FORMAT = 1
_LEAK = 1e-4  # above what float32 weights lose by rounding, far below what another model shows


def state_of(pegp: PEGP) -> dict[str, Any]:
    """Bases, moments, references and meters of every site, by name; shared moments once."""
    moments = {id(memory.moment): memory.moment for memory in pegp.memories.values()}
    order = {key: i for i, key in enumerate(moments)}
    return {
        "format": _FORMAT,
        "experience": pegp.experience,
        "backbone": fingerprint(pegp.model),
        "moments": [{"matrix": m.matrix, "feature_eps": m.feature_eps} for m in moments.values()],
        "sites": {
            name: {"moment": order[id(memory.moment)], **memory_to_state(memory)}
            for name, memory in pegp.memories.items()
        },
        "classifier": pegp.rows.state_dict(),
        "frozen": dict(pegp.frozen),
    }


@torch.no_grad()
def restore(pegp: PEGP, state: dict[str, Any]) -> None:
    """Put a state into ``pegp`` after checking all of it against the model."""
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(
            f"state['format'] must be {_FORMAT}: give what state_dict() returned, by this version"
        )
    strange = sorted(state["sites"].keys() - pegp._sites.keys())
    if strange:
        raise ValueError(
            f"the state has bases for {', '.join(strange)}, which this model does not train; it "
            f"trains {', '.join(pegp._sites)}"
        )
    if state["backbone"] != fingerprint(pegp.model):
        raise ValueError(
            "the state belongs to another model: the frozen weights differ from those it was made "
            "with; load it into the same backbone, in the same dtype"
        )
    moments = [Moment(m["matrix"], m["feature_eps"]) for m in state["moments"]]
    memories = {}
    for name, entry in state["sites"].items():
        entry = dict(entry)
        memory = memory_from_state({**entry, "moment": moments[entry.pop("moment")]})
        weight = pegp._sites[name].read(pegp._tensors())
        if weight.shape != memory.reference.shape:
            raise ValueError(
                f"{name} has shape {tuple(weight.shape)} in the model and "
                f"{tuple(memory.reference.shape)} in the state: the state belongs to another model"
            )
        if pegp.project == "step" and memory.leak(weight) > _LEAK:
            raise ValueError(
                f"the weights of {name} are not those that the state was saved with: load the "
                "model's weights before the state"
            )
        memories[name] = memory
    pegp.memories, pegp.rows = memories, ClassifierRows(state["classifier"])
    pegp.frozen, pegp.experience = dict(state["frozen"]), state["experience"]


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the names, shapes and bytes of the frozen tensors."""
    digest = hashlib.sha256()
    for name, p in model.named_parameters():
        if not p.requires_grad:
            digest.update(f"{name}{tuple(p.shape)}{p.dtype}".encode())
            digest.update(p.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
