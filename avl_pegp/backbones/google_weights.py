"""Google's files of vision transformers (``.npz``), under the names that timm gives the tensors."""

from __future__ import annotations

import re
from io import BytesIO
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from avl_pegp.backbones.checked_weights import WeightsError

__all__ = ["read_google"]

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
        WeightsError: arrays of a plain vision transformer are missing, or there are others.
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
    with np.load(BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    head = {name: torch.from_numpy(arrays.pop(name)) for name in list(arrays) if _HEAD.match(name)}
    try:
        with torch.device("meta"):  # no random numbers are drawn for what is filled below
            model = VisionTransformer(**_sizes(arrays))
        model.to_empty(device="cpu").load_pretrained(BytesIO(content))
    except KeyError as error:
        name = re.findall(r"[\w/]+/\w+|cls", str(error))[0]
        raise WeightsError(
            f"{path} lacks the array {name!r}, which Google's vision transformers have: pass one of "
            "those, or save the weights under timm's names as .safetensors"
        ) from error
    tensors = model.state_dict()
    found, wanted = sum(a.size for a in arrays.values()), sum(t.numel() for t in tensors.values())
    if found != wanted:
        raise WeightsError(
            f"{path} holds {found} numbers besides the head, and a plain vision transformer of its "
            f"sizes has {wanted}: it is of another architecture"
        )
    return tensors | head


def _sizes(arrays: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the transformer whose arrays these are."""
    height, _, channels, width = arrays["embedding/kernel"].shape
    tokens = arrays["Transformer/posembed_input/pos_embedding"].shape[1] - ("cls" in arrays)
    return {
        "img_size": isqrt(tokens) * height,
        "patch_size": height,
        "in_chans": channels,
        "num_classes": 0,
        "global_pool": "",
        "embed_dim": width,
        "depth": len({name.split("/")[1] for name in arrays if "/encoderblock_" in name}),
        "num_heads": arrays[f"{_BLOCK}/MultiHeadDotProductAttention_1/query/kernel"].shape[1],
        "mlp_ratio": arrays[f"{_BLOCK}/MlpBlock_3/Dense_0/kernel"].shape[1] / width,
        "class_token": "cls" in arrays,
    }
