"""Training one linear head on one experience after another without touching other classes' rows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.nn import functional as F

from avl_pegp.plugins.experience import classes_of
from avl_pegp.projection.classifier import ClassifierRows, find_classifier
from avl_pegp.projection.sites import Site, linear_site


def masked_cross_entropy(logits: Tensor, targets: Tensor, classes: Collection[int]) -> Tensor:
    """Mean cross entropy over the logits of ``classes`` alone.

    Args:
        logits: ``(B, C)``.
        targets: ``(B,)``, each in ``classes``.
        classes: the classes that compete.

    Raises:
        ValueError: a target outside ``classes``.

    Example:
        >>> masked_cross_entropy(torch.tensor([[0.0, 0.0, 900.0]]), torch.tensor([0]), {0, 1}).item()
        0.6931471824645996
    """
    others = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
    others[list(classes)] = False
    if others[targets].any():
        raise ValueError(
            f"targets has classes {sorted(set(targets[others[targets]].tolist()))}, but classes is "
            f"{sorted(classes)}: the mask must hold every target"
        )
    return F.cross_entropy(logits.masked_fill(others, float("-inf")), targets)


class MaskedCrossEntropy(SupervisedPlugin[SupervisedTemplate]):
    """A criterion that trains the current experience's classes only, and holds other classes' rows.

    Give it to a strategy as ``criterion``; Avalanche then calls it as a plugin too. In training the
    logits of other classes are masked, and rows of the classifier that belong to them stay bit for
    bit what they were, whatever momentum or weight decay would do. In evaluation it is plain cross
    entropy. (Avalanche's own class of this name gives NaN once logits lie about 104 apart.)

    Args:
        classifier: path of the classifier, ``None`` for the model's ``get_classifier()``.
        temperature: logits are divided by it in training, as VPT-NSP² does.

    Raises:
        ValueError: ``temperature`` is not above 0; in training, a target outside the experience's
            classes.

    Example:
        >>> criterion = MaskedCrossEntropy()  # Naive(..., criterion=criterion)
        >>> criterion(torch.zeros(1, 2), torch.tensor([0])).item()
        0.6931471824645996
    """

    def __init__(self, classifier: str | None = None, *, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature={temperature!r}: must be above 0")
        self.classifier, self.temperature = classifier, temperature
        self._classes: set[int] | None = None
        self._evaluating = False
        self._rows = ClassifierRows()
        self._site: Site | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """``(B, C)`` and ``(B,)`` → the mean loss."""
        if self._evaluating or self._classes is None:
            return F.cross_entropy(logits, targets)
        return masked_cross_entropy(logits / self.temperature, targets, self._classes)

    @torch.no_grad()
    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Note the experience's classes and what the other rows are."""
        self._evaluating = False  # also where an evaluation was broken off
        self._classes = classes_of(strategy.experience)
        layer = find_classifier(strategy.model, self.classifier)
        self._site = None if layer is None else linear_site(strategy.model, layer, ignored=())
        if self._site is not None:
            rows = self._site.read(self._site.tensors_of(strategy.model))[0]
            self._rows.begin(rows, self._classes)

    def after_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Put other classes' rows back."""
        if self._site is not None:
            tensors = self._site.tensors_of(strategy.model)
            self._site.write(self._rows.kept(self._site.read(tensors)[0])[None], tensors)

    def before_eval(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Evaluate over all classes."""
        self._evaluating = True

    def after_eval(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Back to the mask."""
        self._evaluating = False
