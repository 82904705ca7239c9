"""The rows of a classifier's heads, each under the rule that its class calls for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from avl_pegp.projection.classifier import ClassifierRows, class_numbers
from avl_pegp.projection.sites import Site

Tensors = dict[str, Tensor]


class HeadRows:
    """One head, or several, in an experience that teaches some classes.

    A single head is taught those classes. Of several heads, one for each task or so, those are taught
    them that are in use: a gradient shows it. All others stay to the bit.

    Args:
        heads: by name.
        rows: what is known of each; filled up where a head is new.
        classes: those to be taught; ``None``: any.

    Raises:
        ValueError: a class for which no head has a row.
    """

    def __init__(
        self,
        heads: Mapping[str, Site],
        rows: dict[str, ClassifierRows],
        classes: Collection[int] | None,
    ) -> None:
        self._heads, self._rows = heads, rows
        self._classes = None if classes is None else class_numbers(classes)
        self.in_use = set(heads) if len(heads) == 1 else set()

    def begin(self, tensors: Tensors, last: Tensors | None, project: bool) -> None:
        """Note the rows as they are, or as the past allows them, where they are projected.

        Args:
            tensors: the heads' parameters by name, to be read and written in place.
            last: as they were after the last step that was projected; ``None``: after the last
                experience.
            project: write back what the past allows.
        """
        if len(self._heads) > 1:
            self._require_rows(tensors, self._classes or ())
        for name, head in self._heads.items():
            start = None if last is None else head.read(last)[0]
            taught = self._classes if name in self.in_use else ()
            rule = self._rows.setdefault(name, ClassifierRows())
            rows = rule.begin(head.read(tensors)[0], taught, start)
            if project:
                head.write(rows[None], tensors)

    def admit(self, classes: Collection[int]) -> None:
        """Let classes join those that are taught.

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
        """Put the rows under the rules, in place; ``last`` as in ``begin``."""
        for name, head in self._heads.items():
            start = None if last is None else head.read(last)[0]
            head.write(self._rows[name].kept(head.read(tensors)[0], start)[None], tensors)

    def _teach(self, name: str, classes: Collection[int] | None) -> None:
        rule = self._rows[name]
        count = 0 if rule.reference is None else len(rule.reference)
        if len(self._heads) == 1:
            rule.admit(range(count) if classes is None else classes)
        else:  # other classes are other heads'
            rule.admit(range(count) if classes is None else [c for c in classes if c < count])

    def _require_rows(self, tensors: Tensors, classes: Collection[int]) -> None:
        most = max(head.read(tensors).shape[1] for head in self._heads.values())
        ClassifierRows.require_rows(classes, most)
