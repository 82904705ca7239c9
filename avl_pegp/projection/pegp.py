"""PEGP as one object for any training loop (Qiao et al., 2024, arXiv 2405.13383)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from avl_pegp.projection.bases import require_energy
from avl_pegp.projection.classifier import ClassifierRows, find_classifier
from avl_pegp.projection.memory import SiteMemory, extended
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.observing import Observer, inference_state
from avl_pegp.projection.sites import (
    Site,
    find_sites,
    linear_site,
    matching,
    require_full_precision,
    require_still,
    running_norms,
    uncovered_tensors,
)
from avl_pegp.projection.state import restore, state_of

Energy = float | Callable[[int], float]
Projection = Literal["step", "gradient", "none"]
_CLASSIFIER = "(classifier)"


class PEGP:
    """Keep what a model answers on old inputs while it is tuned on new ones.

    After each experience ``gather`` streams its features once, and ``extend`` adds the directions
    that hold ``energy`` of theirs to a basis at every site. From then on every step on a trainable
    tensor is kept orthogonal to the features that it is contracted with. At ``energy=1`` old outputs
    stay what they were but for rounding, whatever the optimizer.

    Args:
        model: with PETs attached, wrapped by peft, or any module whose trainable tensors are linear
            layers.
        energy: share of the features' energy to protect, in (0, 1]; a number, or a function of the
            experience's index (from 0).
        project: ``"step"`` projects gradients, then the step that the optimizer made of them;
            ``"gradient"`` gradients alone, as published: exact under plain SGD only; ``"none"``
            nothing: statistics and meters only, for controls.
        classifier: path of the classifier, whose rows are under a rule of their own; ``None`` takes
            ``model.get_classifier()`` where there is one.
        exclude: shell-style patterns of trainable tensors to leave unprotected.
        freeze_uncovered: hold tensors that no condition covers from the second experience on,
            instead of refusing them.

    Raises:
        ValueError: an argument outside what is allowed; at ``begin``, a model that can't be
            protected.

    Example:
        >>> pegp = PEGP(model, energy=0.97)                           # doctest: +SKIP
        >>> for loader, classes in experiences:                       # doctest: +SKIP
        ...     pegp.begin(classes)
        ...     for x, y in loader:
        ...         optimizer.zero_grad()
        ...         loss(model(x), y).backward()
        ...         pegp.project_gradients()
        ...         optimizer.step()
        ...         pegp.project_step()
        ...     pegp.gather(loader)
        ...     pegp.extend()
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        energy: Energy = 0.97,
        project: Projection = "step",
        classifier: str | None = None,
        exclude: Collection[str] = (),
        freeze_uncovered: bool = False,
    ) -> None:
        if not callable(energy):
            require_energy(energy)
        if project not in get_args(Projection):
            raise ValueError(
                f"project={project!r}: must be one of {', '.join(get_args(Projection))}"
            )
        self.model = model
        self.energy, self.project = energy, project
        self.classifier, self.exclude = classifier, tuple(exclude)
        self.freeze_uncovered = freeze_uncovered
        self.experience = 0
        self.memories: dict[str, SiteMemory] = {}
        self.rows = ClassifierRows()
        self.frozen: dict[str, Tensor] = {}
        self._gathered: dict[str, Moment] = {}
        self._sites: dict[str, Site] = {}
        self._head: Site | None = None
        self._trained: dict[str, nn.Parameter] = {}
        self._norms: dict[str, nn.Module] = {}

    # ------------------------------------------------------------------ one experience

    @torch.no_grad()
    def begin(self, classes: Collection[int] | None = None) -> None:
        """Call before training on an experience.

        Changes made to protected tensors since ``extend`` by anyone are projected too.

        Args:
            classes: the classes to be taught; ``None``: any may occur, so that from the second
                experience on every classifier row is projected.

        Raises:
            ValueError: nothing to protect, a trainable tensor that no condition covers, a
                half-precision one, batch norm in train mode, a class without a classifier row.
        """
        require_full_precision(self.model)
        self._look_over()
        self._norms = running_norms(self.model)
        require_still(self._norms)
        if self._head is not None:
            rows = self._head.read(self._tensors())[0]
            self._head.write(self.rows.begin(rows, classes)[None], self._tensors())
        self.project_step()

    @torch.no_grad()
    def project_gradients(self) -> None:
        """Call between ``backward()`` (and clipping) and ``optimizer.step()``."""
        require_still(self._norms)
        if self.project == "none":
            return
        for name in self.frozen:
            self._trained[name].grad = None
        gradients = {n: p.grad for n, p in self._trained.items() if p.grad is not None}
        for name, memory in self.memories.items():
            site = self._sites[name]
            if site.tensors <= gradients.keys():
                site.write(memory.project(site.read(gradients)), gradients)
        head = self._head
        if head is not None and head.tensors <= gradients.keys():
            head.write(self.rows.restrict(head.read(gradients)[0])[None], gradients)

    @torch.no_grad()
    def project_step(self) -> None:
        """Call after ``optimizer.step()``: the weights keep only what moved in free directions."""
        if self.project == "none":
            return
        tensors = self._tensors()
        if self._head is not None:
            rows = self.rows.kept(self._head.read(tensors)[0])
            self._head.write(rows[None], tensors)
        if self.project == "gradient":
            return
        for name, reference in self.frozen.items():
            tensors[name].copy_(reference)
        for name, memory in self.memories.items():
            site = self._sites[name]
            site.write(memory.kept(site.read(tensors)), tensors)

    def gather(self, loader: Iterable[Any], forward: Callable[[Any], object] | None = None) -> None:
        """Add the features of an experience to the statistics, in eval mode and without gradients.

        Args:
            loader: batches; the model is called on a batch's first element (or on a tensor).
            forward: called on each batch instead, where the model wants more.

        Raises:
            ValueError: no batch, NaN or infinite features (the site is named), or a trainable layer
                that the forward pass never calls. Model, bases and statistics are then as they were.
        """
        self._look_over()
        observed = {name: (site.module, site.groups) for name, site in self._sites.items()}
        if self._head is not None:
            observed[_CLASSIFIER] = (self._head.module, 1)
        observer = Observer(observed, self._gathered)
        with inference_state(self.model), observer.watching():
            for batch in loader:
                self._forward(batch) if forward is None else forward(batch)
                observer.end_of_batch()
        if not observer.moments:
            raise ValueError("gather(loader): the loader gave no batch; give the experience's data")
        silent = [name for name in observed if name not in observer.moments]
        if silent:
            raise ValueError(
                f"the forward pass never called {', '.join(silent)}: such a layer's weight is read "
                "from outside, so that its features can't be seen; freeze it"
            )
        self._gathered = observer.moments

    @torch.no_grad()
    def extend(self) -> None:
        """Call after ``gather``: protect the gathered features from now on.

        Raises:
            ValueError: ``energy`` of this experience is outside (0, 1].
            RuntimeError: nothing was gathered.
        """
        if not self._gathered:
            raise RuntimeError("extend() without statistics: call gather(loader) first")
        energy = self.energy(self.experience) if callable(self.energy) else self.energy
        energy = require_energy(energy)
        tensors = self._tensors()
        totals: dict[tuple[int, int], Moment] = {}
        memories: dict[str, SiteMemory] = {}
        for name, site in self._sites.items():
            memory, new = self.memories.get(name), self._gathered[name]
            key = (id(memory and memory.moment), id(new))
            if key not in totals:  # sites that always saw the same tensor go on sharing one moment
                totals[key] = new if memory is None else memory.moment + new
            memories[name] = extended(memory, site.read(tensors), new, totals[key], energy)
        if self._head is not None:
            rows = self._head.read(tensors)[0]
            self.rows = self.rows.extended(rows, self._gathered[_CLASSIFIER], energy)
        self.frozen = {name: tensors[name].clone() for name in self._uncovered}
        self.memories, self._gathered = memories, {}
        self.experience += 1

    # ------------------------------------------------------------------ what can be asked

    def ranks(self) -> dict[str, tuple[int, int]]:
        """For each site: protected directions, and all there are. Empty before the first ``extend``."""
        return {name: (m.rank, m.dimension) for name, m in self.memories.items()}

    @torch.no_grad()
    def drift(self) -> dict[str, float]:
        """For each site: relative squared change of its own map on all gathered features.

        Each experience counts since it was learned. Exact where the site's input is unchanged, a
        diagnostic deeper in the model; NaN where the map gave zero. No old data is needed.
        """
        tensors = self._tensors()
        return {n: m.drift(self._sites[n].read(tensors)) for n, m in self.memories.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything learned about the past, as tensors, numbers, lists and dicts.

        ``torch.load(..., weights_only=True)`` reads it back. Statistics gathered but not yet extended
        are left out.
        """
        return state_of(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` left off. Load the model's weights first.

        Raises:
            ValueError: the state is not of this model. Nothing is then taken over.
        """
        self._look_over()
        restore(self, state)

    # ------------------------------------------------------------------ inner workings

    def _look_over(self) -> None:
        """Look the model over, as it may have grown or frozen something since."""
        trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        layer = find_classifier(self.model, self.classifier)
        head = None if layer is None else linear_site(self.model, layer)
        ignored = matching(trained, self.exclude) | (head.tensors if head else set())
        sites = find_sites(self.model, ignored)
        if not sites:
            raise ValueError(
                f"{type(self.model).__name__} has no trainable PET or linear layer to protect: "
                "attach(model, LoRA(...)) first, or make a layer trainable"
            )
        uncovered = uncovered_tensors(self.model, sites.values(), ignored)
        if uncovered and not self.freeze_uncovered:
            raise ValueError(
                f"no condition covers the trainable {', '.join(uncovered)}: freeze it "
                "(requires_grad_(False)), leave it unprotected by exclude=(name,), or train it in "
                "the first experience only by freeze_uncovered=True"
            )
        gone = self.memories.keys() - sites.keys()
        if gone:
            raise ValueError(
                f"the bases are for {', '.join(sorted(gone))}, which the model no longer trains: use "
                "a fresh PEGP after changing what is trainable"
            )
        self._sites, self._head, self._uncovered, self._trained = sites, head, uncovered, trained

    def _tensors(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self._trained.items()}

    def _forward(self, batch: Any) -> None:
        x = batch[0] if isinstance(batch, list | tuple) else batch
        self.model(x.to(next(self.model.parameters()).device))
