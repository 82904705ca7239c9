"""Weights in a file, read without running what is in it, and the record of where they came from."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from avl_pegp.backbones.google_weights import read_google
from avl_pegp.backbones.state_dicts import WeightsError, named_tensors


@dataclass(frozen=True)
class WeightsSource:
    """The origin of a model's weights, as ``create_vit`` leaves it in ``model.weights_source``.

    ``dataclasses.asdict`` gives values that JSON can hold.

    Attributes:
        tag: the architecture with the tag that was resolved, which settles image size and
            normalisation; the weights too, where they are the ones that the tag stands for.
        file: the name of the file that was read, without its folder; ``None`` for random weights.
        sha256: the digest of the file's bytes in hexadecimal; ``None`` for random weights.
        dropped: keys of the file that were not used, that is, those of its head.

    Raises:
        ValueError: a file without its digest, or a digest or dropped keys without a file.

    Example:
        >>> WeightsSource("vit_base_patch16_224.orig_in21k").file is None
        True
    """

    tag: str
    file: str | None = None
    sha256: str | None = None
    dropped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.file is None) != (self.sha256 is None) or (self.dropped and self.file is None):
            raise ValueError(
                f"file={self.file!r}, sha256={self.sha256!r}, dropped={self.dropped!r}: give a file "
                "with its digest, or none of the three for random weights"
            )


#: The names of a head's tensors, in timm's spelling and in Google's.
HEAD = re.compile(r"(head|head_dist|pre_logits)[./]")


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
            unpickling would read, or one that holds something else than ordinary named tensors, as
            ``named_tensors`` says.

    Example:
        >>> from avl_pegp.backbones.tiny_vit import WEIGHTS_FILE
        >>> read_local_weights(WEIGHTS_FILE).body["cls_token"].shape
        torch.Size([1, 1, 128])
    """
    if path.suffix not in _READERS:
        parts = " the files that it lists, joined into one of" * path.name.endswith(".index.json")
        raise WeightsError(
            f"{path} has the suffix {path.suffix!r}: weights are read from{parts} "
            f"{', '.join(_READERS)}"
        )
    try:
        if path.exists() and not path.is_file():  # to read from a pipe could take for ever
            raise WeightsError(f"{path} is a folder or a device: give a file of weights")
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path that no system takes
        raise WeightsError(f"cannot read the weights file {path}: {error}") from error
    if not content:
        raise WeightsError(f"{path} is empty: copy or download it again")
    try:
        tensors = named_tensors(_READERS[path.suffix](content, path), path)
    except WeightsError:
        raise
    except Exception as error:  # readers of damaged files raise whatever they stumble over
        raise WeightsError(
            f"{path} ({len(content)} bytes) is damaged, cut short or not what its suffix says "
            f"({type(error).__name__}: {error}): copy or download it again"
        ) from error
    return LocalWeights(path, hashlib.sha256(content).hexdigest(), tensors)


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


def _read_torch(content: bytes, path: Path) -> Any:
    _check_archive(content, path)
    try:
        # Training scripts leave their arguments beside the weights; a Namespace runs no code.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd in the file is refused by name below
            found = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise WeightsError(
            f"{path} holds {found[1] if found else 'more than tensors, or is damaged'}; reading "
            "that could run code in the file, and is not done: if you trust the file, load "
            "it with torch.load yourself, save its tensors with safetensors.torch.save_file, and "
            "pass that file"
        ) from error
    return found


def _check_archive(content: bytes, path: Path) -> None:
    """Refuse an archive that is damaged, of which torch compares no checksums, or is a program.

    OpenAI's files of CLIP are such programs: torch refuses them too, but not with what to do.
    """
    file = BytesIO(content)
    if not zipfile.is_zipfile(file):
        return
    archive = zipfile.ZipFile(file)
    if any(name.endswith("/constants.pkl") for name in archive.namelist()):
        raise WeightsError(
            f"{path} is a TorchScript archive: a program with weights, and is not run; take the "
            "same weights without a program (of OpenAI's CLIP they are pretrained='openai'), or, if "
            "you trust the file, save torch.jit.load(FILE).state_dict() with "
            "safetensors.torch.save_file, and pass that file"
        )
    damaged = archive.testzip()
    if damaged is not None:
        raise WeightsError(
            f"{path} is damaged: the checksum of {damaged!r} in it is another one (or it was saved "
            "without checksums); copy or download it again"
        )


_READERS: dict[str, Callable[[bytes, Path], Any]] = {
    ".safetensors": lambda content, _: safetensors.torch.load(content),
    **dict.fromkeys((".pth", ".pt", ".bin"), _read_torch),
    ".npz": read_google,
}
