"""The text tower of open_clip's models, wherever it stands in them, and marks of its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

_POOLS = ("argmax", "eos", "first", "last")


class TextTower:
    """A view of a CLIP model's text tower, whose parts stand in the model itself or in its ``text``.

    Args:
        clip: open_clip's ``CLIP`` or ``CustomTextCLIP``.

    Raises:
        TypeError: a text tower of another form: transformers', one with a class token or a mask over
            padding, or one that does not pool.
    """

    def __init__(self, clip: Any) -> None:
        inside = hasattr(clip, "text")
        self.root: Any = clip.text if inside else clip
        self.path = "text." if inside else ""
        self.pool = getattr(self.root, "pool_type" if inside else "text_pool_type", None)
        has_class_token = getattr(self.root, "cls_emb", None) is not None
        if self.pool not in _POOLS or has_class_token or getattr(self.root, "use_pad_mask", False):
            raise TypeError(
                f"{type(self.root).__name__} with pool_type={self.pool!r} as text tower: must be "
                f"open_clip's own, with pool_type one of {', '.join(_POOLS)}, and without embed_cls "
                "and use_pad_mask"
            )
        self.end: int = self.root.eos_id if inside else clip.text_eos_id

    @property
    def is_causal(self) -> bool:
        """Whether no token sees what follows it, up to the end token that is the text's feature."""
        return self.root.attn_mask is not None and self.pool in ("argmax", "eos")

    @property
    def width(self) -> int:
        """D, of the features."""
        projection = self.root.text_projection
        if projection is None:
            return int(self.root.ln_final.normalized_shape[0])
        linear = isinstance(projection, nn.Linear)
        return int(projection.out_features if linear else projection.shape[1])

    def encode(self, tokens: Tensor) -> Tensor:
        """Token numbers ``(T, N)`` → features ``(T, D)``, not yet of unit length.

        What ``clip.encode_text`` gives, but for rounding; a causal tower does not compute what stands
        behind the last end token, where padding would only cost time and protected directions.
        """
        root, mask, length = self.root, self.root.attn_mask, tokens.shape[1]
        if self.is_causal:
            length = int(self._ends(tokens).max()) + 1
            tokens = tokens[:, :length]
        if mask is not None:
            mask = mask[:length, :length]
        x = root.token_embedding(tokens) + root.positional_embedding[:length]
        x = root.ln_final(root.transformer(x, attn_mask=mask))
        pooled: Tensor = x[torch.arange(len(x), device=x.device), self._ends(tokens)]
        projection = root.text_projection
        if isinstance(projection, nn.Linear):
            return cast(Tensor, projection(pooled))
        return pooled if projection is None else pooled @ cast(Tensor, projection)

    def _ends(self, tokens: Tensor) -> Tensor:
        """The position of each text whose feature is the text's."""
        if self.pool == "argmax":  # the end token has the highest number of all
            return tokens.argmax(dim=1)
        if self.pool == "eos":
            return tokens.eq(self.end).int().argmax(dim=1)
        position = 0 if self.pool == "first" else tokens.shape[1] - 1
        return torch.full((len(tokens),), position, device=tokens.device)

    def tensors(self) -> Iterator[Tensor]:
        """All that the features depend on."""
        root = self.root
        for part in (root.token_embedding, root.transformer, root.ln_final, root.text_projection):
            if isinstance(part, nn.Module):
                yield from (*part.parameters(), *part.buffers())
            elif part is not None:
                yield part
        yield root.positional_embedding


@dataclass(frozen=True, eq=False)
class TensorMark:
    """One tensor as it was at a moment.

    Of a frozen tensor these are the object, its memory, and how often torch has counted a write to
    it: what is written through ``tensor.data`` goes unnoticed. Of a trained one it is the content
    too, as fused optimizers write without being counted.

    Attributes:
        tensor: the object.
        memory: another view of what it held, so that no other tensor can come to lie there.
        version: torch's count of writes.
        content: what a trained tensor held, else ``None``.

    Example:
        >>> import torch
        >>> tensor = torch.zeros(2)
        >>> mark = mark_of(tensor)
        >>> fits = mark.fits(tensor)
        >>> _ = tensor.add_(1)
        >>> fits, mark.fits(tensor)
        (True, False)
    """

    tensor: Tensor
    memory: Tensor
    version: int
    content: Tensor | None

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor is this one, trained or frozen as it was, and holds what it held."""
        return (
            tensor is self.tensor
            and tensor._version == self.version
            and tensor.data_ptr() == self.memory.data_ptr()
            and tensor.requires_grad == (self.content is not None)  # torch's kernels differ by that
            and (self.content is None or torch.equal(tensor, self.content))
        )


def mark_of(tensor: Tensor) -> TensorMark:
    """The mark of a tensor as it is now."""
    memory = tensor.detach()
    content = memory.clone() if tensor.requires_grad else None
    return TensorMark(tensor, memory, tensor._version, content)
