"""A memory as plain tensors and numbers, and back.

A state is refused where it belongs to another model: what it protects would be protected there in
name only. It is refused, by name, where it is damaged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from avl_pegp.projection import checks
from avl_pegp.projection.classifier_rows import RowMemory
from avl_pegp.projection.coverage import Coverage
from avl_pegp.projection.memory import Memory
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.probe import Probe
from avl_pegp.projection.same_model import (
    present_probe,
    require_same_answers,
    require_same_model,
)
from avl_pegp.projection.site_memory import SiteMemory
from avl_pegp.wrappers import named_root

T = TypeVar("T")
_FORMAT, _READ = 4, (3, 4)  # 3 also told what the experience taught in which it was saved
_MOVED = 1e-4  # above what float32 weights lose by rounding, far below what another model shows
_KEYS = (
    *("format", "checksum", "experiences", "trained", "backbone", "settings", "probe"),
    *("moments", "sites", "classifiers", "frozen"),
)
_SITE_KEYS = ("reference", "bases", "holds", "cross", "changed", "output_energy")


def memory_to_state(memory: Memory, coverage: Coverage) -> dict[str, Any]:
    """Dicts and lists of tensors and numbers; moments that sites share are stored once.

    Args:
        memory: its model is asked what it answers on a made input.
        coverage: of that model.
    """
    moments = {id(site.moment): site.moment for site in memory.sites.values()}
    order = {key: i for i, key in enumerate(moments)}
    probe = None if memory.model is None else present_probe(memory, memory.model, coverage)
    state = {
        "format": _FORMAT,
        "experiences": memory.experiences,
        "trained": list(memory.trained),
        "backbone": memory.backbone,
        "settings": dict(memory.settings),
        "probe": probe and {"call": probe.call, "rows": probe.rows, "outputs": list(probe.outputs)},
        "moments": [moment.to_state() for moment in moments.values()],
        "sites": {
            name: {"moment": order[id(site.moment)], **_site_to_state(site)}
            for name, site in memory.sites.items()
        },
        "classifiers": {name: _rows_to_state(rows) for name, rows in memory.heads.items()},
        "frozen": dict(memory.frozen),
    }
    return {**state, "checksum": checks.checksum(state)}


@torch.no_grad()
def memory_from_state(
    state: dict[str, Any], model: nn.Module, coverage: Coverage, check_weights: bool
) -> Memory:
    """The memory that a state describes, after checking all of it against the model.

    Args:
        state: as ``memory_to_state`` made it.
        model: with its weights loaded.
        coverage: of that model.
        check_weights: whether weights must not have moved along protected directions.

    Raises:
        ValueError: another format, a damaged value, another backbone, set-up, function, set of sites,
            shape, or other weights.
    """
    memory, probe = _read(state)
    memory = replace(memory, model=named_root(model))
    require_same_model(memory, model, coverage)
    if probe is not None:
        require_same_answers(memory, probe, model, coverage)
    tensors = coverage.tensors()
    for name, site in memory.sites.items():
        if check_weights and site.moved_along(coverage.sites[name].read(tensors)) > _MOVED:
            raise ValueError(
                f"the weights of {name} are not those that the state was saved with: load the "
                "model's weights before the state"
            )
    return memory


def _read(state: Any) -> tuple[Memory, Probe | None]:
    """The memory, and what the model answered on a made input."""
    if not isinstance(state, dict) or state.get("format") not in _READ:
        raise ValueError(
            f"state['format'] must be {' or '.join(map(str, _READ))}: give what state_dict() returned, "
            "by this version or the one before"
        )
    state = checks.entries(state, "state", *_KEYS)
    moments = [
        checks.moment_from_state(entry, f"state['moments'][{i}]")
        for i, entry in enumerate(checks.items(state["moments"], "state['moments']"))
    ]
    sites = {}
    for name, entry in checks.entries(state["sites"], "state['sites']").items():
        path = f"state['sites'][{name!r}]"
        entry = checks.entries(entry, path, "moment", *_SITE_KEYS)
        number = checks.count(entry["moment"], f"{path}['moment']", below=len(moments))
        sites[name] = _site_from_state({**entry, "moment": moments[number]}, path)
    probe = _probe_from_state(state["probe"])
    memory = Memory(
        checks.count(state["experiences"], "state['experiences']"),
        sites,
        {
            name: _rows_from_state(entry, f"state['classifiers'][{name!r}]", state["format"])
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
    if bool(memory.experiences) != bool(memory.sites or memory.heads):
        raise checks.damaged(
            "state['experiences']", memory.experiences, "0 exactly where nothing is remembered"
        )
    if checks.checksum({k: v for k, v in state.items() if k != "checksum"}) != state["checksum"]:
        raise checks.damaged("state['checksum']", state["checksum"], "that of all other entries")
    return memory, probe


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


def _site_to_state(memory: SiteMemory) -> dict[str, Any]:
    """Tensors and numbers of a memory, without the moment, which sites share."""
    return {
        "reference": memory.reference,
        "bases": [basis.columns for basis in memory.bases],
        "holds": [basis.holds for basis in memory.bases],
        "cross": memory.cross,
        "changed": memory.changed,
        "output_energy": memory.output_energy,
    }


def _site_from_state(state: dict[str, Any], name: str) -> SiteMemory:
    """The memory that ``_site_to_state`` described, with its moment beside it.

    Raises:
        ValueError: a value that can't be, named as a part of ``name``.
    """
    moment: Moment = state["moment"]
    W = checks.finite(state["reference"], f"{name}['reference']", None, None, None)
    groups, out, d = W.shape
    if groups != len(moment.of_width(1)) or moment.of_width(d).shape[-1] != d:
        raise checks.damaged(f"{name}['reference']", W, "of its moment's groups and width")
    columns = checks.items(state["bases"], f"{name}['bases']")
    holds = checks.items(state["holds"], f"{name}['holds']")
    if not len(columns) == len(holds) == groups:
        raise checks.damaged(
            f"{name}['bases']", len(columns), f"{groups} bases, each with its holds"
        )
    parts = enumerate(zip(columns, holds, strict=True))
    bases = tuple(checks.basis(U, h, f"{name}['bases'][{g}]", d) for g, (U, h) in parts)
    cross = checks.finite(state["cross"], f"{name}['cross']", groups, out, d)
    size = float(W.square().sum()) * float(moment.of_width(d).diagonal(dim1=1, dim2=2).sum())
    low = -1e-6 * size  # what rounding may leave of zero
    changed = checks.number(state["changed"], f"{name}['changed']", low)
    energy = checks.number(state["output_energy"], f"{name}['output_energy']", low)
    return SiteMemory(W, moment, bases, cross, changed, energy)


def _rows_to_state(rows: RowMemory) -> dict[str, Any]:
    """Tensors, numbers and lists of a head's memory."""
    return {
        "seen": sorted(rows.seen),
        "reference": rows.reference,
        "basis": rows.basis and asdict(rows.basis),
        "moment": rows.moment and rows.moment.to_state(),
    }


def _rows_from_state(state: Any, name: str, version: int) -> RowMemory:
    """The memory that ``_rows_to_state`` described.

    Raises:
        ValueError: a value that can't be, named as a part of ``name``.
    """
    of_experience = ("present",) if version == 3 else ()  # what was taught when it was saved
    state = checks.entries(state, name, "seen", *of_experience, "reference", "basis", "moment")
    reference, basis, moment = state["reference"], state["basis"], state["moment"]
    if reference is not None:
        reference = checks.finite(reference, f"{name}['reference']", None, None, exact=False)
    rows, d = (0, 0) if reference is None else reference.shape
    for key in of_experience:
        _classes(state, name, key, rows)
    if (basis is None) != (moment is None) or (reference is None and basis is not None):
        raise checks.damaged(f"{name}['basis']", basis, "there exactly where its moment is")
    if basis is not None:
        basis = checks.entries(basis, f"{name}['basis']", "columns", "holds")
        basis = checks.basis(basis["columns"], basis["holds"], f"{name}['basis']", d)
        moment = checks.moment_from_state(moment, f"{name}['moment']")
        if len(moment.of_width(1)) != 1 or moment.of_width(d).shape[-1] != d:
            raise checks.damaged(f"{name}['moment']", moment.of_width(d), f"of width {d}")
    return RowMemory(_classes(state, name, "seen", rows), reference, basis, moment)


def _classes(state: Any, name: str, key: str, rows: int) -> frozenset[int]:
    found = checks.items(state[key], f"{name}[{key!r}]")
    return frozenset(checks.count(c, f"{name}[{key!r}]", rows) for c in found)
