"""What is remembered at one site: bases to project with, and a meter of the drift so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from avl_pegp.projection.bases import Cast, Projector, extend_basis
from avl_pegp.projection.moments import Moment


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
        bases: U of each group ``(d, k)``, float64.
        cross: ``(G, out, d)``; ``changed``: a number; both about the reference.
        output_energy: ``Σ tr(W_t C_t W_tᵀ)``, what the drift is relative to.
    """

    reference: Tensor
    moment: Moment
    bases: tuple[Tensor, ...]
    cross: Tensor
    changed: float
    output_energy: float
    project: Projector = field(init=False, repr=False, compare=False)
    _reference: Cast = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "project", Projector(self.bases))
        object.__setattr__(self, "_reference", Cast(self.reference))

    @property
    def rank(self) -> int:
        """Protected directions, over all groups."""
        return sum(basis.shape[1] for basis in self.bases)

    @property
    def dimension(self) -> int:
        """All directions, over all groups."""
        return sum(len(basis) for basis in self.bases)

    def drift(self, weight: Tensor) -> float:
        """Squared change of the map on old features, relative to its energy; NaN where that is 0."""
        if self.output_energy == 0:
            return float("nan")
        return self._changed_after(self._step(weight)) / self.output_energy

    def _step(self, weight: Tensor) -> Tensor:
        return weight.to("cpu", torch.float64) - self.reference

    def _changed_after(self, step: Tensor) -> float:
        C = self.moment.of_width(step.shape[-1])
        return self.changed + _inner(step, 2 * self.cross + step @ C)

    def kept(self, weight: Tensor) -> Tensor:
        """``reference + P (weight − reference)``: the weight with no change on protected directions."""
        reference = self._reference.like(weight)
        return reference + self.project(weight - reference)

    def leak(self, weight: Tensor) -> float:
        """‖(W − R) U‖ relative to ‖R‖: 0 where nothing moved along protected directions."""
        step = self._step(weight)
        along = step - self.project(step)
        return float(
            along.norm() / self.reference.norm().clamp_min(torch.finfo(torch.float32).tiny)
        )


def extended(
    memory: SiteMemory | None, weight: Tensor, gathered: Moment, total: Moment, energy: float
) -> SiteMemory:
    """The memory after one more experience; the old one is left as it is.

    Args:
        memory: of earlier experiences, ``None`` at the first.
        weight: ``(G, out, d)``, the weight that this experience ends with.
        gathered: moment of this experience's features.
        total: moment of all experiences, this one too.
        energy: share of the new features' energy to protect.
    """
    W = weight.to("cpu", torch.float64, copy=True)  # or it might stay the live one
    d = W.shape[-1]
    C = gathered.of_width(d)
    old_bases = [W.new_zeros(d, 0)] * len(C) if memory is None else memory.bases
    bases = tuple(
        extend_basis(basis, group, energy, gathered.feature_eps)
        for basis, group in zip(old_bases, C, strict=True)
    )
    new_energy = _inner(W, W @ C)
    if memory is None:
        return SiteMemory(W, total, bases, torch.zeros_like(W), 0.0, new_energy)
    step = W - memory.reference
    cross = memory.cross + step @ memory.moment.of_width(d)
    changed = memory._changed_after(step)
    return SiteMemory(W, total, bases, cross, changed, memory.output_energy + new_energy)


def _inner(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())


def memory_to_state(memory: SiteMemory) -> dict[str, Any]:
    """Tensors and numbers of a memory, without the moment, which sites share."""
    return {
        "reference": memory.reference,
        "bases": list(memory.bases),
        "cross": memory.cross,
        "changed": memory.changed,
        "output_energy": memory.output_energy,
    }


def memory_from_state(state: dict[str, Any]) -> SiteMemory:
    """The memory that ``memory_to_state`` described, with its moment beside it."""
    tensors = {name: state[name].cpu() for name in ("reference", "cross")}
    return SiteMemory(**{**state, **tensors, "bases": tuple(U.cpu() for U in state["bases"])})
