"""A CLIP model as a classifier: its classes are names, and nothing is trained for a new one."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp.backbones.clip.prompts import ClassPrompts, require_told_apart
from avl_pegp.backbones.clip.text import TensorMark, TextTower, mark_of
from avl_pegp.backbones.clip.tokens import (
    Encodes,
    distinct_texts,
    listed_texts,
    require_images,
    require_tokens,
    tokenise,
)
from avl_pegp.backbones.weights import WeightsSource
from avl_pegp.pet.context import ContextEmbedding
from avl_pegp.pet.towers import OPEN_CLIP, TIMM, Features, TowerPlan

_CROPS = {"shortest": "center", "squash": "squash"}  # open_clip's words for timm's


class CLIPClassifier(nn.Module):
    """Logits of images for class names: ``scale · cos(image features, features of the class prompt)``.

    ::

        images  (B, 3, h, w) ── image tower ── image_features ── ‖·‖ ──┐
                                                                       · ── (B, C)
        prompts (C)          ── text tower  ── text_features  ── ‖·‖ ──┘

    The features of class prompts are kept, and computed anew only when something of the text side has
    changed; where the text side is trained, in each training step. (What is written into a frozen tensor
    through its ``.data`` goes unnoticed: call ``set_classes(class_names)`` after it.) An answer depends
    on its image alone, never on the batch.

    Args:
        clip: as open_clip builds it, with a vision transformer.
        tokenizer: texts → token numbers ``(T, N)``.
        class_names: distinct; an index is a class.
        template: of the class prompts, with one ``{}``.

    Raises:
        ValueError: class names that are empty or read alike, a template without exactly one ``{}``, or
            a prompt that is longer than the model's context.
        TypeError: a tokenizer that can't be called; or a text tower that is not open_clip's own, or of
            a form that ``TextTower`` refuses.

    Example:
        >>> from avl_pegp import create_clip
        >>> model = create_clip("tiny_clip_32.glyphs", ["capital a", "digit two"])
        >>> model(torch.zeros(4, 3, 32, 32)).shape
        torch.Size([4, 2])
    """

    weights_source: WeightsSource

    def __init__(
        self, clip: nn.Module, tokenizer: Any, class_names: Sequence[str], template: str
    ) -> None:
        super().__init__()
        self.clip: Any = clip
        self.tokenizer, self.template = tokenizer, template
        self._text = TextTower(clip)
        self.image_features: nn.Module = Features(self._text.width)
        self.text_features: nn.Module = Features(self._text.width)
        self._only: list[int] | None = None
        self._kept: tuple[list[TensorMark], Tensor] | None = None
        self.set_classes(class_names)

    def set_classes(self, class_names: Sequence[str]) -> None:
        """Take these classes in the place of those before.

        What was settled for a class by ``settle_context`` stays with its index.

        Raises:
            ValueError: none, an empty or a repeated name, one that is too long, or names whose prompts
                the model reads alike, as "Fox" and "fox".
        """
        self._prompts, self._kept = self._prompts_of(class_names), None

    @property
    def class_names(self) -> tuple[str, ...]:
        """An index is a class."""
        return self._prompts.names

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, h, w)``, normalised as the model's transforms do it → logits ``(B, C)``.

        Raises:
            ValueError: another shape, or pixels that are not normalised, as far as they show it
                (``require_images`` says what passes).
        """
        features = self.encode_image(images)
        if self._only is None:
            return self.logits(features, self._class_features())
        some = self.logits(features, self.encode_classes(self._only))
        logits = some.new_full((len(some), len(self.class_names)), float("-inf"))
        return logits.index_copy(1, torch.tensor(self._only, device=some.device), some)

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Of unit features ``(B, D)`` and ``(T, D)``: ``(B, T)``, with the model's scale and bias."""
        logits: Tensor = self.clip.logit_scale.exp() * image_features @ text_features.T
        bias = self.clip.logit_bias
        return logits if bias is None else logits + bias

    def encode_image(self, images: Tensor) -> Tensor:
        """Image features of unit length, ``(B, D)``."""
        require_images(images, self.clip.visual)
        return F.normalize(self.image_features(self.clip.visual(images)), dim=-1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Text features of unit length, ``(T, D)``; the texts are taken as they are.

        Raises:
            ValueError: no list of texts, none, an empty one, or one that is longer than the model's
                context.
        """
        listed = listed_texts("texts", texts)
        return self.encode_tokens(tokenise(self.tokenizer, listed, self._prompts.room))

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Text features of unit length for token numbers ``(T, N)``.

        Raises:
            ValueError: no tokens, or numbers that the model does not have.
        """
        require_tokens(tokens, self.clip.vocab_size)
        features = self._text.encode(tokens.to(self.clip.logit_scale.device))
        return F.normalize(self.text_features(features), dim=-1)

    def encode_classes(self, classes: Collection[int] | None = None) -> Tensor:
        """Features of class prompts, computed now: ``(len(classes), D)``, ``None`` for all.

        Raises:
            ValueError: none, or one that has no name.
        """
        chosen = self._indices(classes)
        return self.encode_tokens(self._prompts.tokens(chosen, chosen, self._context))

    def class_tokens(self, class_names: Sequence[str]) -> Tensor:
        """Token numbers ``(C, N)`` of the prompts of any classes, for ``encode_tokens``.

        Names that are among the model's own have the learned contexts of those, others that of classes
        to come.

        Raises:
            ValueError: what ``set_classes`` refuses.
        """
        prompts, own = self._prompts_of(class_names), self.class_names
        known = [*own, *(name for name in prompts.names if name not in own)]
        classes = [known.index(name) for name in prompts.names]
        return prompts.tokens(range(len(classes)), classes, self._context)

    @property
    def trains_text(self) -> bool:
        """Whether anything that the features of class prompts depend on is trained."""
        return any(tensor.requires_grad for tensor in self._text_side())

    @contextmanager
    def only(self, classes: Collection[int] | None) -> Iterator[None]:
        """Inside this block only these classes compete: the logits of all others are −∞.

        For steps and statistics where the text side is trained: their prompts are encoded in each call,
        no others are. ``None`` for all.

        Raises:
            ValueError: none, or one that has no name.
        """
        before, self._only = self._only, sorted(self._indices(classes))
        try:
            yield
        finally:
            self._only = before

    def settle_context(self, classes: Collection[int]) -> None:
        """Let these classes keep their ``Context`` as it is now, and start another for those to come.

        Raises:
            TypeError: the model has no ``Context``.
            ValueError: no class, or one that has no name.
        """
        if self._context is None:
            raise TypeError("settle_context() of a model without a Context: attach one first")
        self._context.settle(self._indices(classes))

    def get_classifier(self) -> nn.Module:
        """Nothing that could be trained: classes are names."""
        return nn.Identity()

    def pixels(self) -> dict[str, Any]:
        """What images are like, in timm's words: size, normalisation, and how they are cut."""
        visual = self.clip.visual
        told = visual.preprocess_cfg
        return {
            **{key: told[key] for key in ("mean", "std", "interpolation")},
            "input_size": (3, *visual.image_size),
            "crop_pct": 1.0,
            "crop_mode": _CROPS[told["resize_mode"]],
        }

    def towers(self) -> dict[str, TowerPlan]:
        """Where ``attach`` finds what PETs go into."""
        text, visual = self._text, "clip.visual."
        is_timm = hasattr(self.clip.visual, "trunk")
        blocks = "trunk.blocks" if is_timm else "transformer.resblocks"
        takes_context = text.is_causal and isinstance(self.tokenizer, Encodes)
        return {
            "image": TowerPlan(
                visual + blocks, TIMM if is_timm else OPEN_CLIP, features="image_features"
            ),
            "text": TowerPlan(
                f"clip.{text.path}transformer.resblocks",
                OPEN_CLIP,
                features="text_features",
                embedding=f"clip.{text.path}token_embedding",
                opening=self._prompts.opening() if takes_context else None,
                room=self._prompts.room_for_context() if takes_context else 0,
            ),
        }

    def _prompts_of(self, class_names: Sequence[str]) -> ClassPrompts:
        names, room = distinct_texts("class_names", class_names), int(self.clip.context_length)
        prompts = ClassPrompts(self.tokenizer, self.template, room, names)
        tokens = prompts.tokens(range(len(names)), range(len(names)), self._context)
        require_tokens(tokens, self.clip.vocab_size)
        require_told_apart(names, tokens, self._text.root.token_embedding)
        return prompts

    @property
    def _context(self) -> ContextEmbedding | None:
        embedding = self._text.root.token_embedding
        return embedding if isinstance(embedding, ContextEmbedding) else None

    def _indices(self, classes: Collection[int] | None) -> list[int]:
        """Class numbers, ``None`` for all, each of which must have a name."""
        count = len(self.class_names)
        chosen = list(range(count) if classes is None else classes)
        wrong = [c for c in chosen if not 0 <= c < count]
        if wrong or not chosen:
            raise ValueError(
                f"classes has {wrong or 'nothing'}: must be indices of the {count} class names, at "
                "least one"
            )
        return chosen

    def _class_features(self) -> Tensor:
        """Features of all class prompts, kept where nothing is trained."""
        if torch.is_grad_enabled() and self.trains_text:
            return self.encode_classes()
        now = list(self._text_side())
        kept = self._kept
        if kept is None or len(kept[0]) != len(now) or not all(map(TensorMark.fits, kept[0], now)):
            # Not an inference tensor, nor one of autocast's: it outlives the block it is made in.
            device = now[0].device.type
            with (
                torch.inference_mode(False),
                torch.no_grad(),
                torch.autocast(device, enabled=False),
            ):
                self._kept = kept = [mark_of(t) for t in now], self.encode_classes()
        return kept[1]

    def _text_side(self) -> Iterator[Tensor]:
        yield from self._text.tensors()
        yield from self.text_features.parameters()
        yield from self.text_features.buffers()

    def __getstate__(self) -> dict[str, Any]:
        """Copies compute their own features: the versions of copied tensors count from zero."""
        return {**self.__dict__, "_kept": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> CLIPClassifier:
        """Of everything but the tokenizer, which is large and no part of what is learned."""
        memo[id(self.tokenizer)] = self.tokenizer
        memo[id(self)] = twin = type(self).__new__(type(self))
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin
