"""Configurations of CLIP models, checked before anything is built."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import timm
from torch import Tensor

from avl_pegp.backbones.registry import CLIPS, Pretrained

#: Texts to token numbers (T, context length), int64.
Tokenizer = Callable[[list[str]], Tensor]

_TOWERS = ("vision_cfg", "text_cfg")
# The modules of timm whose models are all of the class VisionTransformer.
_VISION_TRANSFORMERS = ("vision_transformer", "vision_transformer_hybrid", "vitamin")


def config_of(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """open_clip's configuration of a model, with options of the caller.

    Args:
        name: one of ``open_clip.list_models()``.
        options: replace values of the configuration; ``vision_cfg`` and ``text_cfg`` key by key.

    Raises:
        ValueError: an unknown name, with the nearest known ones, or an option that the
            configuration does not have.
        TypeError: ``vision_cfg`` or ``text_cfg`` is not a dict.

    Example:
        >>> config_of("ViT-B-32", {"vision_cfg": {"layers": 2}})["vision_cfg"]
        {'image_size': 224, 'layers': 2, 'width': 768, 'patch_size': 32}
    """
    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        own = CLIPS.names()
        names = [*own, *open_clip.list_models()]
        nearest = difflib.get_close_matches(name, names, n=4, cutoff=0.0)
        raise ValueError(
            f"name={name!r} is not a known model; choose {', '.join(own)} or a name of "
            f"open_clip, nearest are {', '.join(nearest)}. open_clip.list_models() lists more."
        )
    for tower in _TOWERS:
        if not isinstance(options.get(tower, {}), dict):
            raise TypeError(
                f"{tower}={options[tower]!r}: must be a dict of values to replace, as {{'layers': 6}}"
            )
    takers = (open_clip.CLIP, open_clip.CLIPVisionCfg, open_clip.CLIPTextCfg)
    given = (options, *(options.get(tower, {}) for tower in _TOWERS))
    for taker, values in zip(takers, given, strict=True):
        known = inspect.signature(taker).parameters
        for option, value in values.items():
            if option not in known:
                raise ValueError(
                    f"{option}={value!r} is not an option of open_clip's {taker.__name__}: leave it "
                    f"out, or choose from {', '.join(known)}"
                )
    towers = {tower: {**config[tower], **options.get(tower, {})} for tower in _TOWERS}
    return {**config, **options, **towers}


def check_towers(name: str, config: dict[str, Any]) -> None:
    """Refuse what is not a vision transformer beside a text transformer of open_clip.

    Raises:
        TypeError: with what there is instead.

    Example:
        >>> check_towers("ViT-B-32", config_of("ViT-B-32", {}))
    """
    vision, text = (config[tower] for tower in _TOWERS)
    trunk, of_text = vision.get("timm_model_name"), text.get("hf_model_name")
    reasons = {
        "is a CoCa, which has a third tower": "multimodal_cfg" in config,
        f"has the text tower {of_text} of the package transformers": "hf_model_name" in text,
        "has a ModifiedResNet as its image tower": isinstance(vision.get("layers"), list),
        f"has timm's {trunk} as its image tower, which is not a VisionTransformer": (
            trunk and not timm.models.is_model_in_modules(trunk, _VISION_TRANSFORMERS)
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise TypeError(
                f"name={name!r} {reason}; supported are image towers that are vision transformers, "
                "open_clip's or timm's, with open_clip's own text tower, for example ViT-B-16 or "
                "ViT-B-16-SigLIP."
            )


def check_activation(name: str, config: dict[str, Any], tag: str) -> None:
    """Refuse weights that were trained with another activation than the model's.

    The tensors would fit, and every answer would be a little wrong.

    Args:
        name: of the model.
        config: its configuration.
        tag: of the weights, one that open_clip has for this name.

    Raises:
        ValueError: the model has QuickGELU and the weights do not want it, or the reverse.

    Example:
        >>> check_activation("ViT-B-32", config_of("ViT-B-32", {"quick_gelu": True}), "openai")
    """
    own = bool(config.get("quick_gelu", False))
    wanted = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
    if own == wanted:
        return
    other = f"{name}-quickgelu" if wanted else name.removesuffix("-quickgelu")
    known = other != name and other in open_clip.list_models()
    raise ValueError(
        f"name={name!r} has quick_gelu={own} and the weights pretrained={tag!r} were trained with "
        f"quick_gelu={wanted}: pass {f'name={other!r}' if known else f'quick_gelu={wanted}'}"
    )


def pixels_of(name: str, tag: str | None = None) -> dict[str, Any]:
    """How a model's images are prepared: open_clip's preprocess configuration, but for the size.

    Args:
        name: of the model.
        tag: of the weights; without one it is as for the first weights that open_clip has for this
            name, and as for OpenAI's where it has none.

    Example:
        >>> pixels_of("ViT-B-16-SigLIP")["mean"], pixels_of("ViT-B-16-SigLIP")["resize_mode"]
        ((0.5, 0.5, 0.5), 'squash')
    """
    tags = [tag] if tag else open_clip.list_pretrained_tags_by_model(name)[:1]
    own = open_clip.get_pretrained_cfg(name, tags[0]) if tags else {}
    default = open_clip.transform.PreprocessCfg()
    pixels: dict[str, Any] = open_clip.transform.merge_preprocess_dict(default, own)
    return pixels


def tag_of(name: str, pretrained: Pretrained) -> str | None:
    """The tag of open_clip that is meant; ``None`` for random weights and for a file."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    known = f"choose from {', '.join(tags)}" if tags else "open_clip has none for it"
    if pretrained is True:
        raise ValueError(
            f"pretrained=True does not say which weights of {name}: {known}, or pass a file"
        )
    if not isinstance(pretrained, str):
        return None
    if open_clip.get_pretrained_cfg(name, pretrained):
        return pretrained
    require_file(name, pretrained, known)
    return None


def require_file(name: str, pretrained: Pretrained, tags: str) -> None:
    """Refuse a word that was meant as a tag."""
    is_word = isinstance(pretrained, str) and not Path(pretrained).suffix
    if is_word and not Path(str(pretrained)).exists():
        raise ValueError(
            f"pretrained={pretrained!r} is neither a tag of {name} nor a file: {tags}, or pass a file"
        )


def tokenizer_of(name: str, text: dict[str, Any]) -> Tokenizer:
    """The tokenizer that comes with open_clip, where the text tower was trained with that."""
    hub = text.get("hf_tokenizer_name")
    length = text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    if hub:
        raise ValueError(
            f"the tokenizer of {name} is on the Hugging Face hub alone ({hub}): pass "
            f"tokenizer=FUNCTION, from a list of texts to token numbers, int64 (T, {length}); with the "
            f"package transformers and a connection, open_clip.get_tokenizer({name!r}) is one"
        )
    tokenizer: Tokenizer = open_clip.SimpleTokenizer(
        context_length=length, **text.get("tokenizer_kwargs", {})
    )
    return tokenizer
