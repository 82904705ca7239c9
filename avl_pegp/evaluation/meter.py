"""The drift of a linear map on old features, from second moments alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Meter:
    """What a map's drift on old features needs, and no feature.

    With C_t the second moment of what came at time t, and W_t the map then: ``Σ_t ‖(W − W_t) x‖²`` is
    ``tr(W C Wᵀ) − 2 tr(W Mᵀ) + c``. This is the formula as it stands; ``SiteMemory`` has it about a
    reference, which loses less to rounding.

    Attributes:
        moment: ``C = Σ C_t``, ``(G, d, d)``, float64.
        cross: ``M = Σ W_t C_t``, ``(G, out, d)``.
        energy: ``c = Σ tr(W_t C_t W_tᵀ)``.
    """

    moment: Tensor
    cross: Tensor
    energy: float

    @classmethod
    def of(cls, weight: Tensor, moment: Tensor) -> Meter:
        """The meter of one map ``(G, out, d)`` and the features ``(G, d, d)`` that it meets."""
        cross = weight @ moment
        return cls(moment, cross, float((weight * cross).sum()))

    def __add__(self, other: Meter) -> Meter:
        return Meter(
            self.moment + other.moment, self.cross + other.cross, self.energy + other.energy
        )

    def changed(self, weight: Tensor) -> float:
        """The squared change of all old outputs, of which ``energy`` is the whole; never below 0.

        Example:
            >>> import torch
            >>> meter = Meter.of(torch.ones(1, 1, 2), torch.eye(2)[None])
            >>> meter.changed(torch.zeros(1, 1, 2)), meter.energy
            (2.0, 2.0)
        """
        moved = float((weight * (weight @ self.moment - 2 * self.cross)).sum()) + self.energy
        return 0.0 if moved < 0 else moved  # rounding; NaN stays
