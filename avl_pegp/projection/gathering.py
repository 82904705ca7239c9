"""The features of an experience: gathered in a pass of their own, or while it is trained on.

A site that is not called may be a branch that these inputs do not take: then nothing of it is theirs
to protect. Or its weight is read from outside, so that its features can't be seen: then the model is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from avl_pegp.fingerprint import sums_of
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.observing import Observer
from avl_pegp.projection.own_calls import (
    Calls,
    FewSamples,
    linear_layers,
    require_own_calls,
    require_unread,
)
from avl_pegp.projection.probe import FirstCall
from avl_pegp.projection.running import nothing_compiled
from avl_pegp.projection.sites import Site


class Features:
    """What the sites of a model received in the present experience, as moments.

    Attributes:
        moments: by site and by head of the classifier.
        call: the first call of the model.
    """

    def __init__(self) -> None:
        self.moments: dict[str, Moment] = {}
        self.call = FirstCall()
        self._frozen: list[int] | None = None

    def gather(
        self,
        loader: Iterable[Any],
        forward: Callable[[Any], object] | None,
        model: nn.Module,
        sites: Mapping[str, Site],
        look: Callable[[Callable[[], object]], None],
        heads: Collection[str],
    ) -> None:
        """Add those of a pass over all batches, once it went well; see ``gather_all``.

        Raises:
            ValueError: as ``gather_all`` does; or a model's only head had no feature.
        """
        observer = self._observer(sites)
        with observer.watching():
            gather_all(loader, forward, model, observer, sites, look, self.call)
        for name in heads if len(heads) == 1 else ():
            if not observer.moments[name].count.any():
                raise ValueError(
                    f"gather(loader): the classifier {name} was never called, so that not all of the "
                    "model ran: let forward(batch) call the model itself, or freeze the classifier"
                )
        self.moments = observer.moments

    @contextmanager
    def watching(
        self, model: nn.Module, sites: Mapping[str, Site], samples: int | None
    ) -> Iterator[None]:
        """A block whose one forward pass adds its features, of the first ``samples`` of the batch."""
        observer = self._observer(sites, samples)
        with observer.watching(), self.call.watching(model), nothing_compiled():
            yield
        observer.end_of_batch()
        self.moments = observer.moments

    def note_frozen(self, tensors: Mapping[str, Tensor]) -> None:
        """Note which frozen tensors these features come from."""
        self._frozen = sums_of(tensors)

    def require_frozen(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise ValueError where frozen tensors are others than were noted, if any were."""
        if self._frozen is not None and self._frozen != sums_of(tensors):
            raise ValueError(
                "the frozen weights have changed since gather(), as when peft's merging is undone: the "
                "features are another model's. Begin with a fresh PEGP, and merge a copy"
            )

    def complete(self, sites: Mapping[str, Site], idle: Mapping[str, Site]) -> dict[str, Moment]:
        """The moments of all sites; idle ones, of which none need be there, have no rows.

        Raises:
            RuntimeError: nothing was gathered.
            ValueError: a site was never called.
        """
        if not any(moment.count.any() for moment in self.moments.values()):
            raise RuntimeError("extend() without statistics: call gather(loader) first")
        moments = {**{name: _of_no_rows(site) for name, site in idle.items()}, **self.moments}
        silent = [name for name in sites if name not in moments]
        if silent:
            raise ValueError(
                f"the forward pass never called {', '.join(silent)}: such a layer's weight is read "
                "from outside, so that its features can't be seen; freeze it"
            )
        return moments

    def _observer(self, sites: Mapping[str, Site], samples: int | None = None) -> Observer:
        modules = {name: (site.module, site.groups) for name, site in sites.items()}
        return Observer(modules, self.moments, samples)


def gather_all(
    loader: Iterable[Any],
    forward: Callable[[Any], object] | None,
    model: nn.Module,
    observer: Observer,
    sites: Mapping[str, Site],
    look: Callable[[Callable[[], object]], None],
    call: FirstCall,
) -> None:
    """Let an observer, which is watching, see every batch.

    Args:
        loader: batches; the model is called on a batch's first element (or on a tensor).
        forward: called on each batch instead.
        model: in eval mode.
        observer: what it has seen of the sites is in its moments afterwards.
        sites: those that it watches.
        look: called before all with a call that shows the first sample.
        call: notes the first call of the model after that.

    Raises:
        TypeError: a batch that holds no tensor where one is looked for.
        ValueError: no batch, no sample in any, or a layer that is read past its own calls.
    """
    batches, tried = 0, False
    for batch in loader:
        batches += 1
        show = _shown(batch, model, forward)
        if show is None:
            continue
        few = FewSamples(batch, partial(_show, model, forward))
        if tried:
            show()
        else:
            tried = True
            with observer.paused():
                look(few)
            calls = Calls(model, linear_layers(sites), few.of)
            with call.watching(model):
                calls.note(show)
            with observer.paused():
                require_own_calls(model, sites, few, calls)
        observer.end_of_batch()
        silent = {name: site for name, site in sites.items() if name not in observer.called}
        if silent:
            with observer.paused():
                require_unread(silent, few)
    if not observer.saw_rows:
        none = "no batch had a sample" if batches else "the loader gave no batch"
        raise ValueError(
            f"gather(loader): {none}, so that nothing would be protected; give the experience's data"
        )
    for name, site in sites.items():
        if name not in observer.moments:
            observer.moments[name] = _of_no_rows(site)


def _shown(
    batch: Any, model: nn.Module, forward: Callable[[Any], object] | None
) -> Callable[[], object] | None:
    """The model's call on a batch; ``None`` where the batch has no sample."""
    if forward is not None:
        return partial(forward, batch)
    x = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(x, Tensor):
        found, how = f"is a {type(batch).__name__}", "model(torch.as_tensor(batch))"
        if isinstance(batch, Mapping):
            found = f"is a mapping with {', '.join(map(str, batch))}"
            how = "model(**batch)"
        elif x is not batch:
            found = f"is a {type(batch).__name__} that begins with a {type(x).__name__}"
            how = "model(batch[0], batch[1])"
        raise TypeError(
            f"gather(loader): a batch {found}; it must be a tensor, or a list or tuple that begins "
            f"with one. Convert it, or say how the model is called: forward=lambda batch: {how}"
        )
    if x.dim() and not len(x):
        return None
    # A copy of a tensor from inference mode: the model may change its input in place.
    x = x.clone() if x.is_inference() else x
    return partial(model, x.to(next(model.parameters()).device))


def _show(model: nn.Module, forward: Callable[[Any], object] | None, batch: Any) -> object:
    """What the model makes of a batch, or nothing of none."""
    show = _shown(batch, model, forward)
    return None if show is None else show()


def _of_no_rows(site: Site) -> Moment:
    """The moment of a site to which no feature came."""
    weight = cast(Tensor, site.module.weight)
    width = weight.shape[-2 if site.transposed else -1]
    return Moment.empty(width, site.groups, device=weight.device)
