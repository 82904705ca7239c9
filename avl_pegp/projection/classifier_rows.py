"""The rows of a classifier's heads: what is remembered of them, and the rule of each.

A row ``[W b]`` of a class; its step is

=====================================  ====================================================
absent from this experience            0, whatever the loss and the optimizer did
new in this experience                 free
seen before and present again          orthogonal to the pooled features [x, 1] of the past
=====================================  ====================================================
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from operator import index

from torch import Tensor

from avl_pegp.projection.bases import Basis, Projector, Protection
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.sites import Site

Tensors = dict[str, Tensor]


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


@dataclass(frozen=True)
class RowMemory:
    """What is remembered of a classifier's head, seen as ``(classes, d + 1)``.

    Attributes:
        seen: classes of earlier experiences.
        reference: the rows when the basis was last extended; ``None`` before.
        basis: U ``(d + 1, k)`` of pooled features ``[x, 1]``; ``None`` before.
        moment: second moment of all of them; ``None`` before.
        project: what takes the part of a step ``(1, rows, d + 1)`` along the basis away.
    """

    seen: frozenset[int] = frozenset()
    reference: Tensor | None = None
    basis: Basis | None = None
    moment: Moment | None = None
    project: Projector | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        project = None if self.basis is None else Projector([self.basis])
        object.__setattr__(self, "project", project)

    @property
    def is_hard(self) -> bool:
        """Whether rows that recur lose all of a step's part along the basis, not a share of it."""
        return self.project is None or self.project.is_hard

    def extend(
        self,
        rows: Tensor,
        taught: Collection[int],
        gathered: Moment,
        energy: float,
        protection: Protection,
    ) -> RowMemory:
        """The memory after an experience that taught some classes; the old one is left as it is."""
        basis = self.basis or Basis.empty(rows.shape[1])
        there = gathered.to("cpu")
        total = there if self.moment is None else self.moment + there
        (basis,) = protection.extend([basis], gathered, total, energy)
        return RowMemory(self.seen | set(taught), rows.clone(), basis, total)


class Rows:
    """The rule of one head's rows in an experience that teaches some classes.

    Args:
        memory: what is remembered of the head.
        rows: ``(classes, d + 1)``, as they are now.
        classes: those to come; ``None``: any may.
        start: the rows since which changes of seen rows are projected; ``None``: since the memory was
            last extended.

    Attributes:
        taught: the classes that the experience teaches.
        reference: the rows to start from: what others did to seen rows since is projected as well.

    Raises:
        ValueError: a class without a row.
    """

    def __init__(
        self,
        memory: RowMemory,
        rows: Tensor,
        classes: Collection[int] | None,
        start: Tensor | None = None,
    ) -> None:
        self._memory = memory
        self.taught: set[int] = set()
        self.reference = rows.clone()
        self.teach(range(len(rows)) if classes is None else classes)
        start = memory.reference if start is None else start
        if start is not None:
            known = sorted(memory.seen)
            before = start.to(rows)[known]
            self.reference[known] = before + self._projected(rows[known] - before)

    def teach(self, classes: Collection[int]) -> None:
        """Let classes join those that the experience teaches.

        Raises:
            ValueError: a class without a row.
        """
        require_rows(classes, len(self.reference))
        self.taught |= class_numbers(classes)

    def restrict(self, delta: Tensor) -> Tensor:
        """A step or gradient ``(classes, d + 1)`` with every row under its condition."""
        delta = delta.clone()
        delta[[c for c in range(len(delta)) if c not in self.taught]] = 0
        recurring = sorted(self.taught & self._memory.seen)
        if recurring:
            delta[recurring] = self._projected(delta[recurring])
        return delta

    def kept(self, rows: Tensor, start: Tensor | None = None) -> Tensor:
        """The rows with their step from ``start`` restricted; ``None``: from the reference."""
        start = (self.reference if start is None else start).to(rows)
        return start + self.restrict(rows - start)

    def _projected(self, delta: Tensor) -> Tensor:
        project = self._memory.project
        return delta if project is None else project(delta[None])[0]


class HeadRows:
    """The rules of one head, or of several, in an experience that teaches some classes.

    A single head is taught those classes. Of several heads, one for each task or so, those are taught
    them that are in use: a gradient shows it. All others stay to the bit.

    Args:
        heads: by name.
        memories: what is remembered of each, by name.
        classes: those to be taught; ``None``: any.
        tensors: the heads' parameters by name.
        last: as they were after the last step that was projected; ``None``: after the last experience.

    Raises:
        ValueError: a class for which no head has a row.
    """

    def __init__(
        self,
        heads: Mapping[str, Site],
        memories: Mapping[str, RowMemory],
        classes: Collection[int] | None,
        tensors: Tensors,
        last: Tensors | None = None,
    ) -> None:
        self._heads = heads
        self._classes = None if classes is None else class_numbers(classes)
        self.in_use = set(heads) if len(heads) == 1 else set()
        if len(heads) > 1:
            most = max(head.read(tensors).shape[1] for head in heads.values())
            require_rows(self._classes or (), most)
        self._rows = {
            name: Rows(
                memories.get(name, RowMemory()),
                head.read(tensors)[0],
                self._classes if name in self.in_use else (),
                None if last is None else head.read(last)[0],
            )
            for name, head in heads.items()
        }

    @property
    def taught(self) -> dict[str, set[int]]:
        """The classes that the experience teaches, by head."""
        return {name: rows.taught for name, rows in self._rows.items()}

    def begin(self, tensors: Tensors) -> None:
        """Write the rows as the past allows them, in place."""
        for name, head in self._heads.items():
            head.write(self._rows[name].reference[None], tensors)

    def admit(self, classes: Collection[int]) -> None:
        """Let classes join those that are taught: they occur after all.

        Raises:
            ValueError: a class without a row.
        """
        classes = class_numbers(classes)
        for name in self.in_use:
            self._teach(name, classes)
        if self._classes is not None:
            self._classes |= classes

    def notice(self, gradients: Tensors) -> None:
        """See by the gradients which heads are in use."""
        for name in self._heads.keys() - self.in_use:
            seen = [gradients[n] for n in self._heads[name].tensors if n in gradients]
            if any(gradient.any() for gradient in seen):
                self.in_use.add(name)
                self._teach(name, self._classes)

    def restrict(self, gradients: Tensors) -> None:
        """Put gradients under the rules, in place."""
        for name, head in self._heads.items():
            if head.tensors <= gradients.keys():
                rows = self._rows[name].restrict(head.read(gradients)[0])
                head.write(rows[None], gradients)

    def hold(self, tensors: Tensors, last: Tensors | None) -> None:
        """Put the rows under the rules, in place; ``last``: as they were after the last step."""
        for name, head in self._heads.items():
            start = None if last is None else head.read(last)[0]
            head.write(self._rows[name].kept(head.read(tensors)[0], start)[None], tensors)

    def _teach(self, name: str, classes: Collection[int] | None) -> None:
        rows = self._rows[name]
        count = len(rows.reference)
        if classes is None:
            classes = range(count)
        elif len(self._heads) > 1:  # other classes are other heads'
            classes = [c for c in classes if c < count]
        rows.teach(classes)


def require_rows(classes: Collection[int], rows: int) -> None:
    """Raise ValueError for a class that is beyond this many rows."""
    beyond = sorted(c for c in classes if not 0 <= c < rows)
    if beyond:
        raise ValueError(
            f"classes has {beyond}, but the classifier has rows 0 to {rows - 1}: give it one row "
            "for every class of the stream"
        )
