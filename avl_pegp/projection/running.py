"""How a model is run to observe it: in eval mode, in the weights' own precision, nothing compiled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor, nn

from avl_pegp.wrappers import named_root

P = ParamSpec("P")
R = TypeVar("R")


class HasModel(Protocol):
    """What works on the parameters of a model."""

    model: nn.Module


S = TypeVar("S", bound=HasModel)


@contextmanager
def without_autocast(kinds: Collection[str]) -> Iterator[None]:
    """A block without autocast on devices of these types.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), without_autocast(["cpu"]):
        ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
        torch.float32
    """
    with ExitStack() as off:
        for kind in kinds:
            if torch.is_autocast_enabled(kind):
                off.enter_context(torch.autocast(kind, enabled=False))
        yield


def in_full_precision(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[S, P], R]:
    """Make a method compute in the precision of the model's weights.

    Under autocast a projection would be computed in half precision, and under PyTorch's faster matrix
    products (TF32) in little more: old answers would move by their rounding with every step.
    """

    @wraps(method)
    def run(owner: S, /, *args: P.args, **options: P.kwargs) -> R:
        asked: Any = torch.get_float32_matmul_precision()
        with without_autocast({p.device.type for p in owner.model.parameters()}):
            if asked == "highest":
                return method(owner, *args, **options)
            torch.set_float32_matmul_precision("highest")
            try:
                return method(owner, *args, **options)
            finally:
                torch.set_float32_matmul_precision(asked)

    return run


@contextmanager
def inference_state(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, in the weights' own precision, nothing compiled.

    Autocast of the surroundings is off: half-precision features would not show the directions that
    answers depend on. Every module's mode is back as it was afterwards.
    """
    modes = {module: module.training for module in model.modules()}
    kinds = {p.device.type for p in model.parameters()}
    with ExitStack() as state:
        state.enter_context(torch.inference_mode(False))
        state.enter_context(torch.no_grad())
        state.enter_context(without_autocast(kinds))
        state.enter_context(nothing_compiled())
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """In this block what ``torch.compile`` made runs as it was written.

    Compiled code does not see hooks that came after it.
    """
    if "torch._dynamo" not in sys.modules:  # then nothing was compiled; to import it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
@torch.no_grad()
def tensors_replaced(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """A block in which parameters have other values; afterwards they are to the bit what they were.

    Args:
        model: may be wrapped.
        tensors: values by the name of the parameter, all others stay.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> with tensors_replaced(layer, {"weight": torch.zeros(1, 1)}):
        ...     layer.weight.item()
        0.0
    """
    root = named_root(model)
    parameters = {name: root.get_parameter(name) for name in tensors}
    kept = {name: parameter.clone() for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.copy_(kept[name])
