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
from typing import Any

from torch import Tensor, nn

from avl_pegp.projection.bases import Projector, extend_basis
from avl_pegp.projection.moments import Moment


def find_classifier(
    model: nn.Module, name: str | None, may_be_frozen: bool = False
) -> nn.Linear | None:
    """The trainable linear layer of the model's classifier.

    Args:
        model: with ``get_classifier()``, unless ``name`` is given.
        name: the path of a module that is, or holds, the classifier's linear layer.
        may_be_frozen: take a frozen layer where none is trainable.

    Returns:
        ``None`` where no name is given and the model has no classifier, or a frozen one.

    Raises:
        ValueError: no such name, or not exactly one such linear layer there.
    """
    root = _classifier_module(model, name) or nn.Identity()
    found = [m for m in root.modules() if isinstance(m, nn.Linear)]
    layers = [layer for layer in found if layer.weight.requires_grad]
    if may_be_frozen and not layers:
        layers = found
    if len(layers) > 1 or (name is not None and not layers):
        raise ValueError(
            f"classifier={name!r} holds {len(layers)} linear layers to choose from: must be exactly "
            "one, and trainable; name that layer itself"
        )
    return layers[0] if layers else None


def _classifier_module(model: nn.Module, name: str | None) -> nn.Module | None:
    """The classifier: the module of that path, or the model's own, also behind peft's wrapper.

    Returns:
        ``None`` where no name is given and the model has no ``get_classifier()``.

    Raises:
        ValueError: no module of that name.
    """
    if name is None:
        unwrap = getattr(model, "get_base_model", None)  # peft's wrapper has it
        get = getattr(unwrap() if callable(unwrap) else model, "get_classifier", None)
        return get() if callable(get) else None
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        known = ", ".join(child for child, _ in model.named_children())
        raise ValueError(
            f"classifier={name!r}: the model has no such module; name the path of its linear "
            f"classifier (top-level modules: {known})"
        ) from error


class ClassifierRows:
    """Which rows are held, free or projected, for a classifier seen as ``(classes, d + 1)``."""

    def __init__(
        self,
        seen: Collection[int] = (),
        present: Collection[int] = (),
        reference: Tensor | None = None,
        basis: Tensor | None = None,
    ) -> None:
        self.seen, self._present = set(seen), set(present)
        self.reference = reference
        self._basis = basis
        self._project = None if basis is None else Projector([basis])

    def begin(self, rows: Tensor, classes: Collection[int] | None) -> Tensor:
        """Say which classes the coming experience teaches; ``None``: any class may occur.

        Returns:
            The rows to start from: what others did to seen rows since is projected as well.

        Raises:
            ValueError: a class without a row.
        """
        present = set(range(len(rows))) if classes is None else {int(c) for c in classes}
        beyond = sorted(c for c in present if not 0 <= c < len(rows))
        if beyond:
            raise ValueError(
                f"classes has {beyond}, but the classifier has rows 0 to {len(rows) - 1}: give it "
                "one row for every class of the stream"
            )
        if self.reference is not None:
            known = sorted(self.seen)
            reference = self.reference.to(rows)[known]
            rows = rows.clone()
            rows[known] = reference + self._projected(rows[known] - reference)
        self._present, self.reference = present, rows.clone()
        return rows

    def restrict(self, delta: Tensor) -> Tensor:
        """A step or gradient ``(classes, d + 1)`` with every row under its condition."""
        delta = delta.clone()
        delta[[c for c in range(len(delta)) if c not in self._present]] = 0
        recurring = sorted(self._present & self.seen)
        if recurring:
            delta[recurring] = self._projected(delta[recurring])
        return delta

    def kept(self, rows: Tensor) -> Tensor:
        """The rows with their step since ``begin`` restricted."""
        if self.reference is None:
            return rows
        reference = self.reference.to(rows)
        return reference + self.restrict(rows - reference)

    def _projected(self, delta: Tensor) -> Tensor:
        return delta if self._project is None else self._project(delta[None])[0]

    def extended(self, rows: Tensor, gathered: Moment, energy: float) -> ClassifierRows:
        """The rule after this experience: its pooled features protected, its classes seen."""
        moment = gathered.of_width(rows.shape[1])[0]
        basis = moment.new_zeros(len(moment), 0) if self._basis is None else self._basis
        basis = extend_basis(basis, moment, energy, gathered.feature_eps)
        return ClassifierRows(self.seen | self._present, self._present, rows.clone(), basis)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and lists that ``ClassifierRows(**state)`` takes back."""
        return {
            "seen": sorted(self.seen),
            "present": sorted(self._present),
            "reference": self.reference,
            "basis": self._basis,
        }
