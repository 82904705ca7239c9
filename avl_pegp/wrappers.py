"""What stands around a model: parallel and compiled copies, peft, modules that only pass on."""

from __future__ import annotations

from typing import Any

from torch import nn

_PLACES = ("module", "_orig_mod", "_fsdp_wrapped_module")  # where torch's own wrappers keep a model


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that wrappers stand around, or the model itself.

    Taken off are, in any order: ``DataParallel``, ``DistributedDataParallel`` and their like,
    ``torch.compile``'s module, peft's models, and any module without parameters of its own that has
    a model with a ``get_classifier()`` as its only child with parameters, as one that normalises
    images first. What defines ``get_classifier()`` itself is a model; wrappers that only hand on the
    attributes of what they hold do not count as defining it.

    Args:
        model: any module.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit")
        >>> unwrapped(nn.DataParallel(nn.Sequential(nn.Identity(), model))) is model
        True
    """
    inner = _inside(model)
    return model if inner is None else unwrapped(inner)


def path_of(model: nn.Module, inner: nn.Module) -> str:
    """Where a module stands in another, as ``named_modules`` has it; ``""`` for the module itself.

    Raises:
        ValueError: it is not there.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> path_of(nn.DataParallel(nn.Sequential(layer)), layer)
        'module.0'
    """
    paths = [str(path) for path, module in model.named_modules() if module is inner]
    if paths:
        return paths[0]
    raise ValueError(f"this {type(inner).__name__} is no part of the {type(model).__name__}")


def _inside(model: nn.Module) -> nn.Module | None:
    """What a wrapper holds; ``None`` where the module is none."""
    if _defines(model, "get_classifier"):
        return None
    if _defines(model, "get_base_model"):  # peft's
        peft: Any = model
        base: nn.Module = peft.get_base_model()
        return base
    children = {
        name: child
        for name, child in model.named_children()
        if any(True for _ in child.parameters())
    }
    if len(children) != 1 or any(True for _ in model.parameters(recurse=False)):
        return None
    ((name, child),) = children.items()
    return child if name in _PLACES or _defines(unwrapped(child), "get_classifier") else None


def _defines(model: nn.Module, name: str) -> bool:
    """Whether a method is the model's own, and not one that it hands on from what it holds."""
    return hasattr(type(model), name) or name in vars(model)


def named_root(model: nn.Module) -> nn.Module:
    """The model as its tensors are named: without the wrappers that torch itself puts around it.

    So a tensor keeps its name in ``DataParallel``, ``DistributedDataParallel`` and compiled models.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> named_root(nn.DataParallel(layer)) is layer
        True
    """
    while type(model).__module__.startswith("torch."):
        places = [place for place, _ in model.named_children()]
        if len(places) != 1 or places[0] not in _PLACES:
            break
        model = model.get_submodule(places[0])
    return model


def wrappers_of(model: nn.Module) -> list[nn.Module]:
    """The model, what it wraps, and so on to the innermost: the last is ``unwrapped(model)``.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> len(wrappers_of(nn.DataParallel(layer)))
        2
    """
    chain = [model]
    while (inner := _inside(chain[-1])) is not None:
        chain.append(inner)
    return chain


def is_compiled(model: nn.Module) -> bool:
    """Whether calls go through ``torch.compile``, which passes over hooks that are added later.

    Example:
        >>> is_compiled(nn.Linear(2, 2))
        False
    """
    return any(
        type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None
        for module in wrappers_of(model)
    )
