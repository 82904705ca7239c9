"""From the past and the features of one more experience to the next past."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from avl_pegp.fingerprint import digest_of, frozen_tensors
from avl_pegp.projection.classifier import ClassifierRows
from avl_pegp.projection.coverage import Coverage
from avl_pegp.projection.memory import SiteMemory, extended
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.protection import Protection
from avl_pegp.projection.rebasing import rebasable_modules, rebased
from avl_pegp.projection.state import Past, present_settings, require_same_model
from avl_pegp.wrappers import named_root


def grown(
    past: Past,
    model: nn.Module,
    coverage: Coverage,
    gathered: Mapping[str, Moment],
    energies: Mapping[str, float],
    protection: Protection,
    rebase: bool,
    call: dict[str, Any] | None,
) -> Past:
    """What is kept of the past after one more experience; the given one is left as it is.

    Args:
        past: so far.
        model: with the weights that the experience ends with; rebased where that is asked for.
        coverage: of the model.
        gathered: the experience's moments, by site and by head of the classifier. Bases are computed
            where these are; what is kept is on the CPU.
        energies: by site and by head.
        protection: the rule by which bases grow.
        rebase: whether LoRAs and adapters start anew.
        call: what the model was called with while gathering.

    Raises:
        ValueError: the model is another than the one that was learned from.
    """
    coverage.require_current(model)
    tensors = coverage.tensors()
    totals: dict[tuple[int, int], Moment] = {}
    memories: dict[str, SiteMemory] = {}
    for name, site in coverage.sites.items():
        memory, new = past.memories.get(name), gathered[name]
        key = (id(memory and memory.moment), id(new))
        if key not in totals:  # sites that always saw the same tensor go on sharing one moment
            there = new.to("cpu")
            totals[key] = there if memory is None else memory.moment + there
        weight, total = site.read(tensors), totals[key]
        memories[name] = extended(memory, weight, new, total, energies[name], protection)
    rows = {
        name: past.rows.get(name, ClassifierRows()).extended(
            head.read(tensors)[0], gathered[name], energies[name], protection
        )
        for name, head in coverage.heads.items()
    }
    backbone = past.backbone
    if rebase:
        require_same_model(past, model, coverage)
        modules = rebasable_modules(model, coverage.sites)
        memories = rebased(modules, memories, coverage.sites, tensors, protection, past.experiences)
        backbone = ""  # what was learned has joined what is fixed
    return Past(
        past.experiences + 1,
        memories,
        rows,
        {name: tensors[name].clone() for name in coverage.uncovered},
        _trained(past, coverage),
        backbone or backbone_of(model, past, coverage),
        present_settings(model, coverage),
        past.call or call,
        named_root(model),
    )


def backbone_of(model: nn.Module, past: Past, coverage: Coverage) -> str:
    """The digest of all that is trained neither now nor was before."""
    return digest_of(frozen_tensors(model, _trained(past, coverage)))


def _trained(past: Past, coverage: Coverage) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*past.trained, *coverage.trained)))  # heads may have been added
