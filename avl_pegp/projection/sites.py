"""Sites: the trainable tensors that a condition covers, and the modules that see their features.

A site is a module whose weight is contracted with the module's own input: any ``nn.Linear`` whose
output depends on its weight through ``W x + b`` alone, and any module that says so by an attribute
``contracted_dim`` (``Contracted``): −1, over the weight's last axis, with the input's last; −2, over
the axis before.
A weight ``(G, out, in)`` is G maps side by side, whose inputs are ``(..., G, N, in)``. In training the
module need not be called; while it is observed it must be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from avl_pegp.projection.running import inference_state


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

    def parameters(self) -> dict[str, nn.Parameter]:
        """Its one or two parameters by name."""
        found = {self.weight: cast(nn.Parameter, self.module.weight)}
        return (
            found
            if self.bias is None
            else {**found, self.bias: cast(nn.Parameter, self.module.bias)}
        )

    @property
    def groups(self) -> int:
        """G, the maps that stand side by side in the weight."""
        weight = cast(Tensor, self.module.weight)
        return len(weight) if weight.dim() == 3 else 1


def linear_site(
    path: str, layer: nn.Linear, names: Mapping[int, str], ignored: Collection[str]
) -> Site:
    """The site of one linear layer of a model; an ignored bias is left out.

    Args:
        path: of the layer.
        layer: itself.
        names: of the model's parameters, by ``names_by_id``.
        ignored: names of parameters.

    Raises:
        ValueError: its weight is no parameter of its own, but computed from others.
    """
    if not _has_own_weight(layer):
        raise ValueError(
            f"{path} ({type(layer).__name__}) computes its weight from other tensors, as "
            "weight_norm does: its rows can't be held; use a plain nn.Linear"
        )
    return _site(path, layer, names, ignored)


def find_sites(
    model: nn.Module, names: Mapping[int, str], ignored: Collection[str]
) -> dict[str, Site]:
    """The sites of every trainable tensor that has one and whose name is not among ``ignored``."""
    found = [
        _site(path, module, names, ignored)
        for path, module in model.named_modules()
        if _has_own_weight(module) and cast(Tensor, module.weight).requires_grad
    ]
    sites = {site.name: site for site in found if site.weight not in ignored}
    return {name: site for name, site in sites.items() if depends_on_product_alone(site.module)}


def _has_own_weight(module: nn.Module) -> bool:
    """Whether it is contracted with a weight that is a parameter, not computed from others."""
    # By the class: to look through all modules for a protocol's members takes long.
    is_contracted = isinstance(module, nn.Linear) or hasattr(type(module), "contracted_dim")
    return is_contracted and isinstance(module.weight, nn.Parameter)


def depends_on_product_alone(module: nn.Module) -> bool:
    """Whether a layer's output is always the same for the same ``W x + b``, as a condition takes it.

    A class of its own may normalise, quantise or transpose the weight. So it is tried where
    ``nn.Linear`` has another ``forward``.
    """
    is_plain = type(module).forward is nn.Linear.forward and "forward" not in vars(module)
    return is_plain or not isinstance(module, nn.Linear) or tried_on_product_alone(module)


@torch.no_grad()
def tried_on_product_alone(module: nn.Linear) -> bool:
    """Whether it is so in a trial, hooks included.

    The weight is changed by what a made input does not see, and the output, in eval mode, must not
    notice. The weight is put back to the bit.
    """
    weight, bias = module.weight, module.bias
    parameters = [weight] if bias is None else [weight, bias]
    kept = [p.clone() for p in parameters]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, module.in_features, generator=generator).to(weight)
    change = torch.randn(weight.shape, generator=generator).to(weight)
    # A bias takes part as the column of a feature that is always 1.
    along = change @ x.mT / (x.square().sum() + (bias is not None))
    try:
        with inference_state(module):
            before = module(x)
            # As data: a forward pass around this may have kept the weight for its gradients.
            weight.data.add_(change - along * x)
            if bias is not None:
                bias.data.sub_(along[:, 0])
            after = module(x)
        gap = float((after - before).norm() / before.norm().clamp_min(torch.finfo(x.dtype).tiny))
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return False  # it wants more than x, so that nothing can be said of it
    finally:
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.data.copy_(value)
    return bool(gap <= torch.finfo(x.dtype).eps ** 0.5)


def require_untied(model: nn.Module, ignored: Collection[str]) -> None:
    """Raise ValueError for a trainable tensor that belongs to two modules, or shares its memory.

    A condition is about the features of one module; the other's would go unseen.
    """
    owners: dict[tuple[int, int], list[str]] = {}
    for path, module in model.named_modules():
        for name, p in module.named_parameters(prefix=path, recurse=False):
            if p.requires_grad:
                place = (p.data_ptr(), 0) if p.numel() and p.data_ptr() else (0, id(p))
                owners.setdefault(place, []).append(name)
    for paths in owners.values():
        if len(paths) > 1 and not set(paths) & set(ignored):
            raise ValueError(
                f"{' and '.join(paths)} are one trainable tensor: give each module its own, or "
                "freeze it"
            )


def names_by_id(parameters: Mapping[str, nn.Parameter]) -> dict[int, str]:
    """The names of a model's parameters by the ``id`` of each."""
    return {id(p): name for name, p in parameters.items()}


def _site(path: str, module: nn.Module, names: Mapping[int, str], ignored: Collection[str]) -> Site:
    bias = module._parameters.get("bias")
    bias_name = names[id(bias)] if bias is not None and bias.requires_grad else None
    transposed = getattr(module, "contracted_dim", -1) == -2
    weight = names[id(module.weight)]
    return Site(path, module, weight, None if bias_name in ignored else bias_name, transposed)
