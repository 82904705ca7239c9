"""PEGP in Avalanche: a thin shell over ``avl_pegp.projection.PEGP``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from avalanche.benchmarks import DatasetExperience
from avalanche.training.templates import SupervisedTemplate
from torch import nn
from typing_extensions import Unpack

from avl_pegp.arguments import require_positive
from avl_pegp.plugins.experience import (
    around_next_forward,
    classes_of,
    is_online,
    own_samples,
    predict,
    require_logits,
    statistics_loader,
    task_of,
)
from avl_pegp.plugins.progress import watched
from avl_pegp.plugins.tasks import OneModel, TaskPlugin
from avl_pegp.projection import PEGP
from avl_pegp.projection.heads import Classifier
from avl_pegp.projection.settings import Energy, OtherSettings, Projection


class PEGPPlugin(TaskPlugin):
    """Parameter-efficient gradient projection: tune on new experiences, keep the answers on old ones.

    Give it to any supervised strategy, after plugins that add or clip gradients. Gradients are
    projected in ``before_update`` and the optimizer's step in ``after_update``; after an experience
    its training data is streamed once more, in eval mode under the evaluation transform, to extend
    the bases. No sample is kept. Optimizer state that Avalanche carries from one experience to the
    next does no harm, as it is the step that is projected.

    In an online stream, whose experiences are pieces seen once, the statistics come from the training
    minibatches themselves (replayed samples excluded): there is no further pass. Bases then grow
    when a task is complete; where the stream tells no boundaries, every so many iterations, and a
    class is known as soon as it occurs. What is left grows them when ``strategy.train`` ends; only
    after calls with single pieces, which a loop makes, call ``consolidate()`` yourself at the end.

    Reference: Qiao et al., Gradient Projection For Continual Parameter-Efficient Tuning (2024),
    arXiv 2405.13383.

    Args:
        energy: of ``Settings``; so are ``project`` and ``classifier``.
        project: ``"step"``, ``"gradient"`` or ``"none"``.
        samples: training samples that feed the statistics of an experience, ``None`` for all. An
            online stream takes all.
        classifier: path of the classifier; ``None`` has it found; ``False``: there is none.
        references: batches of inputs, as a loader or a list gives them, on which the model's answers
            are to be kept from the very beginning, such as images like those of its pretraining: what
            a CLIP can do zero-shot then stays. They count as an experience before the first, also for
            an ``energy`` that is a schedule. Not for PETs of a text tower.
        every: iterations between two extensions of the bases, in online streams without boundaries.
        progress: show a bar while statistics are gathered.
        settings: the others of ``Settings``: ``exclude``, ``freeze_uncovered``, ``protection``,
            ``rebase``.

    Raises:
        ValueError: an argument outside what is allowed; at the start of training, a model that can't
            be protected, or another model object than the one that was learned from; NaN or infinite
            features after an experience.

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

    without_boundaries = None  # bases then grow every so many iterations

    def __init__(
        self,
        energy: Energy = 0.97,
        project: Projection = "step",
        samples: int | None = None,
        classifier: Classifier = None,
        *,
        references: Iterable[Any] | None = None,
        every: int = 100,
        progress: bool = True,
        **settings: Unpack[OtherSettings],
    ) -> None:
        super().__init__()
        require_positive(self, samples=1 if samples is None else samples, every=every)
        # The model is known when training starts; what can be refused now is refused now.
        self.pegp = PEGP(
            nn.Identity(), energy=energy, project=project, classifier=classifier, **settings
        )
        self.samples, self.every = samples, every
        self.references = references
        self.progress = progress
        self._loaded: dict[str, Any] | None = None
        # In online streams: what has come since bases were last extended.
        self._pieces_of_call = self._pending_iterations = 0

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
        self._loaded, self._one_model = state, OneModel()

    def before_training(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """A call of ``strategy.train`` begins."""
        self._pieces_of_call = 0

    def task_begins(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Protect what a piece brought that broke off, as the last task of an online stream."""
        self.consolidate()

    def task_ends(
        self, strategy: SupervisedTemplate, task: DatasetExperience[Any], **kwargs: Any
    ) -> None:
        """Extend the bases by what the task brought."""
        if task is strategy.experience:
            self._gather(strategy, **kwargs)
            self.pegp.extend()
        else:
            self.consolidate()

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Check the model, and tell which classes come."""
        experience = strategy.experience
        if is_online(experience) and self.samples is not None:
            raise ValueError(
                f"samples={self.samples} in an online stream: its statistics come from all training "
                "minibatches; leave samples out"
            )
        self.pegp.model = strategy.model
        if self._loaded is not None:
            self.pegp.load_state_dict(self._loaded)
            self._loaded = None
            self._pending_iterations = 0
        if self.references is not None and not self.pegp.memory.experiences:
            self._protect(self.references)
        if self._pending_iterations == 0:
            self._begin(strategy)

    def before_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """In online streams: let this forward pass feed the statistics, after a look at the first."""
        if is_online(strategy.experience):
            if self._pending_iterations == 0:
                self.pegp.try_calls(strategy.mbatch, lambda batch: predict(strategy, batch))
            around_next_forward(strategy, self.pegp.gathering(own_samples(strategy)))

    def after_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Take the logits of what the model gave; in online streams note what was seen."""
        strategy.mb_output = require_logits(strategy.mb_output)
        if is_online(strategy.experience):
            self._pending_iterations += 1
            if self._pieces.task is None:
                self.pegp.admit(set(strategy.mb_y[: own_samples(strategy)].tolist()))

    def after_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Take the logits of what the model gave."""
        strategy.mb_output = require_logits(strategy.mb_output)

    def before_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Project the gradients."""
        self.pegp.project_gradients()

    def after_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Replace the step that was made by its projection."""
        self.pegp.project_step()
        if self._pieces.task is None and self._pending_iterations >= self.every:
            self.consolidate()
            self._begin(strategy)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Extend the bases before any evaluation where an experience, or a task in pieces, is over."""
        super().after_training_exp(strategy, **kwargs)
        self._pieces_of_call += is_online(strategy.experience)

    def after_training(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Extend the bases by what is left of a stream. A single piece is one of a loop's."""
        if self._pieces_of_call > 1:
            self.consolidate()

    def consolidate(self) -> None:
        """In online streams: extend the bases by what came since they last were, if anything did."""
        if self._pending_iterations:
            self.pegp.extend()
            self._pending_iterations = 0

    def _protect(self, references: Iterable[Any]) -> None:
        """Keep what the model answers on these inputs as it is before any training."""
        if self.pegp.trains_text:
            raise ValueError(
                "references with a PET in the text tower: they are images, and say nothing of the texts "
                "that are to be kept; leave references out, or tune the image side alone"
            )
        self.pegp.gather(watched(references, "PEGP: references", self.progress))
        self.pegp.extend()

    def _begin(self, strategy: SupervisedTemplate) -> None:
        """Where tasks are not told, classes are admitted as they occur."""
        experience = strategy.experience
        self.pegp.begin(set() if task_of(experience) is None else classes_of(experience))
        for parameter in self.pegp.restarted():  # momentum of a branch that is no longer trained
            strategy.optimizer.state.pop(parameter, None)

    def _gather(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Stream the experience's features."""
        loader = statistics_loader(
            strategy.experience,
            samples=self.samples,
            batch_size=strategy.eval_mb_size,
            num_workers=kwargs.get("num_workers", 0),
            seed=self.pegp.memory.experiences,
        )
        batches = watched(loader, "PEGP: gathering", self.progress)
        self.pegp.gather(batches, lambda batch: predict(strategy, batch))
