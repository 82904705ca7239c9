"""What every PET configuration shares: the fields that say where it goes, and the checks."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

from avl_pegp.arguments import require_positive
from avl_pegp.pet.towers import Tower

TOWERS = ("image", "text")
#: Fields that say how large a PET is: each is a side of one of its tensors.
SIZES = ("rank", "bottleneck", "length")


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


def settle_fields(pet: object) -> None:
    """Check the fields that PETs share, those that one has; turn ``blocks`` into a sorted tuple.

    Args:
        pet: a frozen dataclass.

    Raises:
        ValueError: a size is not a whole number of at least 1; ``scale`` is zero, infinite or no
            number; there is no such ``tower``; ``blocks`` are no distinct indices.
    """
    kind, fields = type(pet).__name__, vars(pet)
    require_positive(pet, **{name: fields[name] for name in SIZES if name in fields})
    scale, tower, blocks = (
        fields.get("scale", 1),
        fields.get("tower", "image"),
        fields.get("blocks"),
    )
    if not math.isfinite(scale) or scale == 0:
        raise ValueError(f"{kind}.scale={scale!r}: must be a finite number other than 0")
    if tower not in TOWERS:
        raise ValueError(f"{kind}.tower={tower!r}: must be one of {', '.join(TOWERS)}")
    if blocks is None:
        return
    indices = tuple(blocks)
    wrong = [i for i in indices if isinstance(i, bool) or not isinstance(i, int) or i < 0]
    if wrong or not indices or len(set(indices)) != len(indices):
        raise ValueError(
            f"{kind}.blocks={blocks!r}: must be distinct block indices from 0 on, at least one; leave "
            "it out (None) for all blocks"
        )
    object.__setattr__(pet, "blocks", tuple(sorted(indices)))
