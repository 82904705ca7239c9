"""Towers: the transformers of a model that PETs go into, and where the parts of a block stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from avl_pegp.pet.fused import AsMultihead, is_plain_multihead
from avl_pegp.protocols import HasClassifier

Replace = Callable[[nn.Module, str, object], None]
"""``replace(owner, name, new)`` puts ``new`` in the place of ``owner.name`` and remembers it."""


def _parts(
    norm1: str, attn: str, norm2: str, mlp: str, fc1: str = "fc1", fc2: str = "fc2"
) -> dict[str, str]:
    """For each part of a block, its path there."""
    attention = {"norm1": norm1, "attn": attn, "qkv": f"{attn}.qkv", "proj": f"{attn}.proj"}
    return {**attention, "norm2": norm2, "mlp": mlp, "fc1": f"{mlp}.{fc1}", "fc2": f"{mlp}.{fc2}"}


TIMM = _parts("norm1", "attn", "norm2", "mlp")
# timm's blocks of several attentions and several MLPs side by side
PARALLEL = _parts("attns.*.norm", "attns.*.attn", "ffns.*.norm", "ffns.*.mlp")
# ``Tower.find`` puts ``fused`` there
OPEN_CLIP = _parts("ln_1", "attn.fused", "ln_2", "mlp", fc1="c_fc", fc2="c_proj")
TAKEN = (
    "attach takes transformers whose blocks have norm1, attn, norm2 and mlp, all of one width (timm's "
    "VisionTransformer, DeiT, Eva, DINOv3, BEiT, with relative positions, with parallel parts), and "
    "what create_clip returns; for others put peft's LoRA on their linear layers, which PEGP and "
    "PEGPPlugin protect as well"
)
_THIRDS = {"q_proj": "q", "k_proj": "k", "v_proj": "v"}
_SEVERAL = {"qkv": tuple(_THIRDS), "fc1": ("fc1_g", "fc1_x")}  # layers in the place of one


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


@runtime_checkable
class HasTowers(Protocol):
    """A model that says where its transformers stand, as a ``CLIPClassifier`` does."""

    def towers(self) -> dict[str, TowerPlan]: ...


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
        replace: puts something in the place of an attribute, and remembers it.
    """

    def __init__(self, model: nn.Module, plan: TowerPlan, replace: Replace) -> None:
        self.model, self.plan = model, plan
        self.blocks = cast(nn.Sequential | nn.ModuleList, model.get_submodule(plan.blocks))
        self.replace = replace
        # As it is before any PET wraps its block.
        self._norm = self.find(0, self.places(0, "norm1")[0]) if len(self.blocks) else None

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

    def places(self, i: int, part: str) -> list[str]:
        """Where a part of block i stands, as paths in the block: once, or in several places.

        The path where it is looked for, if the block has none.
        """
        block = self.blocks[i]
        is_parallel = hasattr(block, "attns") and hasattr(block, "ffns")
        path = (PARALLEL if is_parallel else self.plan.parts)[part]
        several, star, rest = path.partition(".*.")
        names = [name for name, _ in block.get_submodule(several).named_children()] if star else []
        places = [f"{several}.{name}.{rest}" for name in names] if star else [path]
        return [layer for place in places for layer in self._layers(i, place)]

    def _layers(self, i: int, place: str) -> list[str]:
        """A layer, or those that stand in its place."""
        owner, _, name = place.rpartition(".")
        others = [f"{owner}.{other}" for other in _SEVERAL.get(name, ())]
        if self.find(i, place) is None and others and all(self.find(i, other) for other in others):
            return others
        return [place]

    @staticmethod
    def third(place: str) -> str | None:
        """Which of queries, keys and values a layer gives, where it gives one alone."""
        return _THIRDS.get(place.rpartition(".")[2])

    def path(self, i: int, part: str) -> str:
        """Where a part, or a place, of block i is, for messages."""
        return f"{self.plan.blocks}.{i}.{self.plan.parts.get(part, part)}"

    def find(self, i: int, part: str) -> nn.Module | None:
        """The module at a part, or a place, of block i; ``None`` where the block has none.

        Attention of open_clip is given the form of timm's on the way.
        """
        path = self.plan.parts.get(part, part)
        attention = getattr(self.blocks[i], "attn", None)
        if path.startswith("attn.fused") and is_plain_multihead(attention):
            self.replace(self.blocks[i], "attn", AsMultihead(attention))
        try:
            return self.blocks[i].get_submodule(path)
        except AttributeError:
            return None

    def put(self, i: int, part: str, new: nn.Module) -> None:
        """Put a module in the place of a part of block i."""
        self.put_at(self.path(i, part), new)

    def put_block(self, i: int, new: nn.Module) -> None:
        """Put a module in the place of block i itself."""
        self.put_at(f"{self.plan.blocks}.{i}", new)

    def put_at(self, path: str, new: nn.Module) -> None:
        """Put a module in the place of the one at a path of the model."""
        parent, _, name = path.rpartition(".")
        self.replace(self.model.get_submodule(parent), name, new)

    def have_called(self, i: int, place: str) -> None:
        """Have the attention of block i call its layer where it would read the layer's weight.

        Eva's and BEiT's do so to add a bias of their own, which they can also add afterwards.

        Raises:
            TypeError: it reads the weight, and has no other way.
        """
        owner, _, name = place.rpartition(".")
        attention: Any = self.blocks[i].get_submodule(owner)
        if name != "qkv" or getattr(attention, "q_bias", None) is None:
            return
        if not hasattr(attention, "qkv_bias_separate"):
            raise TypeError(
                f"{self.path(i, place)} is not called by {type(attention).__name__}, which reads its "
                "weight: a LoRA there would do nothing; choose other targets"
            )
        self.replace(attention, "qkv_bias_separate", True)

    def like(self) -> Tensor:
        """A tensor of the tower's device and dtype, and of a token's width.

        Raises:
            TypeError: the first block has no norm with weights.
        """
        weight = getattr(self._norm, "weight", None)
        if not isinstance(weight, Tensor):
            raise TypeError(
                f"{self.plan.blocks}.0 of this {type(self.model).__name__} has no norm with weights, "
                "which would tell how wide tokens are: use LoRA, or Prefix"
            )
        return weight


def towers_of(model: nn.Module, replace: Replace) -> dict[str, Tower]:
    """The towers of a model by name: those that it tells by ``towers()``, or its ``blocks``.

    Raises:
        TypeError: the model has neither.
    """
    if isinstance(model, HasTowers):
        return {name: Tower(model, plan, replace) for name, plan in model.towers().items()}
    blocks = getattr(model, "blocks", None)
    is_sequence = isinstance(blocks, nn.Sequential | nn.ModuleList)
    if not is_sequence or not isinstance(model, HasClassifier):
        raise TypeError(
            f"{type(model).__name__} has no `blocks` in sequence with a `get_classifier()`: {TAKEN}"
        )
    tower = Tower(model, TowerPlan("blocks"), replace)
    _require_one_width(model, tower)
    return {"image": tower}


def _require_one_width(model: nn.Module, tower: Tower) -> None:
    """Raise TypeError unless every block has its norms, all of one width."""
    widths = set()
    for i, block in enumerate(tower.blocks):
        for norm in (tower.find(i, place) for place in tower.places(i, "norm1")):
            if norm is None:
                raise TypeError(
                    f"blocks.{i} of this {type(model).__name__} is a {type(block).__name__} without "
                    f"norm1: {TAKEN}"
                )
            widths |= {w.numel() for w in norm.parameters()}
    if len(widths) > 1:
        raise TypeError(
            f"the blocks of this {type(model).__name__} have the widths "
            f"{', '.join(map(str, sorted(widths)))}: {TAKEN}"
        )
