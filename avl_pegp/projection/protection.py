"""Which directions of old features are protected, and how firmly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from avl_pegp.projection.bases import Basis, grow
from avl_pegp.projection.moments import Moment

MemoryPolicy = Literal["union", "covariance"]


@dataclass(frozen=True)
class Protection:
    """The rule by which a site's basis grows, and the share of a step that it takes away.

    The defaults are GPM's: each experience adds the leading directions that it holds beyond the
    basis, and steps lose all of what lies along it.

    Args:
        memory: ``"union"`` (GPM, Saha et al., 2021, arXiv 2103.09762) extends the basis by each
            experience's own directions; ``"covariance"`` (Adam-NSCL, Wang et al., 2021,
            arXiv 2103.07113; VPT-NSP², Lu et al., 2024, arXiv 2406.05658) takes it anew from the
            moments of all experiences added up.
        centred: protect the mean of the features as a direction of its own, and let ``energy`` count
            what varies about it. Behind a LayerNorm the mean holds most of the energy and says least.
        power: the energy of a direction is σ to twice this power: 1 for σ² as in GPM, 2 for σ⁴ as in
            the published PEGP code.
        eta: η of NSP²: steps lose this share of what lies along the basis, in (0, 1].
        alpha: α of SGP (Saha & Roy, 2023, arXiv 2302.01386), from 0: a direction is held by its
            importance ``(α + 1) s / (α s + max s)``, s its singular value, added up over
            experiences to at most 1. ``None`` holds all directions fully.

    With ``eta`` below 1 or an ``alpha`` old outputs are kept in part only, even at ``energy=1``. The
    share is taken once: from the optimizer's step, as in NSP², or with ``project="gradient"`` from the
    gradient, as in SGP; the classifier's rows lose it with the step in both.

    Raises:
        ValueError: a field outside its range.

    Example:
        >>> Protection(centred=True).is_hard
        True
    """

    memory: MemoryPolicy = "union"
    centred: bool = False
    power: int = 1
    eta: float = 1.0
    alpha: float | None = None

    def __post_init__(self) -> None:
        if self.memory not in get_args(MemoryPolicy):
            known = ", ".join(get_args(MemoryPolicy))
            raise ValueError(f"Protection.memory={self.memory!r}: must be one of {known}")
        if self.power not in (1, 2):
            raise ValueError(f"Protection.power={self.power!r}: must be 1 (σ²) or 2 (σ⁴)")
        if not 0 < self.eta <= 1:
            raise ValueError(f"Protection.eta={self.eta!r}: must be above 0 and at most 1")
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(
                f"Protection.alpha={self.alpha!r}: must be a finite number from 0 on, or None to "
                "hold every direction fully"
            )

    @property
    def is_hard(self) -> bool:
        """Whether a step loses all of what lies along the basis."""
        return self.eta == 1 and self.alpha is None

    def extend(
        self, basis: Basis, gathered: Moment, total: Moment, group: int, energy: float
    ) -> Basis:
        """The basis of one group of a site after one more experience.

        Args:
            basis: so far, ``(d, k)``.
            gathered: moment of the new features.
            total: moment of all features, the new ones too.
            group: which of the moments' groups.
            energy: share to protect, in (0, 1].
        """
        d = len(basis.columns)
        seen = gathered
        if self.memory == "covariance":
            basis, seen = Basis.empty(d), total.to(gathered.stored.device)
        columns = basis.columns.to(seen.stored.device)
        form, varying, mean = seen.form(group, d), seen.form(group, d), None
        if self.centred:
            varying, mean = seen.form_about_mean(group, d), seen.mean(d)[group]
        columns = grow(columns, form, varying, mean, energy, seen.noise, self.power)
        sizes = form.along(columns).clamp_min(0).sqrt()
        return Basis(columns.cpu(), self._holds(basis, sizes.cpu()))

    def _holds(self, basis: Basis, sizes: Tensor) -> Tensor:
        """The share that a step loses along each column, of which features have these sizes."""
        if self.alpha is None:
            return torch.full_like(sizes, self.eta)
        largest = sizes.max() if len(sizes) else sizes.sum()
        importance = torch.nan_to_num((self.alpha + 1) * sizes / (self.alpha * sizes + largest))
        importance[: len(basis.holds)] += basis.holds / self.eta
        return self.eta * importance.clamp_max(1)
