"""Steps that are no numbers, and steps so long that rounding breaks what projection keeps.

In exact arithmetic steps of any size keep old answers. In floating point each layer adds rounding of
the size of its move, and passes on what the layers before it added, enlarged by its own move. As long
as moves are about as long as the weights that stays rounding. Where all sites of a small vision
transformer move 12 times as far, old features change by 1e-4 in float32; 35 times, by 1e-9 in float64.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avl_pegp.projection.coverage import Coverage
from avl_pegp.projection.memory import Memory
from avl_pegp.projection.sites import Site

_LONG = {torch.float32: 10.0, torch.float64: 32.0}  # in units of the weight's size


class RoundingWarning(UserWarning):
    """Weights moved so far that rounding may disturb old answers more than ``PEGP`` promises."""


class RoundingWatch:
    """Says once where weights moved so far that the promise may be broken."""

    def __init__(self) -> None:
        self._has_warned = False

    def look(self, memory: Memory, coverage: Coverage, lengths: Mapping[str, float]) -> None:
        """Look at the moves that projection has left; what is held in part promises nothing."""
        if self._has_warned or not memory.is_hard:
            return
        message = _too_long(memory, coverage, lengths)
        if message is not None:
            self._has_warned = True
            warnings.warn(message, RoundingWarning, stacklevel=4)


def lengths_of(moves: Mapping[str, Tensor], coverage: Coverage) -> dict[str, float]:
    """The norm of each site's move; the device is asked once.

    Raises:
        ValueError: a weight, or the classifier, is NaN or infinite.
    """
    norms = {name: move.norm() for name, move in moves.items()}
    for name, head in coverage.heads.items():
        norms[name] = head.read(coverage.tensors()).norm()
    if not norms:
        return {}
    first = next(iter(norms.values()))
    numbers = torch.stack([norm.to(first) for norm in norms.values()]).tolist()
    lengths = dict(zip(norms, numbers, strict=True))
    broken = [name for name, length in lengths.items() if not math.isfinite(length)]
    if broken:
        raise ValueError(
            f"a step left NaN or infinite weights in {', '.join(broken)}: old answers are lost with "
            "them. Go back to weights from before; then lower the learning rate, clip gradients, or "
            "let a loss scaler leave out such steps"
        )
    return lengths


def _too_long(memory: Memory, coverage: Coverage, lengths: Mapping[str, float]) -> str | None:
    """What to warn of: the sites that moved too far; ``None`` where none did."""
    far: dict[str, float] = {}
    for name, kept in memory.sites.items():
        site = coverage.sites[name]
        ratio = lengths[name] / max(kept.size, _usual_size(site, kept.reference))
        if ratio > _LONG[coverage.trained[site.weight].dtype]:
            far[name] = ratio
    if not far:
        return None
    worst = max(far, key=far.__getitem__)
    others = f", and so have {len(far) - 1} other sites" if len(far) > 1 else ""
    return (
        f"{worst} has moved {far[worst]:.0f} times as far as its weight is large{others}: rounding of "
        "such steps may change old answers by more than 1e-4 in float32, or 1e-9 in float64, "
        "whatever the drift of each site alone. Lower the learning rate, clip gradients, or add "
        "weight decay"
    )


def _usual_size(site: Site, reference: Tensor) -> float:
    """A norm that is not large for a weight that starts at zero, as a LoRA's B does.

    Of linear layers that of a map that keeps the size of its input; of learned tokens that of entries
    of size 1.
    """
    groups, rows, width = reference.shape
    return math.sqrt(groups * rows * (1 if isinstance(site.module, nn.Linear) else width))
