"""Reading shipped weights only when they are, byte for byte, what was shipped."""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors.torch
from torch import Tensor

__all__ = ["WeightsError", "read_weights"]


class WeightsError(RuntimeError):
    """A file of weights is missing, damaged, unsafe, or of another model than the one it is for."""


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a safetensors file after comparing its digest; nothing is parsed before that.

    Args:
        path: the file.
        sha256: the digest that its bytes must have, in hexadecimal.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        WeightsError: there is no such file, or its digest is another one (damaged, cut short, or
            a different file).

    Example:
        >>> from avl_pegp.backbones.tiny_vit import WEIGHTS_FILE, WEIGHTS_SHA256
        >>> read_weights(WEIGHTS_FILE, WEIGHTS_SHA256)["cls_token"].shape
        torch.Size([1, 1, 128])
    """
    remedy = "reinstall avl_pegp, or restore this file from the release or repository it came with."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read the weights file {path} ({error}); {remedy}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"the weights file {path} ({len(content)} bytes) is not the shipped one: "
            f"expected sha256 {sha256}, found {found}; {remedy}"
        )
    return safetensors.torch.load(content)
