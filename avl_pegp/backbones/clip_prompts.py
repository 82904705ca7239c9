"""Class prompts as token numbers: a template, or a learned context, around class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.backbones.clip_tokens import tokenise
from avl_pegp.pet.context import ContextEmbedding

__all__ = ["ClassPrompts", "require_told_apart"]


@dataclass(frozen=True)
class ClassPrompts:
    """From class names to token numbers.

    Args:
        tokenizer: texts → token numbers ``(T, N)``.
        template: with one ``{}``.
        room: tokens, with the start and the end.

    Raises:
        ValueError: a template without exactly one ``{}``.

    Example:
        >>> from open_clip.tokenizer import SimpleTokenizer
        >>> prompts = ClassPrompts(SimpleTokenizer(), "a photo of a {}.", 77)
        >>> prompts.tokens(["red fox"], [0], None)[0, :9].tolist()
        [49406, 320, 1125, 539, 320, 736, 3240, 269, 49407]
    """

    tokenizer: Any
    template: str
    room: int

    def __post_init__(self) -> None:
        if self.template.count("{}") != 1:
            raise ValueError(
                f"template={self.template!r}: must have one {{}} for the class name, as "
                "'a photo of a {}.'"
            )

    def tokens(
        self, names: Sequence[str], classes: Sequence[int], context: ContextEmbedding | None
    ) -> Tensor:
        """``(len(names), N)``; with a context its learned vectors stand for the words of the opening.

        Args:
            names: of the classes.
            classes: which ones they are, so that each has its own context.
            context: of the text tower, if there is one.

        Raises:
            ValueError: a prompt has more tokens than there is room.
        """
        if context is None:
            texts = [self.template.replace("{}", name) for name in names]
            return tokenise(self.tokenizer, texts, self.room)
        room, closing = self.room - context.length, self.template.partition("{}")[2]
        tokens = tokenise(self.tokenizer, [name + closing for name in names], room)[:, :room]
        return torch.cat([tokens[:, :1], context.fillers(classes), tokens[:, 1:]], dim=1)

    def opening(self) -> Tensor:
        """The token numbers of the words before a name, without the start."""
        words = self.template.partition("{}")[0]
        return torch.tensor(self.tokenizer.encode(words), dtype=torch.long)

    def room_before(self, names: Sequence[str]) -> int:
        """How many tokens can stand before each of these names."""
        closing = self.template.partition("{}")[2]
        longest = max(len(self.tokenizer.encode(name + closing)) for name in names)
        return self.room - longest - 2  # the start and the end


def require_told_apart(names: Sequence[str], tokens: Tensor, embedding: nn.Module) -> None:
    """Raise ValueError for names whose prompts are the same to a model, so that one always wins.

    Tokenizers overlook capitals and repeated spaces. A word whose token is zero means nothing, as one
    that the tiny CLIP was not shown: two of them are the same.

    Args:
        names: of the classes.
        tokens: of their prompts, ``(len(names), N)``; learned vectors, below 0, tell no names apart.
        embedding: of the text tower, token numbers → vectors.

    Example:
        >>> require_told_apart(["fox", "owl"], torch.tensor([[1, 2], [1, 3]]), nn.Embedding(4, 8))
    """
    device = next(embedding.parameters()).device
    if tokens.is_meta or device.type == "meta":  # shapes alone
        return
    numbers, places = tokens.clamp(min=0).unique(return_inverse=True)
    with torch.no_grad():
        has_meaning = embedding(numbers.to(device)).any(dim=1).to(tokens.device)
    rows = torch.where(has_meaning[places], numbers[places], -1)
    alike: dict[tuple[int, ...], list[str]] = {}
    for name, row in zip(names, rows.tolist(), strict=True):
        alike.setdefault(tuple(row), []).append(name)
    same = [group for group in alike.values() if len(group) > 1]
    if same:
        raise ValueError(
            f"class_names has {same}, which the model reads alike: must differ in more than capitals "
            "and spaces, and in words that its token table has; rename or leave out all but one"
        )
