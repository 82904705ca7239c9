"""Class prompts as token numbers: a template, or a learned context, around class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avl_pegp.backbones.clip_text import tokenise
from avl_pegp.pet.context import ContextEmbedding

__all__ = ["ClassPrompts"]


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
