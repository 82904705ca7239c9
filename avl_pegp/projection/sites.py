"""Sites: the trainable tensors that a condition covers, and the modules that see their features.

A site is a module whose weight is contracted with the module's own input: any ``nn.Linear``, and
any module that says so by an attribute ``contracted_dim`` (−1: over the weight's last axis, with
the input's last; −2: over the axis before). A weight ``(G, out, in)`` is G maps side by side, whose
inputs are ``(..., G, N, in)``. In training the module need not be called; while it is observed it
must be.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Site:
    """One side of one trainable weight, with its bias where that is trainable too.

    Attributes:
        name: the module's path in the model.
        module: where the feature is seen.
        weight: the path of the parameter.
        bias: the path of the bias, ``None`` where there is none or it is frozen.
        transposed: contracted over the weight's axis −2.
    """

    name: str
    module: nn.Module
    weight: str
    bias: str | None
    transposed: bool

    def read(self, tensors: dict[str, Tensor]) -> Tensor:
        """The matrix ``(G, out, d)``, d the input width plus one for a bias, from named tensors."""
        matrix = tensors[self.weight]
        matrix = matrix.mT if self.transposed else matrix
        matrix = matrix if matrix.dim() == 3 else matrix[None]
        if self.bias is None:
            return matrix
        return torch.cat([matrix, tensors[self.bias][None, :, None]], dim=-1)

    def write(self, matrix: Tensor, tensors: dict[str, Tensor]) -> None:
        """Copy a matrix as ``read`` returns it into the named tensors."""
        if self.bias is not None:
            tensors[self.bias].copy_(matrix[0, :, -1])
            matrix = matrix[..., :-1]
        matrix = matrix.mT if self.transposed else matrix
        tensors[self.weight].copy_(matrix.view_as(tensors[self.weight]))

    @property
    def tensors(self) -> set[str]:
        """The names of its one or two parameters."""
        return {self.weight} if self.bias is None else {self.weight, self.bias}

    def tensors_of(self, model: nn.Module) -> dict[str, Tensor]:
        """Its parameters in the model by name, to be read and written in place."""
        return {name: model.get_parameter(name).detach() for name in self.tensors}

    @property
    def groups(self) -> int:
        """G, the maps that stand side by side in the weight."""
        weight = cast(Tensor, self.module.weight)
        return len(weight) if weight.dim() == 3 else 1


def linear_site(model: nn.Module, layer: nn.Linear, ignored: Collection[str]) -> Site:
    """The site of one linear layer of the model; an ignored bias is left out."""
    paths = {id(module): path for path, module in model.named_modules()}
    return _site(paths[id(layer)], layer, _names(model), ignored)


def find_sites(model: nn.Module, ignored: Collection[str]) -> dict[str, Site]:
    """The sites of every trainable tensor whose name is not among ``ignored``."""
    names = _names(model)
    found = [
        _site(path, module, names, ignored)
        for path, module in model.named_modules()
        if (isinstance(module, nn.Linear) or hasattr(module, "contracted_dim"))
        and module.weight.requires_grad
    ]
    return {site.name: site for site in found if site.weight not in ignored}


def require_untied(model: nn.Module, ignored: Collection[str]) -> None:
    """Raise ValueError for a trainable tensor that belongs to two modules.

    A condition is about the features of one module; the other's would go unseen.
    """
    owners: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        for name, p in module.named_parameters(prefix=path, recurse=False):
            if p.requires_grad:
                owners.setdefault(id(p), []).append(name)
    for paths in owners.values():
        if len(paths) > 1 and not set(paths) & set(ignored):
            raise ValueError(
                f"{' and '.join(paths)} are one trainable tensor: give each module its own, or "
                "freeze it"
            )


def _names(model: nn.Module) -> dict[int, str]:
    return {id(p): name for name, p in model.named_parameters()}


def _site(path: str, module: nn.Module, names: dict[int, str], ignored: Collection[str]) -> Site:
    bias = getattr(module, "bias", None)
    bias_name = names[id(bias)] if bias is not None and bias.requires_grad else None
    transposed = getattr(module, "contracted_dim", -1) == -2
    weight = names[id(module.weight)]
    return Site(path, module, weight, None if bias_name in ignored else bias_name, transposed)
