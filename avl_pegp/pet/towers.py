"""Towers: the transformers of a model that PETs go into, and where the parts of a block stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor, nn

from avl_pegp.pet.fused import AsMultihead, is_plain_multihead

Replace = Callable[[nn.Module, str, nn.Module], None]
"""``replace(parent, name, new)`` puts ``new`` in the place of ``parent.name`` and remembers it."""

TIMM = {
    "norm1": "norm1",
    "attn": "attn",
    "qkv": "attn.qkv",
    "proj": "attn.proj",
    "norm2": "norm2",
    "mlp": "mlp",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
OPEN_CLIP = {
    "norm1": "ln_1",
    "attn": "attn.fused",  # which ``Tower.find`` puts there
    "qkv": "attn.fused.qkv",
    "proj": "attn.fused.proj",
    "norm2": "ln_2",
    "mlp": "mlp",
    "fc1": "mlp.c_fc",
    "fc2": "mlp.c_proj",
}


@dataclass(frozen=True)
class TowerPlan:
    """What a model says of one of its towers, by ``model.towers()``.

    Attributes:
        blocks: path of the blocks, one after another.
        parts: for each part of a block, its path there: ``TIMM`` or ``OPEN_CLIP``.
        features: path of the ``Features`` through which what the tower gives leaves.
        embedding: path of the layer that turns token numbers into tokens, in a text tower.
        opening: token numbers of the words that stand before a class name.
        room: how many tokens can stand there.
    """

    blocks: str
    parts: Mapping[str, str] = field(default_factory=lambda: TIMM)
    features: str | None = None
    embedding: str | None = None
    opening: Tensor | None = None
    room: int = 0


class Features(nn.Identity):
    """The place where features ``(B, width)`` leave a tower."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width


class Tower:
    """One transformer of a model, as the PETs see it: parts are found and replaced by their names.

    Args:
        model: what the paths of the plan start from.
        plan: where things are.
        replace: puts a module in the place of another.
    """

    def __init__(self, model: nn.Module, plan: TowerPlan, replace: Replace) -> None:
        self.model, self.plan = model, plan
        self.blocks = cast(nn.Sequential, model.get_submodule(plan.blocks))
        self._replace = replace
        self._first = next(iter(self.blocks), None)  # as it is before any PET wraps it

    def indices(self, pet: Any) -> list[int]:
        """The blocks that a PET names by its ``blocks``, or all.

        Raises:
            ValueError: there are fewer blocks.
        """
        depth = len(self.blocks)
        if pet.blocks is None:
            return list(range(depth))
        wrong = [i for i in pet.blocks if i >= depth]
        if wrong:
            raise ValueError(
                f"{type(pet).__name__}.blocks has {wrong}, but the model has {depth} blocks: must be "
                f"from 0 to {depth - 1}"
            )
        return list(pet.blocks)

    def path(self, i: int, part: str) -> str:
        """Where a part of block i stands, for messages."""
        return f"{self.plan.blocks}.{i}.{self.plan.parts[part]}"

    def find(self, i: int, part: str) -> nn.Module | None:
        """A part of block i; ``None`` where the block has none.

        Attention of open_clip is given the form of timm's on the way.
        """
        path = self.plan.parts[part]
        attention = getattr(self.blocks[i], "attn", None)
        if path.startswith("attn.fused") and is_plain_multihead(attention):
            self._replace(self.blocks[i], "attn", AsMultihead(attention))
        try:
            return self.blocks[i].get_submodule(path)
        except AttributeError:
            return None

    def put(self, i: int, part: str, new: nn.Module) -> None:
        """Put a module in the place of a part of block i."""
        parent, _, name = self.plan.parts[part].rpartition(".")
        self._replace(self.blocks[i].get_submodule(parent), name, new)

    def put_block(self, i: int, new: nn.Module) -> None:
        """Put a module in the place of block i itself."""
        self._replace(self.blocks, str(i), new)

    def replace_at(self, path: str, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Put ``wrap(module)`` in the place of the module at a path of the model."""
        parent, _, name = path.rpartition(".")
        self._replace(self.model.get_submodule(parent), name, wrap(self.model.get_submodule(path)))

    def like(self) -> Tensor:
        """A tensor of the tower's device and dtype, and of a token's width."""
        first = cast(nn.Module, self._first)
        return cast(Tensor, first.get_submodule(self.plan.parts["norm1"]).weight)


def towers_of(model: nn.Module, replace: Replace) -> dict[str, Tower]:
    """The towers of a model by name: those that it tells by ``towers()``, or its ``blocks``.

    Raises:
        TypeError: the model has neither.
    """
    plans = getattr(model, "towers", None)
    if callable(plans):
        return {name: Tower(model, plan, replace) for name, plan in plans().items()}
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Sequential) or not callable(
        getattr(model, "get_classifier", None)
    ):
        raise TypeError(
            f"{type(model).__name__} has no `blocks` in sequence with a `get_classifier()`: attach "
            "takes a timm VisionTransformer, a model of the same form, or what create_clip returns"
        )
    return {"image": Tower(model, TowerPlan("blocks"), replace)}
