"""Google's files of vision transformers (``.npz``), under the names that timm gives the tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO
from math import isqrt
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from avl_pegp.backbones.state_dicts import WeightsError, check_fit

_Shapes: TypeAlias = dict[str, tuple[int, ...]]

_BLOCK = "Transformer/encoderblock_0"
_HEAD = re.compile(r"(head|pre_logits)/")


def read_google(content: bytes, path: Path) -> dict[str, Tensor]:
    """Read the layout of ``gs://vit_models/imagenet21k`` and ``augreg`` with timm's own converter.

    The converter fills a model. Ours has the sizes found in the file, so that the result can be
    compared with the model that is wanted as any other file is. NumPy reads without pickles.

    Args:
        content: the bytes of the file.
        path: its name, for messages.

    Returns:
        The tensors by timm's names; those of the head keep their names in the file, ``head/…`` and
        ``pre_logits/…``.

    Raises:
        WeightsError: arrays of a plain vision transformer are missing, or there are others; one has
            another shape, other numbers than fractions, NaN, or objects of Python.
        Exception: whatever NumPy raises where the file is damaged.

    Example:
        >>> file = BytesIO()
        >>> np.savez(file, weight=np.zeros(3))
        >>> try:
        ...     read_google(file.getvalue(), Path("weights.npz"))
        ... except WeightsError as error:
        ...     print(str(error)[:49])
        weights.npz lacks the array 'embedding/kernel', w
    """
    arrays = _arrays(content, path)
    head = {name: arrays.pop(name) for name in list(arrays) if _HEAD.match(name)}
    sizes, shapes = _sizes(arrays, path)
    lacking = [name for name in shapes if name not in arrays]
    if lacking:
        raise _lacks(lacking[0], path)
    wanted = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    check_fit(
        f"{path} does not hold a plain vision transformer",
        arrays,
        wanted,
        "with Google's names for its arrays: this one is of another architecture",
    )
    with torch.device("meta"):  # no random numbers are drawn for what is filled below
        model = VisionTransformer(**sizes)
    model.to_empty(device="cpu").load_pretrained(BytesIO(content))
    return model.state_dict() | head


def _arrays(content: bytes, path: Path) -> dict[str, Tensor]:
    """What the file holds, as tensors."""
    with np.load(BytesIO(content), allow_pickle=False) as archive:
        names = archive.files
        arrays = {name: _array(archive, name, path) for name in names}
    if len(arrays) < len(names):
        repeated = [name for name in names if names.count(name) > 1]
        raise WeightsError(f"{path} holds the array {repeated[0]!r} twice: save it once")
    return arrays


def _array(archive: Mapping[str, Any], name: str, path: Path) -> Tensor:
    """One array, without running what is in it."""
    try:
        array = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise WeightsError(
            f"{path} holds objects of Python in the array {name!r}; reading them could run code in "
            "the file, and is not done (allow_pickle=False): save it as an array of float32"
        ) from error
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise WeightsError(
            f"{path} holds the array {name!r} with numbers of type {array.dtype}: save it as float32"
        )
    return torch.from_numpy(array)


def _sizes(arrays: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Any], _Shapes]:
    """The arguments of the transformer whose arrays these are, and the shapes that it needs."""
    attention, mlp = "MultiHeadDotProductAttention_1", "MlpBlock_3"
    side, _, channels, width = _shape(arrays, "embedding/kernel", 4, path)
    tokens = _shape(arrays, "Transformer/posembed_input/pos_embedding", 3, path)[1]
    _, heads, _ = _shape(arrays, f"{_BLOCK}/{attention}/query/kernel", 3, path)
    _, hidden = _shape(arrays, f"{_BLOCK}/{mlp}/Dense_0/kernel", 2, path)
    depth = len({name.split("/")[1] for name in arrays if "/encoderblock_" in name})
    grid, own = isqrt(tokens - ("cls" in arrays)), width // max(heads, 1)
    vector: _Shapes = {"scale": (width,), "bias": (width,)}
    into: _Shapes = {"kernel": (width, heads, own), "bias": (heads, own)}
    block: dict[str, _Shapes] = {
        "LayerNorm_0": vector,
        "LayerNorm_2": vector,
        **{f"{attention}/{part}": into for part in ("query", "key", "value")},
        f"{attention}/out": {"kernel": (heads, own, width), "bias": (width,)},
        f"{mlp}/Dense_0": {"kernel": (width, hidden), "bias": (hidden,)},
        f"{mlp}/Dense_1": {"kernel": (hidden, width), "bias": (width,)},
    }
    layers: dict[str, _Shapes] = {
        "embedding": {"kernel": (side, side, channels, width), "bias": (width,)},
        "Transformer/posembed_input": {"pos_embedding": (1, grid**2 + ("cls" in arrays), width)},
        "Transformer/encoder_norm": vector,
        **{f"Transformer/encoderblock_{i}/{k}": v for i in range(depth) for k, v in block.items()},
    }
    shapes = {f"{layer}/{name}": s for layer, of_it in layers.items() for name, s in of_it.items()}
    sizes = {
        "img_size": grid * side,
        "patch_size": side,
        "in_chans": channels,
        "num_classes": 0,
        "global_pool": "",
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads,
        "mlp_ratio": hidden / width,
        "class_token": "cls" in arrays,
    }
    return sizes, shapes | ({"cls": (1, 1, width)} if "cls" in arrays else {})


def _shape(arrays: Mapping[str, Tensor], name: str, axes: int, path: Path) -> tuple[int, ...]:
    """The shape of an array that has so many axes, none of which is empty."""
    if name not in arrays:
        raise _lacks(name, path)
    shape = tuple(arrays[name].shape)
    if len(shape) != axes or 0 in shape:
        raise WeightsError(
            f"{path} holds the array {name!r} of shape {shape}, and a vision transformer has "
            f"{axes} axes there, none of them empty: it is of another architecture"
        )
    return shape


def _lacks(name: str, path: Path) -> WeightsError:
    return WeightsError(
        f"{path} lacks the array {name!r}, which Google's vision transformers have: pass one of "
        "those, or save the weights under timm's names as .safetensors"
    )
