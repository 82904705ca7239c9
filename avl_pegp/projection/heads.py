"""Finding the classifier of a model: by its word, or by the layer whose output is the logits.

A model has one head, or several of which each answers for its own task or averages with the others.
A head is a linear layer; its rows are under a rule of their own (``avl_pegp.projection.classifier``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from torch import Tensor, nn

from avl_pegp.protocols import HasClassifier, HasLogits, task_heads
from avl_pegp.wrappers import named_root, unwrapped

Classifier = str | Literal[False] | None
"""A path, ``False`` for a model that has no classifier, ``None`` to have it found."""

Heads = dict[str, nn.Linear]
"""Linear layers by their path, as ``named_root(model)`` has it."""


def logits_of(output: Any) -> Tensor | None:
    """The logits in what a model gave: a tensor, or what has them by that name; ``None`` for others.

    Example:
        >>> import torch
        >>> logits_of({"logits": torch.zeros(1, 3), "loss": None}).shape
        torch.Size([1, 3])
    """
    found = output.get("logits") if isinstance(output, Mapping) else output
    found = found.logits if isinstance(found, HasLogits) else found
    return found if isinstance(found, Tensor) else None


def find_heads(
    model: nn.Module, classifier: Classifier, may_be_frozen: bool = False
) -> Heads | None:
    """The trainable linear layers of a model's classifier, without running the model.

    Args:
        model: also behind wrappers.
        classifier: the path of a module that is, or holds, the linear layer; ``False``: there is none;
            ``None``: heads for tasks if the model has such, else what ``get_classifier()`` gives.
        may_be_frozen: take frozen layers where none is trainable.

    Returns:
        The heads by path; none of them where the model says that it has no classifier, or a frozen
        one; ``None`` where the model does not say.

    Raises:
        ValueError: no such path, not exactly one such linear layer there, or a model that is one.
    """
    if classifier is False:
        return {}
    root = named_root(model)
    paths = {module: path for path, module in root.named_modules()}
    if classifier is not None:
        layers = [_only_layer(_module_at(root, model, classifier), classifier, may_be_frozen, True)]
    else:
        places = _places(model, root)
        if places is None:
            return None
        layers = [_only_layer(place, classifier, may_be_frozen, False) for place in places]
    if root in layers:
        raise ValueError(
            f"classifier={classifier!r}: the model is this linear layer itself, whose tensors then "
            "have no path; wrap it, nn.Sequential(layer)"
        )
    return {paths[layer]: layer for layer in layers if layer is not None}


def _places(model: nn.Module, root: nn.Module) -> list[nn.Module] | None:
    """The modules that are or hold a head each; ``None`` where the model does not say."""
    many = task_heads(root)
    if many is not None:
        return list(cast(nn.ModuleDict, many.classifiers).values())
    inner = unwrapped(model)
    if not isinstance(inner, HasClassifier):
        return None
    found = inner.get_classifier()
    places = list(found) if isinstance(found, tuple | list) else [found]
    return places if all(isinstance(place, nn.Module) for place in places) else None


def _only_layer(
    place: nn.Module, name: str | None, may_be_frozen: bool, is_named: bool
) -> nn.Linear | None:
    """The one linear layer in a module; ``None`` where it has none that fits and none was named."""
    found = [module for module in place.modules() if isinstance(module, nn.Linear)]
    layers = [layer for layer in found if any(p.requires_grad for p in layer.parameters())]
    if may_be_frozen and not layers:
        layers = found
    if len(layers) > 1 or (is_named and not layers):
        kinds = {path: m for path, m in place.named_modules() if m in layers}
        what, way = f"classifier={name!r}", "leave classifier out where each is the head of a task"
        if name is None:
            what = f"what get_classifier() gives ({type(place).__name__})"
            way = "say classifier=False to have none"
        raise ValueError(
            f"{what} holds {len(layers)} linear layers to choose from "
            f"({', '.join(path or type(m).__name__ for path, m in kinds.items()) or 'none'}): must be "
            f"exactly one, and trainable; name that layer itself by classifier=PATH, or {way}"
        )
    return layers[0] if layers else None


def _module_at(root: nn.Module, model: nn.Module, path: str) -> nn.Module:
    """The module of a path, as the model within wrappers has it, or the wrapped one."""
    for start in (root, model, unwrapped(model)):
        try:
            return start.get_submodule(path)
        except AttributeError:
            continue
    known = ", ".join(child for child, _ in root.named_children())
    raise ValueError(
        f"classifier={path!r}: the model has no such module; name the path of its linear "
        f"classifier (top-level modules: {known})"
    )
