"""What is remembered at one site: bases to project with, and a meter of the drift so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from avl_pegp.projection import checks
from avl_pegp.projection.bases import Basis, Cast, Projector
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.protection import Protection

MEMORY_KEYS = ("reference", "bases", "holds", "cross", "changed", "output_energy")


@dataclass(frozen=True)
class SiteMemory:
    """The past of a site whose weight, seen as ``(G, out, d)``, was last ``reference``.

    It is kept on the CPU; projecting uses copies where the weight is.

    The meter needs no old data. With C the sum of all experiences' moments C_t, W_t the weight when
    experience t was gathered and R the reference, ``cross = Σ (R − W_t) C_t`` and
    ``changed = Σ tr((R − W_t) C_t (R − W_t)ᵀ)`` give the squared change of the site's own map on all
    old features, each since it was learned:
    ``Σ ‖(W − W_t) x‖² = changed + 2 tr((W − R) crossᵀ) + tr((W − R) C (W − R)ᵀ)``.

    Attributes:
        reference: W when the basis was last extended, float64.
        moment: second moment of all old features.
        bases: U ``(d, k)`` of each group.
        cross: ``(G, out, d)``; ``changed``: a number; both about the reference.
        output_energy: ``Σ tr(W_t C_t W_tᵀ)``, what the drift is relative to.
        project: what takes a step's part along the bases away.
        size: the norm of the reference.
    """

    reference: Tensor
    moment: Moment
    bases: tuple[Basis, ...]
    cross: Tensor
    changed: float
    output_energy: float
    project: Projector = field(init=False, repr=False, compare=False)
    size: float = field(init=False, repr=False, compare=False)
    _reference: Cast = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "project", Projector(self.bases))
        object.__setattr__(self, "size", float(self.reference.norm()))
        object.__setattr__(self, "_reference", Cast(self.reference))

    @property
    def rank(self) -> int:
        """Protected directions, over all groups."""
        return sum(basis.rank for basis in self.bases)

    @property
    def dimension(self) -> int:
        """All directions, over all groups."""
        return sum(len(basis.columns) for basis in self.bases)

    def drift(self, weight: Tensor) -> float:
        """Squared change of the map on old features, relative to its energy; NaN where that is 0."""
        if self.output_energy == 0:
            return float("nan")
        return self.changed_after(self._step(weight)) / self.output_energy

    def _step(self, weight: Tensor) -> Tensor:
        return weight.to("cpu", torch.float64) - self.reference

    def changed_after(self, step: Tensor) -> float:
        """Squared change of the map on old features, this far from the reference."""
        crossed = 2 * float((step * self.cross).sum())
        changed = self.changed + crossed + self.moment.energy(step)
        return 0.0 if changed < 0 else changed  # rounding; NaN stays

    def reference_like(self, weight: Tensor) -> Tensor:
        """The reference in the dtype and on the device of a weight; not to be changed in place."""
        return self._reference.like(weight)

    def restarted(self, weight: Tensor) -> SiteMemory:
        """The memory of the same directions for a weight that begins anew, zero on old features."""
        W = weight.to("cpu", torch.float64, copy=True)
        return replace(self, reference=W, cross=torch.zeros_like(W), changed=0.0, output_energy=0.0)

    def leak(self, weight: Tensor) -> float:
        """‖(W − R) U‖ relative to ‖R‖: 0 where nothing moved along protected directions."""
        step = self._step(weight)
        along = step - self.project(step)
        return float(
            along.norm() / self.reference.norm().clamp_min(torch.finfo(torch.float32).tiny)
        )


def extended(
    memory: SiteMemory | None,
    weight: Tensor,
    gathered: Moment,
    total: Moment,
    energy: float,
    protection: Protection,
) -> SiteMemory:
    """The memory after one more experience; the old one is left as it is.

    Args:
        memory: of earlier experiences, ``None`` at the first.
        weight: ``(G, out, d)``, the weight that this experience ends with.
        gathered: moment of this experience's features, where bases are to be computed.
        total: moment of all experiences, this one too, on the CPU.
        energy: share of the new features' energy to protect.
        protection: the rule by which bases grow.
    """
    W = weight.to("cpu", torch.float64, copy=True)  # or it might stay the live one
    d = W.shape[-1]
    old_bases = (Basis.empty(d),) * len(W) if memory is None else memory.bases
    bases = tuple(
        protection.extend(basis, gathered, total, group, energy)
        for group, basis in enumerate(old_bases)
    )
    new_energy = gathered.to("cpu").energy(W)
    if memory is None:
        return SiteMemory(W, total, bases, torch.zeros_like(W), 0.0, new_energy)
    step = W - memory.reference
    cross = memory.cross + memory.moment.times(step)
    changed = memory.changed_after(step)
    return SiteMemory(W, total, bases, cross, changed, memory.output_energy + new_energy)


def memory_to_state(memory: SiteMemory) -> dict[str, Any]:
    """Tensors and numbers of a memory, without the moment, which sites share."""
    return {
        "reference": memory.reference,
        "bases": [basis.columns for basis in memory.bases],
        "holds": [basis.holds for basis in memory.bases],
        "cross": memory.cross,
        "changed": memory.changed,
        "output_energy": memory.output_energy,
    }


def memory_from_state(state: dict[str, Any], name: str) -> SiteMemory:
    """The memory that ``memory_to_state`` described, with its moment beside it.

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
