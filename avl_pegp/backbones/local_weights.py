"""Weights in a file of yours, read without running what is in it."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from timm.models import clean_state_dict
from torch import Tensor

from avl_pegp.backbones.checked_weights import WeightsError
from avl_pegp.backbones.google_weights import read_google

__all__ = ["HEAD", "NAMED", "LocalWeights", "read_local_weights"]

#: The names of a head's tensors, in timm's spelling and in Google's.
HEAD = re.compile(r"(head|head_dist|pre_logits)[./]")

_WRAPPERS = ("state_dict", "model")
#: A message names so many keys of a kind and counts the rest.
NAMED = 3


@dataclass(frozen=True)
class LocalWeights:
    """What a file held.

    Attributes:
        path: the file.
        sha256: the digest of its bytes, in hexadecimal.
        tensors: all that it held, by its names, on the CPU.
    """

    path: Path
    sha256: str
    tensors: dict[str, Tensor]

    @property
    def body(self) -> dict[str, Tensor]:
        """The tensors of a vision transformer without its head."""
        return {key: tensor for key, tensor in self.tensors.items() if not HEAD.match(key)}

    @property
    def head(self) -> tuple[str, ...]:
        """The names of the tensors of a vision transformer's head."""
        return tuple(key for key in self.tensors if HEAD.match(key))


def read_local_weights(path: Path) -> LocalWeights:
    """Read ``.safetensors``, ``.pth``, ``.pt``, ``.bin`` (tensors only) or Google's ``.npz``.

    ``{"state_dict": …}``, ``{"model": …}`` and the prefixes of DDP and ``torch.compile`` are
    taken off.

    Raises:
        WeightsError: no such file, another suffix, an empty or damaged file, one that only unsafe
            unpickling would read, or one that holds something else than named tensors.

    Example:
        >>> from avl_pegp.backbones.tiny_vit import WEIGHTS_FILE
        >>> read_local_weights(WEIGHTS_FILE).body["cls_token"].shape
        torch.Size([1, 1, 128])
    """
    if path.suffix not in _READERS:
        raise WeightsError(
            f"{path} has the suffix {path.suffix!r}: weights are read from {', '.join(_READERS)}"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read the weights file {path}: {error}") from error
    if not content:
        raise WeightsError(f"{path} is empty: copy or download it again")
    try:
        tensors = _READERS[path.suffix](content, path)
    except WeightsError:
        raise
    except Exception as error:  # readers of damaged files raise whatever they stumble over
        raise WeightsError(
            f"{path} ({len(content)} bytes) is damaged, cut short or not what its suffix says "
            f"({type(error).__name__}: {error}): copy or download it again"
        ) from error
    return LocalWeights(path, hashlib.sha256(content).hexdigest(), tensors)


def _read_safetensors(content: bytes, path: Path) -> dict[str, Tensor]:
    return _named_tensors(safetensors.torch.load(content), path)


def _read_torch(content: bytes, path: Path) -> dict[str, Tensor]:
    _refuse_torchscript(content, path)
    try:
        # Training scripts leave their arguments beside the weights; a Namespace runs no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise WeightsError(
            f"{path} holds {found[1] if found else 'more than tensors, or is damaged'}; reading "
            "that could run code in the file, and is not done: if you trust the file, load "
            "it with torch.load yourself, save its tensors with safetensors.torch.save_file, and "
            "pass that file"
        ) from error
    return _named_tensors(found, path)


def _refuse_torchscript(content: bytes, path: Path) -> None:
    """OpenAI's files of CLIP are such programs: torch refuses them too, but not with what to do."""
    file = BytesIO(content)
    if not zipfile.is_zipfile(file):
        return
    if any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(file).namelist()):
        raise WeightsError(
            f"{path} is a TorchScript archive: a program with weights, and is not run; take the "
            "same weights without a program (of OpenAI's CLIP they are pretrained='openai'), or, if "
            "you trust the file, save torch.jit.load(FILE).state_dict() with "
            "safetensors.torch.save_file, and pass that file"
        )


def _named_tensors(found: Any, path: Path) -> dict[str, Tensor]:
    """The tensors in a checkpoint, without wrappers and prefixes."""
    while isinstance(found, Mapping) and (inner := [w for w in _WRAPPERS if w in found]):
        found = found[inner[0]]
    if not isinstance(found, Mapping):
        raise WeightsError(
            f"{path} holds a {type(found).__name__}: it must hold tensors by their names"
        )
    others = [f"{k!r} ({type(v).__name__})" for k, v in found.items() if not torch.is_tensor(v)]
    if others:
        raise WeightsError(
            f"{path} holds {', '.join(others[:NAMED])} among {len(found)} entries: it must hold "
            "tensors by their names, at its top or under 'state_dict' or 'model'"
        )
    return clean_state_dict(dict(found))


_READERS: dict[str, Callable[[bytes, Path], dict[str, Tensor]]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".bin": _read_torch,
    ".npz": read_google,
}
