"""Trying whether trained layers act through their own calls alone, as every condition takes it.

A condition is about the features that a layer is called with. A weight that is also read elsewhere, as by
``F.linear(other, layer.weight)``, acts on features that no hook sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.projection.sites import Site

_ROUNDING = 1e3  # times machine epsilon: what the same computation may differ by


@torch.no_grad()
def require_own_calls(model: nn.Module, sites: Mapping[str, Site], run: Callable[[], Any]) -> None:
    """Refuse layers whose weights reach the output past the layers' own calls.

    The model runs twice on the same input. The second time every weight is changed, but each layer's
    output is put back to what it was: what now differs came another way. Weights are put back to the
    bit. Modules that say themselves what they are contracted with are taken at their word.

    Args:
        model: in eval mode.
        sites: those to try.
        run: runs the model; what it returns is compared, and what the model gives.

    Raises:
        ValueError: names those layers; or the model gives other outputs for the same input.
    """
    tried = {name: site for name, site in sites.items() if isinstance(site.module, nn.Linear)}
    outputs: dict[str, list[Tensor]] = {name: [] for name in tried}
    with _hooks(tried, partial(_note, outputs)):
        before = _tensors_of(model, run)
    passed = {name: site for name, site in tried.items() if outputs[name]}
    again = partial(_changed, model, run, before, outputs)
    if not again(passed):
        return
    if again({}):
        raise ValueError(
            f"{type(model).__name__} gives other outputs for the same input in eval mode, so that "
            "there are no old answers to keep: turn off what is random"
        )
    guilty = [name for name, site in passed.items() if again({name: site})]
    raise ValueError(
        f"the weight of {', '.join(guilty or passed)} also acts on the output past the layer's own "
        "calls, as where F.linear reads layer.weight: features there can't be seen, and answers on old "
        "inputs would drift. Call the layer itself there, freeze it, or exclude=(name,)"
    )


def _changed(
    model: nn.Module,
    run: Callable[[], Any],
    before: Sequence[Tensor],
    outputs: Mapping[str, Sequence[Tensor]],
    sites: Mapping[str, Site],
) -> bool:
    """Whether changed weights of these sites show, though their layers give what they gave."""
    given = {name: iter(outputs[name]) for name in sites}
    with _other_weights(sites), _hooks(sites, partial(_put_back, given)):
        after = _tensors_of(model, run)
    return len(after) != len(before) or any(map(_differ, before, after))


@contextmanager
def _hooks(sites: Mapping[str, Site], hook: Callable[..., Any]) -> Iterator[None]:
    """In this block the hook is called after each of the layers, with the site's name first."""
    with ExitStack() as stack:
        for name, site in sites.items():
            stack.callback(site.module.register_forward_hook(partial(hook, name)).remove)
        yield


def _note(outputs: dict[str, list[Tensor]], name: str, _: Any, __: Any, output: Tensor) -> None:
    outputs[name].append(output.clone())


def _put_back(
    given: Mapping[str, Iterator[Tensor]], name: str, _: Any, __: Any, output: Tensor
) -> Tensor:
    return next(given[name], output).clone()  # what follows may write into it


@contextmanager
def _other_weights(sites: Mapping[str, Site]) -> Iterator[None]:
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


def _tensors_of(model: nn.Module, run: Callable[[], Any]) -> list[Tensor]:
    """What a run gives, and what the model gave in it."""
    given: list[Any] = []
    handle = model.register_forward_hook(lambda _, __, output: given.append(output))
    try:
        given.append(run())
    finally:
        handle.remove()
    return [tensor.clone() for tensor in _tensors_in(given)]


def _tensors_in(values: Any) -> Iterator[Tensor]:
    """The floating-point tensors in nested lists, tuples and mappings."""
    if isinstance(values, Tensor):
        if values.is_floating_point():
            yield values
    elif isinstance(values, Mapping):
        yield from _tensors_in(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors_in(value)


def _differ(before: Tensor, after: Tensor) -> bool:
    """Whether two outputs differ by more than rounding."""
    if before.shape != after.shape:
        return True
    size = _ROUNDING * torch.finfo(before.dtype).eps * torch.nan_to_num(before).abs().max()
    return not torch.allclose(before, after, rtol=0, atol=float(size), equal_nan=True)


def first_sample(batch: Any) -> Any:
    """A batch of the first sample alone, where tensors in it are as long as the batch.

    Example:
        >>> x, y = first_sample((torch.zeros(4, 3), torch.zeros(4)))
        >>> x.shape, y.shape
        (torch.Size([1, 3]), torch.Size([1]))
    """
    if isinstance(batch, Tensor):
        return batch[:1] if batch.dim() else batch
    if isinstance(batch, Mapping):
        return {name: first_sample(value) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return [first_sample(value) for value in batch]
    return batch
