"""What every PET configuration shares: the fields that say where it goes, and the checks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from avl_pegp.pet.towers import Tower

TOWERS = ("image", "text")


@runtime_checkable
class PETConfig(Protocol):
    """A frozen dataclass that can build its modules into a tower of a model."""

    @property
    def depth(self) -> int:
        """How far out the PET wraps.

        0 linear layers, 1 attention, 2 branches, 3 blocks, 4 what stands before or behind all blocks.
        """

    @property
    def tower(self) -> str:
        """The tower that it goes into."""

    @property
    def blocks(self) -> tuple[int, ...] | None:
        """The indices of the blocks to change; ``None`` means all."""

    def install(self, tower: Tower) -> None:
        """Build the PET into the tower."""


def require_positive(owner: object, **fields: Any) -> None:
    """Raise ValueError for the first field that is not a whole number of at least 1."""
    for name, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{type(owner).__name__}.{name}={value!r}: must be a whole number of at least 1"
            )


def require_scale(owner: object, scale: float) -> None:
    """Raise ValueError for a factor that is zero, infinite or no number."""
    if not math.isfinite(scale) or scale == 0:
        raise ValueError(
            f"{type(owner).__name__}.scale={scale!r}: must be a finite number other than 0"
        )


def settle_place(owner: object, tower: str, blocks: Iterable[int] | None) -> None:
    """Turn a frozen dataclass's ``blocks`` into a sorted tuple; check its ``tower``.

    Raises:
        ValueError: either is not a possible one.
    """
    if tower not in TOWERS:
        raise ValueError(
            f"{type(owner).__name__}.tower={tower!r}: must be one of {', '.join(TOWERS)}"
        )
    if blocks is None:
        return
    indices = tuple(blocks)
    wrong = [i for i in indices if isinstance(i, bool) or not isinstance(i, int) or i < 0]
    if wrong or not indices or len(set(indices)) != len(indices):
        raise ValueError(
            f"{type(owner).__name__}.blocks={blocks!r}: must be distinct block indices from 0 on, "
            "at least one; leave it out (None) for all blocks"
        )
    object.__setattr__(owner, "blocks", tuple(sorted(indices)))
