"""Trying whether trained layers act through their own calls alone, as every condition takes it.

A condition is about the features that a layer is called with. A weight that is also read elsewhere,
as by ``F.linear(other, layer.weight)``, acts on features that no hook sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.hooks import watching
from avl_pegp.projection.classifier_search import UnknownClassifierError
from avl_pegp.projection.nested import first_sample, samples_in, tensors_in
from avl_pegp.projection.sites import Site, tried_on_product_alone

_ROUNDING = 1e3  # times machine epsilon: what the same computation may differ by


@torch.no_grad()
def require_own_calls(
    model: nn.Module,
    sites: Mapping[str, Site],
    run: Callable[[], Any],
    noted: Calls | None = None,
) -> None:
    """Refuse layers whose weights reach the output past the layers' own calls.

    The model runs twice on the same input. The second time every weight is changed, but each layer
    gives what it gave: what now differs, in the outputs or before a layer, came another way. Weights
    are put back to the bit. Modules that say themselves what they are contracted with are taken at
    their word.

    Args:
        model: in eval mode.
        sites: those to try.
        run: runs the model; what it returns is compared, and what the model gives.
        noted: a run on more samples of which this is the first; it spares the first of the two runs
            where a sample's values do not depend on the others.

    Raises:
        ValueError: names those layers; or the model gives other outputs for the same input.
    """
    tried = linear_layers(sites)
    if noted is not None and not noted.otherwise and not noted.differ(run, tried):
        return
    calls = Calls(model, tried)
    calls.note(run)
    if not calls.otherwise and not calls.differ(run, calls.called):
        return
    if not calls.otherwise and calls.differ(run, {}):
        raise ValueError(
            f"{type(model).__name__} gives other outputs for the same input in eval mode, so that "
            "there are no old answers to keep: turn off what is random"
        )
    guilty = sorted(calls.otherwise) or [
        name for name, site in calls.called.items() if calls.differ(run, {name: site})
    ]
    raise ValueError(
        f"the weight of {', '.join(guilty or calls.called)} also acts on the output past the layer's "
        "own calls, as where F.linear reads layer.weight, or where a hook or functional_call normalises "
        "it: features there can't be seen, and answers on old inputs would drift. Call the layer itself "
        "there and as it is, freeze it, or exclude=(name,)"
    )


@torch.no_grad()
def require_unread(sites: Mapping[str, Site], run: Callable[[], Any]) -> None:
    """Refuse layers that a run never called, but whose weights change its answers.

    Args:
        sites: those that were not called.
        run: runs the model.

    Raises:
        ValueError: names those layers; or the run gives no tensor that could tell.
    """
    before = [tensor.clone() for tensor in tensors_in(run())]
    if not before:
        raise ValueError(
            f"the forward pass never called {', '.join(sites)}, and forward(batch) returns no tensor "
            "that could tell whether their weights are read from outside: let it return the model's "
            "answers"
        )

    def shows(changed: Mapping[str, Site]) -> bool:
        with other_weights(changed):
            return not same(before, list(tensors_in(run())))

    if not shows(sites):
        return
    read = [name for name, site in sites.items() if shows({name: site})]
    raise ValueError(
        f"the forward pass never called {', '.join(read or sites)}, but its answers depend on it: such "
        "a layer's weight is read from outside, so that its features can't be seen; freeze it"
    )


class FewSamples:
    """A batch's first sample, shown as often as asked for; all of the batch where one will not do.

    Args:
        batch: a copy of its first sample is shown, as a model may write into its input.
        show: shows a batch to the model.

    Attributes:
        of: how many samples the batch has.
    """

    def __init__(self, batch: Any, show: Callable[[Any], object]) -> None:
        self.of = max(1, samples_in(batch))
        self._batch, self._show, self._takes_one = batch, show, True

    def __call__(self) -> object:
        if self._takes_one:
            try:
                return self._show(first_sample(self._batch))
            except UnknownClassifierError:
                raise
            except Exception:  # any: it is the model's own, on a batch that nobody promised to it
                self._takes_one = False
        return self._show(self._batch)


class Calls:
    """What layers received and gave in one run, call by call, and what the run itself gave.

    Args:
        model: what it gives is noted too.
        sites: the layers.
        samples: how many the run shows; of tensors of so many rows each, the first one's are noted.

    Attributes:
        otherwise: layers whose calls used other weights than their own, whose hooks use them too, or
            whose weights the run changed.
    """

    def __init__(self, model: nn.Module, sites: Mapping[str, Site], samples: int = 1) -> None:
        self._model, self._sites, self._samples = model, sites, samples
        self._calls: dict[str, list[tuple[list[Tensor], Tensor]]] = {}
        self._given: list[Tensor] = []
        self.otherwise: set[str] = set()

    @property
    def called(self) -> dict[str, Site]:
        """The layers that the run called."""
        return {name: site for name, site in self._sites.items() if name in self._calls}

    def note(self, run: Callable[[], Any]) -> None:
        """Run the model, and note it. Weights that it changes itself are put back."""
        own = {name: list(site.parameters().values()) for name, site in self._sites.items()}
        kept = {name: [p.clone() for p in parameters] for name, parameters in own.items()}

        def see(name: str, module: nn.Module, args: Any, output: Tensor) -> None:
            received = [self._first(x) for x in tensors_in(args)]
            self._calls.setdefault(name, []).append((received, self._first(output)))
            site = self._sites[name]
            if module is site.module:  # and no copy on another device
                weights = site.parameters().values()
                if any(now is not p for now, p in zip(weights, own[name], strict=True)):
                    self.otherwise.add(name)  # as within functional_call
                elif _is_hooked(module) and not same([_plain(module, args)], [output]):
                    hooked[name] = module

        hooked: dict[str, Any] = {}
        with watching(_modules(self._sites), after=see):
            self._given = [self._first(x) for x in _given(self._model, run)]
        self.otherwise |= {n for n, module in hooked.items() if not tried_on_product_alone(module)}
        for name, parameters in own.items():
            for p, value in zip(parameters, kept[name], strict=True):
                if not torch.equal(p, value):
                    self.otherwise.add(name)
                    p.copy_(value)

    def differ(self, run: Callable[[], Any], changed: Mapping[str, Site]) -> bool:
        """Whether a run with other weights of some layers shows it, though each gives what it gave."""
        past = {name: iter(calls) for name, calls in self._calls.items()}
        differences: list[str] = []

        def give(name: str, _: nn.Module, args: Any, output: Tensor) -> Tensor:
            received, given = next(past[name], ([], output))
            if given.shape != output.shape:
                differences.append(name)
                return output
            if not same(received, list(tensors_in(args))):
                differences.append(name)
            return given.clone()  # what follows may write into it

        with other_weights(changed), watching(_modules(self.called), after=give):
            given = list(_given(self._model, run))
        return bool(differences) or not same(self._given, given)

    def _first(self, x: Tensor) -> Tensor:
        share, rest = divmod(len(x) if x.dim() else 0, self._samples)
        return (x[:share] if share and not rest else x).clone()


def _is_hooked(module: nn.Module) -> bool:
    """Whether hooks of others stand at a plain linear layer; other classes were tried before."""
    return type(module).forward is nn.Linear.forward and len(module._forward_hooks) > 1


def _plain(module: Any, args: Any) -> Tensor:
    """``W x + b`` of a linear layer's call."""
    return F.linear(args[0], module.weight, module.bias)


def linear_layers(sites: Mapping[str, Site]) -> dict[str, Site]:
    """Those sites whose module is a linear layer."""
    return {name: site for name, site in sites.items() if isinstance(site.module, nn.Linear)}


def _modules(sites: Mapping[str, Site]) -> dict[str, nn.Module]:
    return {name: site.module for name, site in sites.items()}


@contextmanager
def other_weights(sites: Mapping[str, Site]) -> Iterator[None]:
    """In this block the layers have other weights of much the same size."""
    parameters = [p for site in sites.values() for p in site.parameters().values()]
    kept = [p.clone() for p in parameters]
    generator = torch.Generator().manual_seed(0)
    try:
        for p in parameters:
            size = p.norm() / p.numel() ** 0.5 + p.shape[-1] ** -0.5
            p.add_(size * torch.randn(p.shape, generator=generator).to(p))
        yield
    finally:
        for p, value in zip(parameters, kept, strict=True):
            p.copy_(value)


def _given(model: nn.Module, run: Callable[[], Any]) -> Iterator[Tensor]:
    """What the model gives in a run, and what the run itself does."""
    given: list[Any] = []
    with watching({"": model}, after=lambda *call: given.append(call[-1])):
        given.append(run())
    return tensors_in(given)


def same(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    """Whether tensors are the same but for rounding."""
    return len(before) == len(after) and all(map(_close, before, after))


def _close(before: Tensor, after: Tensor) -> bool:
    if before.shape != after.shape:
        return False
    if not before.numel() or torch.equal(before, after):
        return True
    if not before.is_floating_point():
        return False
    size = _ROUNDING * torch.finfo(before.dtype).eps * torch.nan_to_num(before).abs().max()
    return torch.allclose(before, after, rtol=0, atol=float(size), equal_nan=True)
