"""PEGP as one object for any training loop (Qiao et al., 2024, arXiv 2405.13383)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from avl_pegp.projection.buffers import StillBuffers
from avl_pegp.projection.classifier import class_numbers
from avl_pegp.projection.classifier_search import ClassifierSearch
from avl_pegp.projection.coverage import Coverage, cover
from avl_pegp.projection.energy import Energy, energies_at, require_valid
from avl_pegp.projection.gathering import Features
from avl_pegp.projection.growth import backbone_of, grown
from avl_pegp.projection.head_rows import HeadRows
from avl_pegp.projection.heads import Classifier
from avl_pegp.projection.holding import hold_gradients, hold_weights, moves_of
from avl_pegp.projection.observing import inference_state
from avl_pegp.projection.own_calls import FewSamples, require_own_calls
from avl_pegp.projection.precision import in_full_precision
from avl_pegp.projection.prompts import own_prompts, trains_text
from avl_pegp.projection.protection import Protection
from avl_pegp.projection.rebasing import rebasable_modules
from avl_pegp.projection.rounding import RoundingWatch, lengths_of
from avl_pegp.projection.state import (
    Past,
    past_from_state,
    require_same_model,
    state_from_past,
)
from avl_pegp.wrappers import named_root

Projection = Literal["step", "gradient", "none"]


class PEGP:
    """Keep what a model answers on old inputs while it is tuned on new ones.

    After each experience ``gather`` streams its features once, and ``extend`` adds the directions
    that hold ``energy`` of theirs to a basis at every site. From then on every step on a trainable
    tensor is kept orthogonal to the features that it is contracted with. At ``energy=1`` old outputs
    stay what they were but for rounding, whatever the optimizer.

    Args:
        model: with PETs attached, wrapped by peft, or any module whose trainable tensors are linear
            layers.
        energy: share of the features' energy to protect, in (0, 1]; a number, a function of the
            experience's index (from 0) such as ``LinearRise``, or a mapping from shell-style
            patterns of site names to either, of which the first that fits counts.
        project: ``"step"`` projects gradients, then the step that the optimizer made of them;
            ``"gradient"`` gradients alone, as published: exact under plain SGD only; ``"none"``
            nothing: statistics and meters only, for controls. What ``protection`` holds in part is
            taken once: with ``"step"`` from the step alone.
        classifier: path of the classifier, whose rows are under a rule of their own. ``None`` finds
            it: what ``model.get_classifier()`` gives, also behind wrappers, a head for each task as
            Avalanche's ``MultiHeadClassifier`` has them, or else the linear layer whose output is the
            logits in the first forward pass. ``False``: there is none.
        exclude: shell-style patterns of trainable tensors to leave unprotected.
        freeze_uncovered: hold tensors that no condition covers from the second experience on,
            instead of refusing them.
        protection: which directions are chosen, and how firmly they are held; by default GPM's rule.
        rebase: after each experience let LoRAs and adapters start anew beside what they have
            learned, on inputs that the old ones leave free. It wants an ``energy`` near 1.

    Raises:
        ValueError: an argument outside what is allowed; at ``begin``, a model that can't be
            protected.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 2))
        >>> optimizer = torch.optim.AdamW(model.parameters())
        >>> pegp = PEGP(model, energy=1.0)
        >>> for x in (torch.eye(4)[:2], torch.eye(4)[2:]):
        ...     pegp.begin()
        ...     for _ in range(3):
        ...         optimizer.zero_grad()
        ...         model(x).square().sum().backward()
        ...         pegp.project_gradients()
        ...         optimizer.step()
        ...         pegp.project_step()
        ...     pegp.gather([x])
        ...     pegp.extend()
        >>> pegp.ranks()  # of four inputs and a bias
        {'0': (4, 5)}
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        energy: Energy = 0.97,
        project: Projection = "step",
        classifier: Classifier = None,
        exclude: str | Collection[str] = (),
        freeze_uncovered: bool = False,
        protection: Protection | None = None,
        rebase: bool = False,
    ) -> None:
        require_valid(energy)
        if project not in get_args(Projection):
            raise ValueError(
                f"project={project!r}: must be one of {', '.join(get_args(Projection))}"
            )
        self.model = model
        self.energy, self.project = energy, project
        self.classifier = classifier
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        self.freeze_uncovered = freeze_uncovered
        self.protection = protection or Protection()
        self.rebase = rebase
        if rebase and not (self.protection.is_hard and project == "step"):
            raise ValueError(
                f"rebase=True with project={project!r} and {self.protection}: a fresh branch is kept "
                "off old inputs only where steps are projected fully; leave eta and alpha alone and "
                "use project='step'"
            )
        self.past = Past()
        self._features = Features()
        self._coverage = Coverage()
        self._begun = False
        self._classes: Collection[int] | None = None
        self._search = ClassifierSearch(classifier)
        self._rows = HeadRows({}, {}, None)
        # Weights after the latest step, where steps are held in part and each must be taken by itself.
        self._last: dict[str, Tensor] | None = None
        self._rounding = RoundingWatch()
        self._buffers = StillBuffers()

    @torch.no_grad()
    @in_full_precision
    def begin(self, classes: Collection[int] | None = None) -> None:
        """Call before training on an experience.

        Changes that anyone made to protected tensors since ``extend`` are projected too (where
        ``project="step"``). Frozen tensors must not have changed.

        Args:
            classes: the classes to be taught; ``None``: any may occur, so that from the second
                experience on every classifier row is projected.

        Raises:
            ValueError: nothing to protect, a trainable tensor that no condition covers, a
                half-precision one, batch norm in train mode, a class without a classifier row,
                ``energy`` of this experience outside (0, 1], or a model that is no longer the one
                that earlier experiences were gathered with.
        """
        self._look_over()
        self._energies()
        if self.rebase and not rebasable_modules(named_root(self.model), self._coverage.sites):
            raise ValueError("rebase=True, but the model has no LoRA or Adapter to start anew")
        self._coverage.require_still()
        for parameter in self.model.parameters():
            if not parameter.requires_grad:  # or an optimizer would step it, by decay and momentum
                parameter.grad = None
        classes = None if classes is None else class_numbers(classes)
        self._begin_rows(classes, self.project != "none")
        if classes is not None:
            self._search.begin(self.model, self._coverage.known_heads, self._classifier_found)
        self._classes = classes
        has_past = self.project != "none" and self.past.experiences > 0
        self._buffers = StillBuffers(named_root(self.model) if has_past else None)
        self._begun = True
        self.project_step()

    def admit(self, classes: Collection[int]) -> None:
        """Let more classes join those that ``begin`` was told, where they are not known before.

        Raises:
            RuntimeError: ``begin`` was not called.
            ValueError: a class without a classifier row.
        """
        self._require_begun()
        self._rows.admit(classes)

    @torch.no_grad()
    @in_full_precision
    def project_gradients(self) -> None:
        """Call between ``backward()`` (and clipping) and ``optimizer.step()``.

        Raises:
            RuntimeError: ``begin`` was not called.
            ValueError: batch norm in train mode; classes were told, but the classifier is not known;
                after the first experience, a tensor that was made trainable or replaced since
                ``begin``, or a buffer that changes in training (it is put back).
        """
        self._require_begun()
        self._coverage.require_still()
        if self.past.experiences:
            self._coverage.require_same_trained()
            self._buffers.require()
        if self._classes is not None:
            self._search.require_over(self.model, self._coverage.known_heads)
        gradients = self._coverage.gradients()
        self._rows.notice(gradients)
        if self.project == "none":
            return
        hold_gradients(self.past, self._coverage, in_part=self.project == "gradient")
        if self.past.is_hard:
            self._rows.restrict(gradients)

    @torch.no_grad()
    @in_full_precision
    def project_step(self) -> None:
        """Call after ``optimizer.step()``: weights keep only what moved in free directions.

        The classifier's rows are held to their rule in ``"gradient"`` mode as well.

        Warns:
            RoundingWarning: once, where weights have moved so far that their rounding may change old
                answers.

        Raises:
            RuntimeError: ``begin`` was not called.
            ValueError: the step left NaN or infinite weights. They are as the optimizer left them.
        """
        self._require_begun()
        if self.project == "none":
            return
        moves = moves_of(self.past, self._coverage, self._last)
        lengths = lengths_of({name: move for name, (_, move) in moves.items()}, self._coverage)
        self._rows.hold(self._coverage.tensors(), self._last)
        if self.project == "step":
            hold_weights(self.past, self._coverage, moves)
            self._rounding.look(self.past, self._coverage, lengths)
        if not self.past.is_hard:
            tensors = self._coverage.tensors().items()
            self._last = {name: tensor.clone() for name, tensor in tensors}

    @torch.inference_mode(False)
    def gather(self, loader: Iterable[Any], forward: Callable[[Any], object] | None = None) -> None:
        """Add the features of an experience to the statistics, in eval mode and without gradients.

        Autocast around it is switched off, and what was compiled runs as it was written. A site that
        no batch came to, such as an unused branch of a mixture of experts, has nothing to protect.
        Changes that anyone made to protected tensors since the last step are projected first. The first
        sample runs once more, to see that trained layers act through their own calls alone. A model
        that trains on class prompts (``model.trains_text``) is shown those of the classes that
        ``begin`` was told, by ``model.only(classes)``, and no others; all by ``model.only(None)``
        where it was told none.

        Args:
            loader: batches; the model is called on a batch's first element (or on a tensor).
            forward: called on each batch instead, where the model wants more.

        Raises:
            TypeError: a batch in which no tensor stands first, without ``forward``.
            ValueError: no batch, no sample in any, NaN or infinite features (the site is named), a
                trainable layer that the forward pass reads elsewhere than by calling it, or a
                classifier that is not known. Model, bases and statistics are then as they were.
        """
        self._look_over()
        if self._begun:
            self.project_step()
        with inference_state(self.model), own_prompts(self.model, self._classes):
            sites = self._coverage.observed()
            look, heads = self._look_for_classifier, self._coverage.heads
            self._features.gather(loader, forward, self.model, sites, look, heads)
        if not (self.past.backbone or self._features.backbone):
            self._features.backbone = backbone_of(self.model, self.past, self._coverage)

    @torch.no_grad()
    def try_calls(self, batch: Any, forward: Callable[[Any], object]) -> None:
        """See on the first sample of a batch that trained layers act through their own calls alone.

        ``gather`` does so; call it where statistics come from training, once an experience. The
        classifier is looked for too, where the model does not say what it is.

        Raises:
            ValueError: a layer whose weight is read elsewhere too (it is named), a model that gives
                other outputs for the same input, or a classifier that is not known.
        """
        show = FewSamples(batch, forward)
        with inference_state(self.model):
            self._look_for_classifier(show)
            require_own_calls(self.model, self._coverage.observed(), show)

    @contextmanager
    def gathering(self, samples: int | None = None) -> Iterator[None]:
        """A block whose one forward pass, in training, also feeds the statistics: no further pass.

        For streams that show each sample once. The weights move between batches, so that the
        statistics are approximate, except at sites above which nothing trains.

        Args:
            samples: how many of the batch count, the first ones; ``None`` for all.

        Raises:
            RuntimeError: ``begin`` was not called.
            ValueError: NaN or infinite features (the site is named), a trainable tensor that was
                replaced since ``begin``, or a model that trains on class prompts.
        """
        self._require_begun()
        if trains_text(self.model):
            raise ValueError(
                "the text side is trained in a stream whose statistics come from training: a training "
                "step shows the prompts of all classes, also of those to come; train the image side "
                "alone, or use a stream of whole experiences"
            )
        self._coverage.require_current(self.model)
        with self._features.watching(self.model, self._coverage.observed(), samples):
            yield

    @torch.inference_mode(False)
    @torch.no_grad()
    @in_full_precision
    def extend(self) -> None:
        """Call after gathering: protect the gathered features from now on.

        Raises:
            ValueError: ``energy`` of this experience is outside (0, 1], or a trainable layer was
                never called while gathering.
            RuntimeError: nothing was gathered.
        """
        heads = self._coverage.heads
        unused = heads.keys() - self._rows.in_use if len(heads) > 1 else set()
        idle = {name: heads[name] for name in unused}
        gathered = self._features.complete(self._coverage.observed(), idle)
        if self._begun:
            self.project_step()
        self.past = grown(
            replace(self.past, backbone=self.past.backbone or self._features.backbone),
            named_root(self.model),
            self._coverage,
            gathered,
            self._energies(),
            self.protection,
            self.rebase,
            self._features.call.description,
        )
        self._end()

    def restarted(self) -> list[nn.Parameter]:
        """Where branches start anew after each experience, their parameters; else none.

        What an optimizer remembers of them is about the branch before: drop it after ``begin``, as
        by ``optimizer.state.pop(parameter, None)``.
        """
        modules = (
            rebasable_modules(named_root(self.model), self._coverage.sites) if self.rebase else {}
        )
        return [p for module in modules.values() for p in module.parameters() if p.requires_grad]

    @property
    def coverage(self) -> Coverage:
        """Which condition covers which trainable tensor, as of the latest ``begin`` or ``gather``."""
        return self._coverage

    def ranks(self) -> dict[str, tuple[int, int]]:
        """For each site: protected directions, and all there are. Empty before ``extend``."""
        return {name: (m.rank, m.dimension) for name, m in self.past.memories.items()}

    @torch.no_grad()
    @in_full_precision
    def drift(self) -> dict[str, float]:
        """For each site: relative squared change of its own map on all gathered features.

        Each experience counts since it was learned. Exact where the site's input is unchanged, a
        diagnostic deeper in the model; NaN where the map gave zero on them: under ``rebase``
        at both maps of every branch. No old data is needed.
        """
        sites, tensors = self._coverage.sites, self._coverage.tensors()
        return {n: m.drift(sites[n].read(tensors)) for n, m in self.past.memories.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything learned about the past, as tensors, numbers, lists and dicts.

        ``torch.load(..., weights_only=True)`` reads it back. Statistics gathered but not yet
        extended are left out. Save between experiences where ``protection`` holds in part: the state
        cannot tell its steps within one from the weights of another model.
        """
        return state_from_past(self.past, self._coverage)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` left off, by ``begin``. Load the model's weights first.

        Raises:
            ValueError: the state is damaged, or not of this model: other frozen weights, modules set
                up otherwise, or other answers on a made input. Nothing is then taken over.
        """
        search = ClassifierSearch(self.classifier)
        search.restore(state)
        coverage = cover(self.model, search.classifier, self.exclude, self.freeze_uncovered)
        check_weights = self.project == "step"
        self.past = past_from_state(state, named_root(self.model), coverage, check_weights)
        self._coverage, self._search = coverage, search
        self._end()

    def _end(self) -> None:
        """The experience is over."""
        self._search.end()
        self._features, self._begun, self._classes, self._last = Features(), False, None, None

    def _look_over(self) -> None:
        if self._features.moments:
            self._coverage.require_current(self.model)
        coverage = self._covered()
        require_same_model(self.past, named_root(self.model), coverage)
        self._coverage = coverage

    def _covered(self) -> Coverage:
        return cover(self.model, self._search.classifier, self.exclude, self.freeze_uncovered)

    def _look_for_classifier(self, run: Callable[[], object]) -> None:
        """Where it is wanted and not known yet, run the model to see it."""
        if not (self._begun and self._classes is None) and not self._coverage.is_known:
            self._search.begin(self.model, None, self._classifier_found)
            try:
                run()
            finally:
                self._search.end()
            self._search.require_over(self.model, self._coverage.known_heads)

    @torch.no_grad()
    def _classifier_found(self) -> None:
        """A forward pass has shown what the classifier is; nothing has been trained since ``begin``."""
        self._look_over()
        if self._begun:
            self._begin_rows(
                self._classes, project=False
            )  # the pass goes on with the weights as they are

    def _begin_rows(self, classes: Collection[int] | None, project: bool) -> None:
        """Put the rows of every head under the rule of this experience's classes."""
        rows = HeadRows(self._coverage.heads, self.past.rows, classes)
        rows.begin(self._coverage.tensors(), self._last, project)
        self._rows = rows

    def _energies(self) -> dict[str, float]:
        """The energy of every site and of the classifier, in this experience."""
        return energies_at(self.energy, self._coverage.observed(), self.past.experiences)

    def _require_begun(self) -> None:
        if not self._begun:
            raise RuntimeError("call begin() before training on an experience, also after extend()")
