"""Training one linear head on one experience after another without touching other classes' rows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.nn import functional as F

from avl_pegp.plugins.experience import classes_of, heads_of, require_logits
from avl_pegp.projection.classifier_rows import HeadRows
from avl_pegp.projection.heads import Classifier
from avl_pegp.projection.sites import Site, linear_site, names_by_id
from avl_pegp.wrappers import named_root


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
        classifier: path of the classifier; ``None`` has it found, as ``PEGP`` does; ``False``: the model
            has none, so that no rows are held.
        temperature: logits are divided by it in training, as VPT-NSP² does.

    Raises:
        ValueError: ``temperature`` is not above 0; in training, a target outside the experience's
            classes, or a classifier that can't be found.

    Example:
        >>> criterion = MaskedCrossEntropy()  # Naive(..., criterion=criterion)
        >>> criterion(torch.zeros(1, 2), torch.tensor([0])).item()
        0.6931471824645996
    """

    def __init__(self, classifier: Classifier = None, *, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature={temperature!r}: must be above 0")
        self.classifier, self.temperature = classifier, temperature
        self._classes: set[int] | None = None
        self._evaluating = False
        self._sites: dict[str, Site] = {}
        self._rows = HeadRows({}, {}, None, {})

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
        names = names_by_id(dict(named_root(strategy.model).named_parameters()))
        heads = heads_of(strategy, self.classifier)
        self._sites = {name: linear_site(name, head, names, ()) for name, head in heads.items()}
        self._rows = HeadRows(self._sites, {}, self._classes, self._tensors())

    def after_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Take the logits, where the model gives more than them."""
        strategy.mb_output = require_logits(strategy.mb_output)

    def before_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """See which of several heads is in use."""
        parameters = {n: p for site in self._sites.values() for n, p in site.parameters().items()}
        self._rows.notice({n: p.grad for n, p in parameters.items() if p.grad is not None})

    @torch.no_grad()
    def after_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Put other classes' rows back."""
        self._rows.hold(self._tensors(), None)

    def _tensors(self) -> dict[str, Tensor]:
        """The parameters of all heads, by name."""
        found = (site.parameters().items() for site in self._sites.values())
        return {name: p.detach() for named in found for name, p in named}

    def after_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Take the logits, as in training."""
        strategy.mb_output = require_logits(strategy.mb_output)

    def before_eval(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Evaluate over all classes."""
        self._evaluating = True

    def after_eval(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Back to the mask."""
        self._evaluating = False
