"""What a CLIP model is given: texts as token numbers, with nothing cut off, and images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Encodes(Protocol):
    """A tokenizer of open_clip, which gives the token numbers of a text's words alone."""

    def encode(self, text: str) -> list[int]: ...


def listed_texts(field: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Texts that are a list of them: a text alone would be taken letter by letter.

    Args:
        field: what the caller calls them.
        texts: at least one, none empty.

    Raises:
        ValueError: one text, something else than texts, none, or an empty one.

    Example:
        >>> listed_texts("captions", ["a red fox"])
        ('a red fox',)
    """
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise ValueError(f"{field}={texts!r}: must be a list of texts; put one alone into a list")
    listed = tuple(texts)
    wrong = [text for text in listed if not isinstance(text, str) or not text.strip()]
    if wrong or not listed:
        raise ValueError(
            f"{field} has {wrong or 'nothing'}: must be texts, at least one, none empty"
        )
    return listed


def distinct_texts(field: str, texts: Iterable[str]) -> tuple[str, ...]:
    """The same for texts of which none may stand there twice.

    Raises:
        ValueError: what ``listed_texts`` refuses, or a repeated text.

    Example:
        >>> distinct_texts("captions", ["a red fox", "a blue sky"])
        ('a red fox', 'a blue sky')
    """
    listed = listed_texts(field, texts)
    if len(set(listed)) < len(listed):
        twice = sorted({text for text in listed if listed.count(text) > 1})
        raise ValueError(f"{field} has {twice} more than once: must be distinct, to be told apart")
    return listed


def tokenise(tokenizer: Any, texts: Sequence[str], room: int) -> Tensor:
    """Token numbers ``(T, N)`` of texts of which none may be longer than there is room.

    open_clip's tokenizers cut what is longer, so that two prompts could become one.

    Args:
        tokenizer: texts → ``(T, N)``. Lengths are checked where it is one of open_clip's: its own,
            with ``encode``, or one around a tokenizer of transformers, as SigLIP's.
        texts: at least one.
        room: tokens, with the start and the end.

    Raises:
        ValueError: a text is longer, or the tokenizer gives something else than whole numbers (T, N).
    """
    for text in texts:
        length = _length(tokenizer, text)
        if length > room:
            raise ValueError(
                f"{text!r} has {length} tokens with its start and end: must have at most {room} tokens; "
                "shorten it, or the template"
            )
    tokens = tokenizer(list(texts))
    fits = isinstance(tokens, Tensor) and tokens.dim() == 2 and len(tokens) == len(texts)
    if not fits or tokens.is_floating_point():
        given = (
            f"{tuple(tokens.shape)} of {tokens.dtype}"
            if isinstance(tokens, Tensor)
            else "no tensor"
        )
        raise ValueError(
            f"the tokenizer gave {type(tokens).__name__}, {given}: must give int64 ({len(texts)}, N), "
            "as open_clip.get_tokenizer(NAME) does"
        )
    return cast(Tensor, tokens)


def require_tokens(tokens: Tensor, vocabulary: int) -> None:
    """Raise ValueError for token numbers that a model does not have, or for none.

    Args:
        tokens: ``(T, N)``.
        vocabulary: how many the model has.

    Example:
        >>> import torch
        >>> require_tokens(torch.tensor([[1, 3]]), 4)
    """
    if not tokens.numel():
        raise ValueError(f"tokens {tuple(tokens.shape)}: must be (T, N) with T and N at least 1")
    if not tokens.is_meta and tokens.max() >= vocabulary:
        raise ValueError(
            f"tokens has {int(tokens.max())}: must be below {vocabulary}, the size of the model's "
            "vocabulary; use the tokenizer that the model was trained with"
        )


def _length(tokenizer: Any, text: str) -> int:
    """Tokens with the start and the end; 0 where the tokenizer does not let us count."""
    if isinstance(tokenizer, Encodes):
        return len(tokenizer.encode(text)) + 2
    if not hasattr(tokenizer, "tokenizer"):
        return 0
    clean = getattr(tokenizer, "clean_fn", str)
    return len(tokenizer.tokenizer(clean(text)).input_ids)


_SLACK = 0.5  # what interpolation and noise may add to normalised pixels
_ROUNDING = 0.01  # of a step of 8-bit pixels: far above that of float32


def require_images(images: Tensor, visual: Any) -> None:
    """Raise ValueError for images that an image tower was not made for.

    Pixels that were only scaled to 0..1 are told by their steps of 1/255. Those that were resized or
    changed as floats afterwards, or are in half precision, have no steps and pass.

    Args:
        images: to be floats ``(B, 3, h, w)`` of the tower's size and dtype, normalised.
        visual: open_clip's image tower, with ``image_size``, ``image_mean`` and ``image_std``.
    """
    weights = next(p for p in visual.parameters() if p.dim() == 4)  # of the patch embedding
    size = tuple(visual.image_size)
    fits = images.dim() == 4 and len(images) and images.shape[1:] == (3, *size)
    if not fits or not images.is_floating_point():
        raise ValueError(
            f"images {tuple(images.shape)} of {images.dtype}: must be floats (B, 3, {size[0]}, "
            f"{size[1]}), at least one; use the transforms of transforms_of(model)"
        )
    # autocast does not touch doubles
    is_cast = torch.is_autocast_enabled(images.device.type) and images.dtype != torch.float64
    if images.dtype != weights.dtype and not is_cast:
        raise ValueError(
            f"images of {images.dtype}: must be of {weights.dtype}, as the model is; use "
            f"images.to({weights.dtype}), or torch.autocast"
        )
    pixels = images.detach().float()
    mean, std = (pixels.new_tensor(v)[:, None, None] for v in (visual.image_mean, visual.image_std))
    low, high = float((-mean / std).min()), float(((1 - mean) / std).max())
    least, most = (float(v) for v in pixels.aminmax())
    inside = low - _SLACK <= least <= most <= high + _SLACK
    is_scaled = least >= 0 and most <= 1 and _is_merely_scaled(pixels, mean, std)
    if not inside or is_scaled:
        steps = ", all whole 255ths as ToTensor leaves them" if is_scaled else ""
        raise ValueError(
            f"images have pixels from {least:.3g} to {most:.3g}{steps}: normalised ones lie between "
            f"{low:.3g} and {high:.3g}; use the transforms of transforms_of(model)"
        )


def _is_merely_scaled(images: Tensor, mean: Tensor, std: Tensor) -> bool:
    """Whether images in 0..1 are 8-bit ones that were divided by 255 and not normalised.

    Bright images lie there when normalised too, but not on these steps. Plain planes, and zeros and
    ones alone, are no evidence: tests are made of them.
    """
    planes = images.flatten(2)
    drawn = (planes.amin(dim=2) < planes.amax(dim=2)).any() and ((images > 0) & (images < 1)).any()
    return bool(drawn and _is_8_bit(images) and not _is_8_bit(images * std + mean))


def _is_8_bit(images: Tensor) -> bool:
    levels = images * 255
    return bool(((levels - levels.round()).abs() < _ROUNDING).all())
