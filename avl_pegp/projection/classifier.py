"""The classifier's rows: every class's row is under the condition that its class calls for.

=====================================  ====================================================
row c of [W b]                         its step
=====================================  ====================================================
absent from this experience            0, whatever the loss and the optimizer did
new in this experience                 free
seen before and present again          orthogonal to the pooled features [x, 1] of the past
=====================================  ====================================================
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from operator import index
from typing import Any

from torch import Tensor

from avl_pegp.projection import checks
from avl_pegp.projection.bases import Basis, Projector
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.protection import Protection


def class_numbers(classes: Collection[int]) -> set[int]:
    """Classes as plain integers.

    Raises:
        ValueError: something is no whole number, or they are no collection.

    Example:
        >>> class_numbers(range(2))
        {0, 1}
    """
    try:
        return {index(c) for c in classes}
    except TypeError:
        raise ValueError(
            f"classes={classes!r}: must be a collection of whole numbers, the rows of the classifier "
            "that are to be taught"
        ) from None


class ClassifierRows:
    """Which rows are held, free or projected, for a classifier seen as ``(classes, d + 1)``.

    Attributes:
        seen: classes of earlier experiences.
        present: classes of the present one.
        reference: the rows that it began with.
    """

    def __init__(
        self,
        seen: Collection[int] = (),
        present: Collection[int] = (),
        reference: Tensor | None = None,
        basis: Basis | None = None,
        moment: Moment | None = None,
    ) -> None:
        self.seen, self.present = set(seen), set(present)
        self.reference = reference
        self._basis, self._moment = basis, moment
        self._project = None if basis is None else Projector([basis])

    @property
    def is_hard(self) -> bool:
        """Whether recurring rows lose all of a step's part along the past, not a share of it."""
        return self._project is None or self._project.is_hard

    def begin(
        self, rows: Tensor, classes: Collection[int] | None, start: Tensor | None = None
    ) -> Tensor:
        """Say which classes the coming experience teaches; ``None``: any class may occur.

        Args:
            rows: as they are now.
            classes: those to come.
            start: the rows since which changes are projected; ``None``: the reference.

        Returns:
            The rows to start from: what others did to seen rows since is projected as well.

        Raises:
            ValueError: a class without a row.
        """
        present = set(range(len(rows))) if classes is None else class_numbers(classes)
        self.require_rows(present, len(rows))
        start = self.reference if start is None else start
        if start is not None:
            known = sorted(self.seen)
            before = start.to(rows)[known]
            rows = rows.clone()
            rows[known] = before + self._projected(rows[known] - before)
        self.present, self.reference = present, rows.clone()
        return rows

    def admit(self, classes: Collection[int]) -> None:
        """Let classes join those of the experience that has begun: they occur after all.

        Raises:
            ValueError: a class without a row.
        """
        if self.reference is not None:
            self.require_rows(classes, len(self.reference))
        self.present |= class_numbers(classes)

    @staticmethod
    def require_rows(classes: Collection[int], rows: int) -> None:
        """Raise ValueError for a class that is beyond this many rows."""
        beyond = sorted(c for c in classes if not 0 <= c < rows)
        if beyond:
            raise ValueError(
                f"classes has {beyond}, but the classifier has rows 0 to {rows - 1}: give it one row "
                "for every class of the stream"
            )

    def restrict(self, delta: Tensor) -> Tensor:
        """A step or gradient ``(classes, d + 1)`` with every row under its condition."""
        delta = delta.clone()
        delta[[c for c in range(len(delta)) if c not in self.present]] = 0
        recurring = sorted(self.present & self.seen)
        if recurring:
            delta[recurring] = self._projected(delta[recurring])
        return delta

    def kept(self, rows: Tensor, start: Tensor | None = None) -> Tensor:
        """The rows with their step from ``start`` restricted; ``None``: since ``begin``."""
        start = self.reference if start is None else start
        if start is None:
            return rows
        start = start.to(rows)
        return start + self.restrict(rows - start)

    def _projected(self, delta: Tensor) -> Tensor:
        return delta if self._project is None else self._project(delta[None])[0]

    def extended(
        self, rows: Tensor, gathered: Moment, energy: float, protection: Protection
    ) -> ClassifierRows:
        """The rule after this experience: its pooled features protected, its classes seen."""
        basis = self._basis or Basis.empty(rows.shape[1])
        there = gathered.to("cpu")
        total = there if self._moment is None else self._moment + there
        basis = protection.extend(basis, gathered, total, 0, energy)
        seen = self.seen | self.present
        return ClassifierRows(seen, self.present, rows.clone(), basis, total)

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and lists that ``from_state`` takes back."""
        return {
            "seen": sorted(self.seen),
            "present": sorted(self.present),
            "reference": self.reference,
            "basis": self._basis and asdict(self._basis),
            "moment": self._moment and self._moment.to_state(),
        }

    @classmethod
    def from_state(cls, state: Any, name: str) -> ClassifierRows:
        """The rule that ``state_dict`` described.

        Args:
            state: what it gave.
            name: what messages call it.

        Raises:
            ValueError: a value that can't be.
        """
        keys = ("seen", "present", "reference", "basis", "moment")
        state = checks.entries(state, name, *keys)
        reference, basis, moment = state["reference"], state["basis"], state["moment"]
        if reference is not None:
            reference = checks.finite(reference, f"{name}['reference']", None, None, exact=False)
        rows, d = (0, 0) if reference is None else reference.shape
        seen, present = (
            [checks.count(c, f"{name}[{key!r}]", rows) for c in checks.items(state[key], name)]
            for key in ("seen", "present")
        )
        if (basis is None) != (moment is None) or (reference is None and basis is not None):
            raise checks.damaged(f"{name}['basis']", basis, "there exactly where its moment is")
        if basis is not None:
            basis = checks.entries(basis, f"{name}['basis']", "columns", "holds")
            basis = checks.basis(basis["columns"], basis["holds"], f"{name}['basis']", d)
            moment = checks.moment_from_state(moment, f"{name}['moment']")
            if len(moment.of_width(1)) != 1 or moment.of_width(d).shape[-1] != d:
                raise checks.damaged(f"{name}['moment']", moment.of_width(d), f"of width {d}")
        return cls(seen, present, reference, basis, moment)
