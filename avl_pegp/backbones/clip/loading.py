"""One function for the CLIP models of open_clip and the tiny one of this package."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

try:
    import open_clip
except ImportError as error:
    raise ImportError("CLIP needs open_clip: pip install 'open_clip_torch>=3.1'") from error

from avl_pegp.backbones.clip.config import (
    Tokenizer,
    check_activation,
    check_towers,
    config_of,
    pixels_of,
    require_file,
    tag_of,
    tokenizer_of,
)
from avl_pegp.backbones.clip.model import CLIPClassifier
from avl_pegp.backbones.registry import CLIPS, Pretrained, register_clip
from avl_pegp.backbones.state_dicts import WeightsError, check_fit, first_of
from avl_pegp.backbones.tiny_clip import IDS, ROWS, TABLE, TINY_CLIP, create_tiny_clip, unpacked
from avl_pegp.backbones.weights import LocalWeights, WeightsSource, read_local_weights


def create_clip(
    name: str,
    class_names: Sequence[str],
    pretrained: Pretrained = False,
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
    clip, own_tokenizer = CLIPS.builder(name)(name, pretrained, tokenizer, **options)
    model = CLIPClassifier(clip, own_tokenizer, class_names, template)
    model.weights_source = clip.weights_source
    return model


@register_clip(TINY_CLIP)
def _create_tiny(
    name: str, pretrained: Pretrained, tokenizer: Tokenizer | None, **options: Any
) -> tuple[Any, Tokenizer]:
    if options:
        option, value = next(iter(options.items()))
        raise ValueError(
            f"{option}={value!r} is not an option of {name}, whose architecture is fixed: leave it out"
        )
    require_file(name, pretrained, "it has none, True is for the weights of this package")
    weights = None if isinstance(pretrained, bool) else read_clip_weights(Path(pretrained))
    clip = create_tiny_clip(pretrained is True)
    if weights is not None:
        load_clip(clip, weights)
    return clip, tokenizer or open_clip.SimpleTokenizer(context_length=clip.context_length)


@register_clip("*")
def _create_of_open_clip(
    name: str, pretrained: Pretrained, tokenizer: Tokenizer | None, **options: Any
) -> tuple[Any, Tokenizer]:
    config = config_of(name, options)
    check_towers(name, config)
    tokenizer = tokenizer or tokenizer_of(name, config["text_cfg"])
    tag = tag_of(name, pretrained)
    if tag:
        check_activation(name, config, tag)
    file = download(name, tag) if tag else pretrained
    weights = None if isinstance(file, bool) else read_clip_weights(Path(file))
    # Not by open_clip.create_model, which talks to the root logger and to hubs.
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    clip = kind(**config)
    if "image_size" in options.get("vision_cfg", {}) and "timm_model_name" in config["vision_cfg"]:
        clip.visual.set_input_size(clip.visual.image_size)  # timm's towers are born with their own
    open_clip.model.set_model_preprocess_cfg(
        clip, {**pixels_of(name, tag), "size": clip.visual.image_size}
    )
    clip.weights_source = WeightsSource(f"{name}.{tag}" if tag else name)
    if weights is not None:
        load_clip(clip, weights)
    return clip, tokenizer


_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
# Numbers that OpenAI keeps among the tensors; the configuration has them.
_NUMBERS = ("input_resolution", "context_length", "vocab_size")


def read_clip_weights(path: Path) -> LocalWeights:
    """Read a file of weights of CLIP: tensors by open_clip's names.

    Raises:
        WeightsError: another suffix, or whatever ``read_local_weights`` refuses.

    Example:
        >>> from avl_pegp.backbones.tiny_clip import WEIGHTS_FILE
        >>> read_clip_weights(WEIGHTS_FILE).tensors["visual.proj"].shape
        torch.Size([128, 96])
    """
    if path.suffix not in _SUFFIXES:
        raise WeightsError(
            f"{path} has the suffix {path.suffix!r}: weights of CLIP are read from "
            f"{', '.join(_SUFFIXES)}"
        )
    return read_local_weights(path)


def download(name: str, tag: str) -> Path:
    """The file of weights that open_clip has for a model, from its cache or downloaded once.

    Args:
        name: of the model.
        tag: of the weights, one that open_clip has for this name.

    Raises:
        WeightsError: it is not in the cache and can't be downloaded.
    """
    config = open_clip.get_pretrained_cfg(name, tag)
    try:
        return Path(open_clip.download_pretrained(config))
    except (OSError, RuntimeError) as error:
        place = f"https://huggingface.co/{config['hf_hub']}" if config["hf_hub"] else config["url"]
        raise WeightsError(
            f"the weights {tag!r} of {name} are not in the cache and can't be downloaded ({error}): "
            f"go online once, or download them from {place} elsewhere and pass pretrained=FILE"
        ) from error


def load_clip(model: Any, weights: LocalWeights) -> None:
    """Load all weights of a CLIP model, and note the source in ``model.weights_source``.

    Names of the text tower from before open_clip had one, and a scale that is a vector of one number
    in the file or in the model, are no difference.

    Args:
        model: open_clip's, with random weights and a ``weights_source``.
        weights: what ``read_clip_weights`` gave.

    Raises:
        WeightsError: the weights are of another architecture; the model is then unchanged.

    Example:
        >>> from avl_pegp.backbones.tiny_clip import WEIGHTS_FILE, create_tiny_clip
        >>> model = create_tiny_clip()
        >>> load_clip(model, read_clip_weights(WEIGHTS_FILE))
        >>> model.weights_source.file
        'tiny_clip_32_glyphs.safetensors'
    """
    own, source = model.state_dict(), model.weights_source
    dropped = tuple(name for name in _NUMBERS if name in weights.tensors)
    tensors = {name: t for name, t in weights.tensors.items() if name not in dropped}
    complaint = f"{weights.path} does not fit {source.tag}"
    _check_packed(complaint, tensors, own)
    tensors = _as_named(complaint, model, unpacked(tensors, model.vocab_size))
    for name in {"logit_scale", "logit_bias"} & own.keys() & tensors.keys():
        if tensors[name].numel() == own[name].numel():
            tensors[name] = tensors[name].reshape(own[name].shape)
    check_fit(complaint, tensors, own, "with open_clip's names for its tensors")
    model.load_state_dict(tensors)
    model.weights_source = replace(
        source, file=weights.path.name, sha256=weights.sha256, dropped=dropped
    )


def _check_packed(complaint: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse rows of the token table that say not, or not clearly, which tokens they are of."""
    if IDS not in tensors or ROWS not in tensors:
        return
    ids, rows, table = tensors[IDS], tensors[ROWS], own.get(TABLE)
    size = 0 if table is None else len(table)
    outside, repeated = int(((ids < 0) | (ids >= size)).sum()), ids.numel() - ids.unique().numel()
    faults = {
        f"{TABLE} besides {ROWS}": TABLE in tensors,
        f"{IDS} of {ids.dtype}": ids.is_floating_point() or ids.dtype == torch.bool,
        f"{ROWS} {tuple(rows.shape)} for {IDS} {tuple(ids.shape)}": (
            ids.ndim != 1 or rows.ndim != 2 or len(ids) != len(rows)
        ),
        f"{ROWS} for a model that has no {TABLE}": table is None,
        f"{outside} {IDS} outside 0 to {size - 1}": table is not None and outside,
        f"{repeated} {IDS} more than once": repeated,
    }
    found = [fault for fault, is_there in faults.items() if is_there]
    if found:
        raise WeightsError(
            f"{complaint}: it has {', '.join(found)}. Save the model's state_dict(), whose token "
            "table is whole"
        )


def _as_named(complaint: str, model: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under ``text.`` what stands at the top of older files, where the model has it there."""
    if not hasattr(model, "text"):
        return tensors
    renamed: dict[str, Tensor] = open_clip.model.convert_to_custom_text_state_dict(tensors)
    if len(renamed) < len(tensors):
        twice = [name for name in tensors if f"text.{name}" in tensors and name not in renamed]
        raise WeightsError(
            f"{complaint}: it has {first_of(twice)} a second time, under 'text.'. Save the "
            "weights that are meant alone"
        )
    return renamed
