"""Weights for CLIP models: a file of yours, or one of open_clip's tags; whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor

from avl_pegp.backbones.checked_weights import WeightsError
from avl_pegp.backbones.loading import check_fit
from avl_pegp.backbones.local_weights import LocalWeights, read_local_weights
from avl_pegp.backbones.tiny_clip import unpacked

__all__ = ["download", "load_clip", "read_clip_weights"]

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
    tensors = _as_named(model, unpacked(tensors, model.vocab_size))
    for name in {"logit_scale", "logit_bias"} & own.keys() & tensors.keys():
        if tensors[name].numel() == own[name].numel():
            tensors[name] = tensors[name].reshape(own[name].shape)
    complaint = f"{weights.path} does not fit {source.tag}"
    check_fit(complaint, tensors, own, "with open_clip's names for its tensors")
    model.load_state_dict(tensors)
    model.weights_source = replace(
        source, file=weights.path.name, sha256=weights.sha256, dropped=dropped
    )


def _as_named(model: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under ``text.`` what stands at the top of older files, where the model has it there."""
    if hasattr(model, "text"):
        tensors = open_clip.model.convert_to_custom_text_state_dict(tensors)
    return tensors
