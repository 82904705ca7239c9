"""PEGP as one object for any training loop (Qiao et al., 2024, arXiv 2405.13383)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from avl_pegp.projection.buffers import StillBuffers
from avl_pegp.projection.classifier_rows import HeadRows, class_numbers
from avl_pegp.projection.classifier_search import ClassifierSearch
from avl_pegp.projection.coverage import Coverage, cover
from avl_pegp.projection.gathering import Features
from avl_pegp.projection.memory import Memory, restartable_branches
from avl_pegp.projection.own_calls import FewSamples, require_own_calls
from avl_pegp.projection.rounding import RoundingWatch, lengths_of
from avl_pegp.projection.running import in_full_precision, inference_state
from avl_pegp.projection.same_model import present_settings, require_same_model
from avl_pegp.projection.settings import Settings, SettingsArguments, energies_at
from avl_pegp.projection.state import memory_from_state, memory_to_state
from avl_pegp.protocols import ClassPrompted
from avl_pegp.wrappers import named_root, unwrapped


class PEGP:
    """Keep what a model answers on old inputs while it is tuned on new ones.

    After each experience ``gather`` streams its features once, and ``extend`` adds the directions
    that hold ``energy`` of theirs to a basis at every site. From then on every step on a trainable
    tensor is kept orthogonal to the features that it is contracted with. At ``energy=1`` old outputs
    stay what they were but for rounding, whatever the optimizer.

    Args:
        model: with PETs attached, wrapped by peft, or any module whose trainable tensors are linear
            layers.
        settings: those of ``Settings``: ``energy``, ``project``, ``classifier``, ``exclude``,
            ``freeze_uncovered``, ``protection``, ``rebase``.

    Attributes:
        memory: what is remembered of earlier experiences.
        settings: as given.

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

    def __init__(self, model: nn.Module, **settings: Unpack[SettingsArguments]) -> None:
        self.model, self.settings = model, Settings(**settings)
        self.memory = Memory()
        self._coverage = Coverage()
        self._search = ClassifierSearch(self.settings.classifier)
        self._rounding = RoundingWatch()
        # Of the present experience.
        self._features, self._begun = Features(), False
        self._classes: Collection[int] | None = None
        self._rows = HeadRows({}, {}, None, {})
        # Weights after the latest step, where steps are held in part and each must be taken by itself.
        self._last: dict[str, Tensor] | None = None
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
        if self.settings.rebase and not self._branches():
            raise ValueError("rebase=True, but the model has no LoRA or Adapter to start anew")
        self._coverage.require_still()
        for parameter in self.model.parameters():
            if not parameter.requires_grad:  # or an optimizer would step it, by decay and momentum
                parameter.grad = None
        classes = None if classes is None else class_numbers(classes)
        self._begin_rows(classes)
        is_held = self.settings.project != "none"
        if is_held:
            self._rows.begin(self._coverage.tensors())
        if classes is not None:
            self._search.begin(self.model, self._coverage.known_heads, self._classifier_found)
        self._classes = classes
        has_past = is_held and self.memory.experiences > 0
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
        if self.memory.experiences:
            self._coverage.require_same_trained()
            self._buffers.require()
        if self._classes is not None:
            self._search.require_over(self.model, self._coverage.known_heads)
        gradients = self._coverage.gradients()
        self._rows.notice(gradients)
        if self.settings.project == "none":
            return
        in_part = self.settings.project == "gradient"
        self.memory.project_gradients(self._coverage, in_part)
        if self.memory.is_hard:
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
        if self.settings.project == "none":
            return
        moves = self.memory.moves(self._coverage, self._last)
        lengths = lengths_of({name: move for name, (_, move) in moves.items()}, self._coverage)
        self._rows.hold(self._coverage.tensors(), self._last)
        if self.settings.project == "step":
            self.memory.project_weights(self._coverage, moves)
            self._rounding.look(self.memory, self._coverage, lengths)
        if not self.memory.is_hard:
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
        with inference_state(self.model), self._own_prompts():
            sites = self._coverage.observed()
            look, heads = self._look_for_classifier, self._coverage.heads
            self._features.gather(loader, forward, self.model, sites, look, heads)
        if not self.memory.backbone:
            self._features.note_frozen(self.memory.rest_of(self.model, self._coverage))

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
        if self.trains_text:
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
            ValueError: ``energy`` of this experience is outside (0, 1], a trainable layer was never
                called while gathering, or frozen weights have changed since.
            RuntimeError: nothing was gathered.
        """
        heads = self._coverage.heads
        unused = heads.keys() - self._rows.in_use if len(heads) > 1 else set()
        idle = {name: heads[name] for name in unused}
        gathered = self._features.complete(self._coverage.observed(), idle)
        if self._begun:
            self.project_step()
        model, coverage, rule = named_root(self.model), self._coverage, self.settings.rule
        coverage.require_current(model)
        taught = self._rows.taught if self._begun else {}
        if not self.memory.backbone:
            self._features.require_frozen(self.memory.rest_of(model, coverage))
        memory = self.memory.extend(coverage, gathered, taught, self._energies(), rule)
        if self.settings.rebase:
            require_same_model(self.memory, model, coverage)
            draw = self.memory.experiences
            memory = memory.merge_and_restart(self._branches(), coverage, rule, draw)
        call = self._features.call.description
        self.memory = memory.of_model(model, coverage, present_settings(model, coverage), call)
        self._end()

    def restarted(self) -> list[nn.Parameter]:
        """Where branches start anew after each experience, their parameters; else none.

        What an optimizer remembers of them is about the branch before: drop it after ``begin``, as
        by ``optimizer.state.pop(parameter, None)``.
        """
        branches = self._branches().values() if self.settings.rebase else ()
        return [p for branch in branches for p in branch.parameters() if p.requires_grad]

    @property
    def coverage(self) -> Coverage:
        """Which condition covers which trainable tensor, as of the latest ``begin`` or ``gather``."""
        return self._coverage

    def ranks(self) -> dict[str, tuple[int, int]]:
        """For each site: protected directions, and all there are. Empty before ``extend``."""
        return {name: (m.rank, m.dimension) for name, m in self.memory.sites.items()}

    @torch.no_grad()
    @in_full_precision
    def drift(self) -> dict[str, float]:
        """For each site: relative squared change of its own map on all gathered features.

        Each experience counts since it was learned. Exact where the site's input is unchanged, a
        diagnostic deeper in the model; NaN where the map gave zero on them: under ``rebase``
        at both maps of every branch. No old data is needed.
        """
        sites, tensors = self._coverage.sites, self._coverage.tensors()
        return {n: m.drift(sites[n].read(tensors)) for n, m in self.memory.sites.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything learned about the past, as tensors, numbers, lists and dicts.

        ``torch.load(..., weights_only=True)`` reads it back. Statistics gathered but not yet
        extended are left out. Save between experiences where ``protection`` holds in part: the state
        cannot tell its steps within one from the weights of another model.
        """
        return memory_to_state(self.memory, self._coverage)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` left off, by ``begin``. Load the model's weights first.

        Raises:
            ValueError: the state is damaged, or not of this model: other frozen weights, modules set
                up otherwise, or other answers on a made input. Nothing is then taken over.
        """
        search = ClassifierSearch(self.settings.classifier)
        search.restore(state)
        coverage = self._covered(search)
        check_weights = self.settings.project == "step"
        self.memory = memory_from_state(state, named_root(self.model), coverage, check_weights)
        self._coverage, self._search = coverage, search
        self._end()

    def _end(self) -> None:
        """The experience is over."""
        self._search.end()
        self._features, self._begun, self._classes, self._last = Features(), False, None, None

    def _look_over(self) -> None:
        if self._features.moments:
            self._coverage.require_current(self.model)
        coverage = self._covered(self._search)
        require_same_model(self.memory, named_root(self.model), coverage)
        self._coverage = coverage

    def _covered(self, search: ClassifierSearch) -> Coverage:
        chosen = self.settings
        return cover(self.model, search.classifier, chosen.excluded, chosen.freeze_uncovered)

    def _branches(self) -> dict[str, Any]:
        """The branches that can be merged and restarted, by path."""
        return restartable_branches(named_root(self.model), self._coverage.sites)

    @property
    def trains_text(self) -> bool:
        """Whether the model trains on class prompts."""
        model = unwrapped(self.model)
        return isinstance(model, ClassPrompted) and model.trains_text

    def _own_prompts(self) -> AbstractContextManager[None]:
        """Where class prompts are trained on, a block with those of the experience's classes alone."""
        model: Any = unwrapped(self.model)
        return model.only(self._classes) if self.trains_text else nullcontext()

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
            self._begin_rows(self._classes)  # the pass goes on with the weights as they are

    def _begin_rows(self, classes: Collection[int] | None) -> None:
        """Put the rows of every head under the rule of this experience's classes."""
        coverage, last = self._coverage, self._last
        memories, tensors = self.memory.heads, coverage.tensors()
        self._rows = HeadRows(coverage.heads, memories, classes, tensors, last)

    def _energies(self) -> dict[str, float]:
        """The energy of every site and of the classifier, in this experience."""
        return energies_at(self.settings.energy, self._coverage.observed(), self.memory.experiences)

    def _require_begun(self) -> None:
        if not self._begun:
            raise RuntimeError("call begin() before training on an experience, also after extend()")
