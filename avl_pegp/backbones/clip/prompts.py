"""Class prompts as token numbers: a template, or a learned context, around class names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn

from avl_pegp.backbones.clip.tokens import tokenise
from avl_pegp.pet.context import ContextEmbedding


@dataclass(frozen=True)
class ClassPrompts:
    """The prompts of some class names, tokenised once.

    Args:
        tokenizer: texts → token numbers ``(T, N)``.
        template: with one ``{}``.
        room: tokens, with the start and the end.
        names: of the classes.

    Raises:
        ValueError: a template without exactly one ``{}``.
        TypeError: a tokenizer that can't be called.

    Example:
        >>> from open_clip.tokenizer import SimpleTokenizer
        >>> prompts = ClassPrompts(SimpleTokenizer(), "a photo of a {}.", 77, ("owl", "red fox"))
        >>> prompts.tokens([1], [1], None)[0, :9].tolist()
        [49406, 320, 1125, 539, 320, 736, 3240, 269, 49407]
    """

    tokenizer: Any
    template: str
    room: int
    names: tuple[str, ...]
    _words: dict[int | None, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.template, str) or self.template.count("{}") != 1:
            raise ValueError(
                f"template={self.template!r}: must have one {{}} for the class name, as "
                "'a photo of a {}.'"
            )
        if not callable(self.tokenizer):
            raise TypeError(
                f"tokenizer={self.tokenizer!r}: must be a function from a list of texts to token "
                "numbers, as open_clip.get_tokenizer(NAME) gives one"
            )

    def tokens(
        self, rows: Sequence[int], classes: Sequence[int], context: ContextEmbedding | None
    ) -> Tensor:
        """``(len(rows), N)``; with a context its learned vectors stand for the words of the opening.

        Args:
            rows: the places of the names.
            classes: which classes they are, so that each has its own context.
            context: of the text tower, if there is one.

        Raises:
            ValueError: a prompt, of any of the names, has more tokens than there is room.
        """
        if context is None:
            return self._tokenised(None)[list(rows)]
        words = self._tokenised(context.length)[list(rows)]
        return torch.cat([words[:, :1], context.fillers(classes), words[:, 1:]], dim=1)

    def _tokenised(self, context_length: int | None) -> Tensor:
        """All prompts; with a context what stands after it, and the start."""
        if context_length in self._words:
            return self._words[context_length]
        room = self.room - (context_length or 0)
        opening = self.template.partition("{}")[0] if context_length is None else ""
        texts = [opening + name + self._closing for name in self.names]
        tokens = tokenise(self.tokenizer, texts, room)[:, :room]
        if not tokens.is_meta:  # the model may leave that device
            self._words[context_length] = tokens
        return tokens

    def opening(self) -> Tensor:
        """The token numbers of the words before a name, without the start."""
        words = self.template.partition("{}")[0]
        return torch.tensor(self.tokenizer.encode(words), dtype=torch.long)

    def room_for_context(self) -> int:
        """How many tokens can stand before each of the names."""
        longest = max(len(self.tokenizer.encode(name + self._closing)) for name in self.names)
        return self.room - longest - 2  # the start and the end

    @property
    def _closing(self) -> str:
        return self.template.partition("{}")[2]


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


_WORDNET_ID = re.compile(r"n\d{8}")


def prompt_names(class_names: Sequence[str]) -> list[str]:
    """What to write into prompts for classes whose names were made for files.

    Underscores become spaces. A WordNet id, which names folders of ImageNet and its kin, becomes the
    first word that WordNet has for it, as in the lists of PEGP's code. Other names stay as they are.

    Args:
        class_names: of a benchmark, ``benchmark.class_names``.

    Returns:
        As many names, in the same order. Two classes can share one (WordNet has two cranes), which
        ``create_clip`` refuses.

    Raises:
        ValueError: a WordNet id that no class of ImageNet has, the large one with 21,841 classes.

    Example:
        >>> prompt_names(["aquarium_fish", "n01440764", "capital a"])
        ['aquarium fish', 'tench', 'capital a']
    """
    ids = [name for name in class_names if _WORDNET_ID.fullmatch(name)]
    words = _wordnet() if ids else {}
    unknown = [name for name in ids if name not in words]
    if unknown:
        raise ValueError(
            f"class_names has {len(unknown)} WordNet ids that no class of ImageNet has: "
            f"{', '.join(unknown[:5])}; give these classes names"
        )
    return [words.get(name) or name.replace("_", " ") for name in class_names]


@cache
def _wordnet() -> dict[str, str]:
    """The first word for each id of ImageNet's classes."""
    words: dict[str, str] = {}
    for subset in ("imagenet-22k", "imagenet-1k"):  # the larger one lacks the teddy
        info = ImageNetInfo(subset)
        words.update(zip(info.label_names(), info.label_descriptions(), strict=True))
    return {wnid: description.split(", ")[0] for wnid, description in words.items()}
