"""PEGP in Avalanche: a thin shell over ``avl_pegp.projection.PEGP``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from avalanche.models.utils import avalanche_forward
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn
from tqdm.auto import tqdm

from avl_pegp.plugins.experience import classes_of, statistics_loader
from avl_pegp.projection import PEGP
from avl_pegp.projection.pegp import Energy, Projection


class PEGPPlugin(SupervisedPlugin[SupervisedTemplate]):
    """Parameter-efficient gradient projection: tune on new experiences, keep the answers on old ones.

    Give it to any supervised strategy, after plugins that add or clip gradients. Gradients are
    projected in ``before_update`` and the optimizer's step in ``after_update``; after an experience
    its training data is streamed once more, in eval mode under the evaluation transform, to extend
    the bases. No sample is kept. Optimizer state that Avalanche carries from one experience to the
    next does no harm, as it is the step that is projected.

    Reference: Qiao et al., Gradient Projection For Continual Parameter-Efficient Tuning (2024),
    arXiv 2405.13383.

    Args:
        energy: share of the old features' energy to protect, in (0, 1]; a number, or a function of
            the experience's index. 1.0 keeps old outputs exactly.
        project: ``"step"``, ``"gradient"`` (as published; exact under plain SGD only) or ``"none"``
            (statistics and meters only, for controls).
        samples: training samples that feed the statistics of an experience, ``None`` for all.
        classifier: path of the classifier, ``None`` for the model's ``get_classifier()``.
        exclude: shell-style patterns of trainable tensors to leave unprotected.
        freeze_uncovered: hold what no condition covers from the second experience on, instead of
            refusing it.
        progress: show a bar while statistics are gathered.

    Raises:
        ValueError: an argument outside what is allowed; at the start of training, a model that can't
            be protected; NaN or infinite features after an experience.

    Example:
        >>> import torch
        >>> from avalanche.training.supervised import Naive
        >>> from avl_pegp import LoRA, PEGPPlugin, attach, create_vit, pet_parameters
        >>> model = create_vit("tiny_vit_32.latin", num_classes=10, pretrained=True)
        >>> handle = attach(model, LoRA(rank=4))
        >>> optimizer = torch.optim.AdamW(pet_parameters(model), lr=1e-3)
        >>> plugin = PEGPPlugin(energy=0.97)
        >>> strategy = Naive(model=model, optimizer=optimizer, plugins=[plugin])
        >>> plugin.ranks()  # nothing is protected before the first experience
        {}
    """

    def __init__(
        self,
        energy: Energy = 0.97,
        project: Projection = "step",
        samples: int | None = None,
        classifier: str | None = None,
        *,
        exclude: str | Collection[str] = (),
        freeze_uncovered: bool = False,
        progress: bool = True,
    ) -> None:
        super().__init__()
        whole = isinstance(samples, int) and not isinstance(samples, bool)
        if samples is not None and not (whole and samples >= 1):
            raise ValueError(f"samples={samples!r}: must be a whole number from 1, or None for all")
        # The model is known when training starts; what can be refused now is refused now.
        self.pegp = PEGP(
            nn.Identity(),
            energy=energy,
            project=project,
            classifier=classifier,
            exclude=exclude,
            freeze_uncovered=freeze_uncovered,
        )
        self.samples = samples
        self.progress = progress
        self._loaded: dict[str, Any] | None = None

    def ranks(self) -> dict[str, tuple[int, int]]:
        """For each site: protected directions, and all there are.

        Empty before the first experience, and from ``load_state_dict`` until training starts.
        """
        return self.pegp.ranks()

    def drift(self) -> dict[str, float]:
        """For each site: relative squared change of its map on all gathered data, since learned."""
        return self.pegp.drift()

    def state_dict(self) -> dict[str, Any]:
        """What was learned about the past; ``torch.load(..., weights_only=True)`` reads it back."""
        return self._loaded or self.pegp.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; it is checked against the model when training starts."""
        self._loaded = state

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Check the model, and tell which classes come."""
        self.pegp.model = strategy.model
        if self._loaded is not None:
            self.pegp.load_state_dict(self._loaded)
            self._loaded = None
        self.pegp.begin(classes_of(strategy.experience))

    def before_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Project the gradients."""
        self.pegp.project_gradients()

    def after_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Replace the step that was made by its projection."""
        self.pegp.project_step()

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Stream the experience's features and extend the bases, before any evaluation."""
        loader = statistics_loader(
            strategy.experience,
            samples=self.samples,
            batch_size=strategy.eval_mb_size,
            num_workers=kwargs.get("num_workers", 0),
            seed=self.pegp.past.experiences,
        )
        batches = tqdm(loader, desc="PEGP: gathering", leave=False, disable=not self.progress)

        def forward(batch: Any) -> None:
            x, *rest = (element.to(strategy.device) for element in batch)
            avalanche_forward(strategy.model, x, rest[-1])

        self.pegp.gather(batches, forward)
        self.pegp.extend()
