"""Weights for CLIP models: a file of yours, or one of open_clip's tags; whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from avl_pegp.backbones.checked_weights import WeightsError
from avl_pegp.backbones.fitting import check_fit, first_of
from avl_pegp.backbones.local_weights import LocalWeights, read_local_weights
from avl_pegp.backbones.tiny_clip import IDS, ROWS, TABLE, unpacked

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
    faults = {
        f"{TABLE} besides {ROWS}": TABLE in tensors,
        f"{IDS} of {ids.dtype}": ids.is_floating_point() or ids.dtype == torch.bool,
        f"{ROWS} {tuple(rows.shape)} for {IDS} {tuple(ids.shape)}": (
            ids.ndim != 1 or rows.ndim != 2 or len(ids) != len(rows)
        ),
        f"{ROWS} for a model that has no {TABLE}": table is None,
    }
    found = [fault for fault, is_there in faults.items() if is_there]
    if not found and table is not None:
        outside = int(((ids < 0) | (ids >= len(table))).sum())
        repeated = len(ids) - len(ids.unique())
        found += [f"{outside} {IDS} outside 0 to {len(table) - 1}"] * bool(outside)
        found += [f"{repeated} {IDS} more than once"] * bool(repeated)
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
