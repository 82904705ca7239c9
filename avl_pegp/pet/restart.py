"""Merge and restart: keep what a branch has learned beside its frozen layer, and start it afresh."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Free = Callable[[Tensor], Tensor]
"""``free(matrix)``, ``(out, d)`` → ``(out, d)``: the part of a map that gives zero on old inputs."""


class KeepsEarlier(nn.Module, ABC):
    """A layer that holds what it was trained to before in buffers, which are ``None`` at first.

    Nothing trains them: no optimizer and no parameter group sees them.

    Attributes:
        earlier: names of the buffers.
        whole: those of whole numbers.
    """

    earlier: ClassVar[tuple[str, ...]]
    whole: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        for name in self.earlier:
            self.register_buffer(name, None)
        self.register_load_state_dict_pre_hook(_take_from_state)

    @abstractmethod
    def fits(self, *earlier: Tensor) -> bool:
        """Whether tensors, in the order of ``earlier``, have shapes that this layer leaves."""

    @abstractmethod
    def misfit(self) -> str:
        """What to say of tensors that do not fit."""

    @property
    @abstractmethod
    def like(self) -> Tensor:
        """A tensor of the layer's device and dtype."""

    def take_earlier(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        """Put copies of what was trained elsewhere in the place of the buffers.

        Args:
            tensors: by the names of ``earlier`` behind ``prefix``; others are passed over. Without
                any, the layer is as if it had begun today.
            prefix: path of the layer in the model, with a dot at its end.

        Raises:
            ValueError: some are missing, or shapes do not fit. The layer is then as it was.
        """
        found = {n: tensors[prefix + n] for n in self.earlier if prefix + n in tensors}
        if found and not (len(found) == len(self.earlier) and self.fits(*found.values())):
            shapes = ", ".join(f"{prefix}{name} {tuple(t.shape)}" for name, t in found.items())
            raise ValueError(f"{shapes}: {self.misfit()}")
        device, dtype = self.like.device, self.like.dtype
        for name in self.earlier:
            kind = torch.long if name in self.whole else dtype
            setattr(self, name, found[name].to(device, kind, copy=True) if found else None)


def layers_with_earlier(model: nn.Module) -> dict[str, KeepsEarlier]:
    """The layers of a model, by path, that can hold what was trained before."""
    return {path: m for path, m in model.named_modules() if isinstance(m, KeepsEarlier)}


class Rebasable(KeepsEarlier):
    """A frozen layer with a branch ``second(σ(first(x)))`` beside it that can begin anew.

    ::

                ┌──── frozen layer ─────────────┐
                ├──── earlier branches (frozen) ┤
        x ──────┤                               + ── y
                └──── first ── σ ── second ─────┘     σ(0) = 0

    ``rebase`` moves the branch to the earlier ones and starts another, whose first map gives zero on
    old inputs and whose second map is zero. Whatever the second map's weight learns then, old inputs
    never notice it; only its bias, where there is one, acts on them.

    What earlier branches leave is held in buffers, of which there are none before the first restart.
    The frozen layer itself is not touched.

    Attributes:
        first: name of the child, an ``nn.Linear``, that sees the layer's input.
        second: name of the child, an ``nn.Linear``, that gives the branch's output.

    Example:
        >>> from avl_pegp.pet.lora import LoRALinear
        >>> layer = LoRALinear(nn.Linear(3, 2), rank=1, scale=1.0)
        >>> layer.rebase(lambda matrix: matrix * torch.tensor([0, 0, 1]))  # old inputs: x[2] = 0
        >>> bool((layer.A.weight[:, :2] == 0).all() and (layer.A.weight[:, 2] != 0).all())
        True
    """

    first: ClassVar[str]
    second: ClassVar[str]

    @abstractmethod
    def keep_branch(self) -> None:
        """Add the present branch to the earlier ones."""

    @torch.no_grad()
    def rebase(self, free: Free, generator: torch.Generator | None = None) -> None:
        """Keep the branch and start a fresh one; no output changes but for rounding.

        Parameters are written in place: optimizers go on holding them, with the state of before.

        Args:
            free: called with ``[W b]`` of a fresh first map, ``(out, d)``, or ``(out, d + 1)`` where
                it has a bias; gives the part that is zero on old inputs ``[x, 1]``. It must be a
                projection. Where it leaves nothing, the first map is zero and stays so.
            generator: draws that map, on the CPU; PyTorch's own without one.

        Raises:
            ValueError: ``free`` gives another shape. The layer is then as it was.
        """
        matrix = free_part(self.fresh_matrix(generator), free)
        self.keep_branch()
        self.start_branch(matrix)

    def fresh_matrix(self, generator: torch.Generator | None = None) -> Tensor:
        """``[W b]`` of a new first map: W as ``nn.Linear`` draws it, and b = 0."""
        first = self._map(self.first)
        drawn = torch.empty_like(first.weight, device="cpu")
        nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        weight = drawn.to(first.weight.device)
        return weight if first.bias is None else F.pad(weight, (0, 1))

    @torch.no_grad()
    def start_branch(self, matrix: Tensor) -> None:
        """Write ``[W b]`` into the first map, and zero into the second."""
        first, second = self._map(self.first), self._map(self.second)
        first.weight.copy_(matrix[:, : first.in_features])
        if first.bias is not None:
            first.bias.copy_(matrix[:, -1])
        for zero in second.parameters():
            nn.init.zeros_(zero)

    def misfit(self) -> str:
        return (
            f"not what rebases leave of {type(self).__name__}({self.extra_repr()}) with "
            f"{self._map(self.first).in_features} inputs, {' and '.join(self.earlier)}; load what was "
            "saved from the same PET"
        )

    @property
    def like(self) -> Tensor:
        return self._map(self.first).weight

    def _map(self, name: str) -> nn.Linear:
        return cast(nn.Linear, self.get_submodule(name))


def free_part(fresh: Tensor, free: Free) -> Tensor:
    """What ``free`` leaves of a fresh matrix, at the size that the matrix had.

    What is left may be rounding noise alone, which must not grow: below a share √eps of the size it
    counts as nothing, and the result is zero. One free direction of d is a share 1/√d.

    Raises:
        ValueError: ``free`` gives another shape.

    Example:
        >>> part = free_part(torch.ones(1, 4), lambda matrix: matrix * torch.tensor([0, 0, 0, 1]))
        >>> part.tolist()
        [[0.0, 0.0, 0.0, 2.0]]
    """
    part = free(fresh)
    if part.shape != fresh.shape:
        raise ValueError(
            f"free(matrix) gave {tuple(part.shape)} for {tuple(fresh.shape)}: must keep the shape of "
            "[W b], the last column being the bias where the first map has one"
        )
    size, left = fresh.norm(), part.norm()
    if left <= math.sqrt(torch.finfo(fresh.dtype).eps) * size:
        return torch.zeros_like(fresh)
    return free(part * (size / left))  # again, as the rounding of the first time grew with it


def _take_from_state(module: KeepsEarlier, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Before ``load_state_dict``: take what the state has, for which there may be no room yet."""
    if any(prefix + name in state for name in module.earlier):
        module.take_earlier(state, prefix)
