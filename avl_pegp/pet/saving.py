"""Saving and loading PETs: tensors as safetensors, configurations as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avl_pegp.pet.adapter import Adapter
from avl_pegp.pet.attach import attach, attachment_of
from avl_pegp.pet.config import PETConfig
from avl_pegp.pet.context import Context
from avl_pegp.pet.linear_adapter import LinearAdapter
from avl_pegp.pet.lora import LoRA
from avl_pegp.pet.prefix import Prefix
from avl_pegp.pet.prompt import Prompt

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Adapter, Context, LinearAdapter, LoRA, Prefix, Prompt)
}
_CONFIG, _TENSORS = "pet.json", "pet.safetensors"


def save_pet(model: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Write the PETs and the classifier of a model to ``folder``: ``pet.safetensors``, ``pet.json``.

    What rebases left of earlier branches, and settled contexts, are saved too. Files that are there
    are replaced; each appears whole or not at all.

    Args:
        model: a model with PETs attached.
        folder: made if it is not there.

    Raises:
        ValueError: the model has no PETs.
        OSError: the folder can't be written.

    Example:
        >>> import tempfile, timm
        >>> from avl_pegp import LoRA, attach, save_pet
        >>> model = timm.create_model("test_vit", num_classes=10)
        >>> handle = attach(model, LoRA(rank=2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pet(model, folder)
        ...     sorted(os.listdir(folder))
        ['pet.json', 'pet.safetensors']
    """
    from safetensors.torch import save

    attachment = attachment_of(model)
    if attachment is None:
        raise ValueError(f"{type(model).__name__} has no PETs to save: attach them first")
    pets: list[Any] = list(attachment.pets)
    pets = [{"kind": type(pet).__name__, **dataclasses.asdict(pet)} for pet in pets]
    tensors = {n: p.detach().contiguous() for n, p in attachment.tensors().items()}

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        _TENSORS: save(tensors),
        _CONFIG: (json.dumps({"pets": pets}, indent=2) + "\n").encode(),
    }
    for name, content in contents.items():
        partial = folder / f"{name}.partial"
        try:
            partial.write_bytes(content)
            os.replace(partial, folder / name)
        finally:
            partial.unlink(missing_ok=True)


@torch.no_grad()
def load_pet(model: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Read what ``save_pet`` wrote into a model, attaching the PETs if it has none.

    Args:
        model: of the architecture that was saved, bare or with the same PETs attached.
        folder: where ``save_pet`` wrote.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file can't be read, the attached PETs are others, or tensors are missing, left
            over, or of another shape. The model is then as it was.

    Example:
        >>> import tempfile, timm
        >>> from avl_pegp import LoRA, attach, load_pet, save_pet
        >>> model, other = (timm.create_model("test_vit", num_classes=10) for _ in range(2))
        >>> handle = attach(model, LoRA(rank=2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pet(model, folder)
        ...     load_pet(other, folder)
        >>> bool((other.head.weight == model.head.weight).all())
        True
    """
    folder = Path(folder)
    pets = _read_pets(folder / _CONFIG)
    tensors = _read_tensors(folder / _TENSORS)
    attached = attachment_of(model)
    if attached is not None and attached.pets != tuple(pets):
        raise ValueError(
            f"the model has {attached.pets}, but {folder} holds {tuple(pets)}: detach() first"
        )
    attachment = attached or attach(model, *pets)
    before = attachment.earlier()
    try:
        attachment.take_earlier(tensors)
        _copy_exactly(tensors, attachment.tensors(), folder)
    except ValueError:
        attachment.take_earlier(before)
        if attached is None:
            attachment.detach()
        raise


def _read_pets(path: Path) -> list[PETConfig]:
    try:
        entries = json.loads(path.read_text())["pets"]
        return [_KINDS[entry.pop("kind")](**entry) for entry in entries]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a PET configuration written by save_pet: {error}"
        ) from error


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: save_pet writes it beside {_CONFIG}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error


def _copy_exactly(
    source: dict[str, torch.Tensor], target: dict[str, torch.Tensor], folder: Path
) -> None:
    missing, left_over = (
        sorted(target.keys() - source.keys()),
        sorted(source.keys() - target.keys()),
    )
    shapes = [
        f"{name}: {tuple(source[name].shape)} in the file, {tuple(target[name].shape)} in the model"
        for name in sorted(source.keys() & target.keys())
        if source[name].shape != target[name].shape
    ]
    if missing or left_over or shapes:
        raise ValueError(
            f"{folder} does not fit the model. Missing in the file: {missing or 'none'}. "
            f"Not in the model: {left_over or 'none'}. Other shapes: {shapes or 'none'}. "
            "Load into the architecture, class count and PETs that were saved"
        )
    for name, tensor in target.items():
        tensor.copy_(source[name])
