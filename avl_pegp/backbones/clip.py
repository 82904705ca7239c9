"""One function for the CLIP models of open_clip and the tiny one of this package."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

try:
    import open_clip
except ImportError as error:
    raise ImportError("CLIP needs open_clip: pip install 'open_clip_torch>=3.1'") from error

from avl_pegp.backbones.clip_classifier import CLIPClassifier
from avl_pegp.backbones.clip_config import check_activation, check_towers, config_of, pixels_of
from avl_pegp.backbones.clip_loading import download, load_clip, read_clip_weights
from avl_pegp.backbones.tiny_clip import TINY_CLIP, create_tiny_clip
from avl_pegp.backbones.weights_source import WeightsSource

__all__ = ["create_clip"]

#: Texts to token numbers (T, context length), int64.
Tokenizer = Callable[[list[str]], Tensor]


def create_clip(
    name: str,
    class_names: Sequence[str],
    pretrained: bool | str | os.PathLike[str] = False,
    *,
    template: str = "a photo of a {}.",
    tokenizer: Tokenizer | None = None,
    **options: Any,
) -> CLIPClassifier:
    """Build a CLIP model as a classifier whose classes are names.

    ``model.weights_source`` says which weights the model has (a ``WeightsSource``).

    Args:
        name: ``"tiny_clip_32.glyphs"`` (3x32x32 images, weights inside this package) or one of
            ``open_clip.list_models()``, as ``"ViT-B-16"``, with a vision transformer, open_clip's
            or timm's, and open_clip's own text tower.
        class_names: what the template is filled with, one for each class.
        pretrained: ``False`` for random weights; ``True`` for those of the tiny model; one of
            open_clip's tags for this name, as ``"openai"``, downloaded once; or a file with weights
            of this architecture and open_clip's names: ``.safetensors``, ``.pt``, ``.pth`` or
            ``.bin``, of which nothing but tensors is read.
        template: of the prompts, with ``{}`` for the name of the class.
        tokenizer: from a list of texts to int64 (T, context length); ``None`` for the model's own,
            if open_clip has that without a download.
        options: values of open_clip's configuration of this name to replace, ``vision_cfg`` and
            ``text_cfg`` key by key: ``quick_gelu=True``, ``text_cfg={"layers": 6}``.

    Returns:
        The model in training mode with all its parameters trainable.

    Raises:
        ImportError: open_clip is not installed; the message says how to install it.
        ValueError: an unknown name or tag; a tag of weights with another activation (QuickGELU or
            not); no weights that ``True`` could mean; a tokenizer that is only on a hub; an option
            of the tiny model; or class names or a template that ``CLIPClassifier`` refuses.
        TypeError: one of the towers is of another kind; ``pretrained`` is neither a bool nor a path;
            ``vision_cfg`` or ``text_cfg`` is no dict; or ``tokenizer`` is no function.
        WeightsError: the file can't be read or does not fit, the download failed, or the weights in
            the package are damaged.

    Example:
        >>> import torch
        >>> model = create_clip("tiny_clip_32.glyphs", ["capital a", "digit two"], pretrained=True)
        >>> model(torch.zeros(3, 3, 32, 32)).shape
        torch.Size([3, 2])
        >>> model.weights_source.file
        'tiny_clip_32_glyphs.safetensors'
    """
    if not isinstance(pretrained, bool | str | os.PathLike):
        raise TypeError(
            f"pretrained={pretrained!r}: must be True, False, a tag of open_clip or the path of a file"
        )
    build = _tiny if name == TINY_CLIP else _of_open_clip
    clip, own_tokenizer = build(name, pretrained, tokenizer, options)
    model = CLIPClassifier(clip, own_tokenizer, class_names, template)
    model.weights_source = clip.weights_source
    return model


def _tiny(
    name: str,
    pretrained: bool | str | os.PathLike[str],
    tokenizer: Tokenizer | None,
    options: dict[str, Any],
) -> tuple[Any, Tokenizer]:
    if options:
        option, value = next(iter(options.items()))
        raise ValueError(
            f"{option}={value!r} is not an option of {name}, whose architecture is fixed: leave it out"
        )
    _require_file(name, pretrained, "it has none, True is for the weights of this package")
    weights = None if isinstance(pretrained, bool) else read_clip_weights(Path(pretrained))
    clip = create_tiny_clip(pretrained is True)
    if weights is not None:
        load_clip(clip, weights)
    return clip, tokenizer or open_clip.SimpleTokenizer(context_length=clip.context_length)


def _of_open_clip(
    name: str,
    pretrained: bool | str | os.PathLike[str],
    tokenizer: Tokenizer | None,
    options: dict[str, Any],
) -> tuple[Any, Tokenizer]:
    config = config_of(name, options)
    check_towers(name, config)
    tokenizer = tokenizer or _tokenizer(name, config["text_cfg"])
    tag = _tag(name, pretrained)
    if tag:
        check_activation(name, config, tag)
    file = download(name, tag) if tag else pretrained
    weights = None if isinstance(file, bool) else read_clip_weights(Path(file))
    clip = _built(config)
    if "image_size" in options.get("vision_cfg", {}) and "timm_model_name" in config["vision_cfg"]:
        clip.visual.set_input_size(clip.visual.image_size)  # timm's towers are born with their own
    open_clip.model.set_model_preprocess_cfg(
        clip, {**pixels_of(name, tag), "size": clip.visual.image_size}
    )
    clip.weights_source = WeightsSource(f"{name}.{tag}" if tag else name)
    if weights is not None:
        load_clip(clip, weights)
    return clip, tokenizer


def _built(config: dict[str, Any]) -> Any:
    """Not by ``open_clip.create_model``, which talks to the root logger and to hubs."""
    arguments = {key: value for key, value in config.items() if key != "custom_text"}
    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    return kind(**arguments)


def _tag(name: str, pretrained: bool | str | os.PathLike[str]) -> str | None:
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
    _require_file(name, pretrained, known)
    return None


def _require_file(name: str, pretrained: bool | str | os.PathLike[str], tags: str) -> None:
    """Refuse a word that was meant as a tag."""
    is_word = isinstance(pretrained, str) and not Path(pretrained).suffix
    if is_word and not Path(str(pretrained)).exists():
        raise ValueError(
            f"pretrained={pretrained!r} is neither a tag of {name} nor a file: {tags}, or pass a file"
        )


def _tokenizer(name: str, text: dict[str, Any]) -> Tokenizer:
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
