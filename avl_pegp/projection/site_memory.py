"""What is remembered at one site: its reference weight, bases, features' moment and drift so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from avl_pegp.projection.bases import Basis, Cast, Projector
from avl_pegp.projection.moments import Moment


@dataclass(frozen=True)
class SiteMemory:
    """What is remembered at a site whose weight, seen as ``(G, out, d)``, was last ``reference``.

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

    @classmethod
    def first(
        cls, weight: Tensor, gathered: Moment, total: Moment, bases: tuple[Basis, ...]
    ) -> SiteMemory:
        """The memory of a first experience; see ``after``."""
        W = weight.to("cpu", torch.float64, copy=True)  # or it might stay the live one
        return cls(W, total, bases, torch.zeros_like(W), 0.0, gathered.to("cpu").energy(W))

    def after(
        self, weight: Tensor, gathered: Moment, total: Moment, bases: tuple[Basis, ...]
    ) -> SiteMemory:
        """The memory after one more experience; this one is left as it is.

        Args:
            weight: ``(G, out, d)``, the weight that the experience ends with.
            gathered: moment of the experience's features.
            total: moment of all experiences, this one too, on the CPU.
            bases: extended by the experience.
        """
        new = SiteMemory.first(weight, gathered, total, bases)
        step = new.reference - self.reference
        return replace(
            new,
            cross=self.cross + self.moment.times(step),
            changed=self.changed_after(step),
            output_energy=self.output_energy + new.output_energy,
        )

    def reference_like(self, weight: Tensor) -> Tensor:
        """The reference in the dtype and on the device of a weight; not to be changed in place."""
        return self._reference.like(weight)

    def restarted(self, weight: Tensor) -> SiteMemory:
        """The memory of the same directions for a weight that begins anew, zero on old features."""
        W = weight.to("cpu", torch.float64, copy=True)
        return replace(self, reference=W, cross=torch.zeros_like(W), changed=0.0, output_energy=0.0)

    def free_part(self, matrix: Tensor) -> Tensor:
        """The part of a matrix ``(out, d)`` that is zero on protected directions, of a single group."""
        return self.project(matrix[None])[0]

    def moved_along(self, weight: Tensor) -> float:
        """‖(W − R) U‖ relative to ‖R‖: 0 where nothing moved along protected directions."""
        step = self._step(weight)
        along = step - self.project(step)
        return float(
            along.norm() / self.reference.norm().clamp_min(torch.finfo(torch.float32).tiny)
        )
