"""Saving and loading what was tuned of a model: one safetensors file that tells what it is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from avl_pegp.pet.attach import Attachment, attach
from avl_pegp.pet.pet_file import FrozenModel, PETFile, read_pet_file, written
from avl_pegp.wrappers import named_root, path_of

_OLD_CONFIG, _FILE = "pet.json", "pet.safetensors"


def save_pet(model: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Write all that was tuned of a model to ``folder``, as one file ``pet.safetensors``.

    It holds the PETs, with what restarts left of earlier branches, and settled contexts; the classifier
    as it is now, with its buffers; and what was made trainable since ``attach``. Of the frozen model it
    holds what it takes to know it again. A file that is there is replaced as a whole or not at all.

    Args:
        model: a model with PETs attached.
        folder: made if it is not there.

    Raises:
        ValueError: the model has no PETs, or NaN or infinite values in what was tuned.
        OSError: the folder can't be written. What was there is then as it was.

    Example:
        >>> import tempfile, timm
        >>> from avl_pegp import LoRA, attach, save_pet
        >>> model = timm.create_model("test_vit", num_classes=10)
        >>> handle = attach(model, LoRA(rank=2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pet(model, folder)
        ...     os.listdir(folder)
        ['pet.safetensors']
    """
    tuned = _Tuned.of(model)
    if tuned is None:
        raise ValueError(f"{type(model).__name__} has no PETs to save: attach them first")
    model, attachment = tuned.model, tuned.attachment
    # Copies: tensors that two layers share are written under both names.
    tensors = {name: t.cpu().clone().contiguous() for name, t in tuned.tensors().items()}
    _require_finite(tensors, "the model")
    frozen = FrozenModel.of(model, tensors)
    content = written(PETFile(attachment.pets, tensors, frozen))

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{_FILE}.partial"
    try:
        partial.write_bytes(content)
        os.replace(partial, folder / _FILE)
    finally:
        partial.unlink(missing_ok=True)
    (folder / _OLD_CONFIG).unlink(missing_ok=True)  # an earlier version's, of no more use


@torch.no_grad()
def load_pet(model: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Read what ``save_pet`` wrote into a model, attaching the PETs if it has none.

    The frozen weights must be those that were beside the PETs when they were saved, and set up in the
    same way; they may be on another device, and in a dtype that holds the same numbers. What was made
    trainable after ``attach`` is so afterwards. (A folder with a
    ``pet.json``, of an earlier version, does not say what they were: it is read without that check.)

    Args:
        model: of the architecture that was saved, bare or with the same PETs attached.
        folder: where ``save_pet`` wrote.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the file can't be read or was changed, the attached PETs are others, the frozen model
            is another, or tensors are missing, left over, of another shape or dtype, NaN or infinite.
            The model is then as it was.

    Example:
        >>> import copy, tempfile, timm
        >>> from avl_pegp import LoRA, attach, load_pet, save_pet
        >>> model = timm.create_model("test_vit", num_classes=10)
        >>> other = copy.deepcopy(model)
        >>> handle = attach(model, LoRA(rank=2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pet(model, folder)
        ...     load_pet(other, folder)
        >>> bool((other.blocks[0].attn.qkv.A.weight == model.blocks[0].attn.qkv.A.weight).all())
        True
    """
    folder = Path(folder)
    file = read_pet_file(folder / _FILE, folder / _OLD_CONFIG)
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    attached = _Tuned.of(model)
    if attached is not None and attached.attachment.pets != file.pets:
        raise ValueError(
            f"the model has {attached.attachment.pets}, but {folder} holds {file.pets}: detach() first"
        )
    tuned = attached or _Tuned(named_root(model), attach(named_root(model), *file.pets))
    model, attachment = tuned.model, tuned.attachment
    before, own = attachment.earlier(), tuned.tensors()
    held = {**_parts_of(model, file.tensors), **own}
    copies = {name: tensor.clone() for name, tensor in held.items()}
    try:
        attachment.take_earlier(tuned.inside(file.tensors))
        target = {**_parts_of(model, file.tensors), **tuned.tensors()}
        _require_fit(file.tensors, target, folder)
        _require_finite(file.tensors, str(folder))
        file.require_unchanged()
        if file.frozen is not None:
            file.frozen.require(model, target, folder)
        for name, tensor in target.items():
            tensor.copy_(file.tensors[name])
    except BaseException:
        attachment.take_earlier(before)
        for name, tensor in held.items():
            tensor.copy_(copies[name])
        if attached is None:
            attachment.detach()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        raise
    for name, parameter in model.named_parameters():
        if name in target.keys() - own.keys():  # made trainable after attach, or not in the file
            parameter.requires_grad_(True)


class _Tuned:
    """A model with PETs, or one around it that adds tensors of its own, as heads for tasks."""

    def __init__(self, model: nn.Module, attachment: Attachment) -> None:
        self.model, self.attachment = model, attachment
        path = path_of(model, attachment.model)
        self.prefix = f"{path}." if path else ""

    @classmethod
    def of(cls, model: nn.Module) -> _Tuned | None:
        """The model without wrappers that have no tensors; ``None`` where it has no PETs."""
        model = named_root(model)
        attachment = next((m for m in model.modules() if isinstance(m, Attachment)), None)
        if attachment is None:
            return None
        tuned = cls(model, attachment)
        return tuned if tuned._around() else cls(attachment.model, attachment)

    def tensors(self) -> dict[str, Tensor]:
        """All that answers depend on beside the frozen model, by the names of ``model``."""
        inside = {f"{self.prefix}{n}": t for n, t in self.attachment.tensors().items()}
        return inside | self._around()

    def inside(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the model with the PETs, by its own names."""
        own = {n: t for n, t in tensors.items() if n.startswith(self.prefix)}
        return {n.removeprefix(self.prefix): t for n, t in own.items()}

    def _around(self) -> dict[str, Tensor]:
        """The tensors that are not of the model with the PETs."""
        named = (*self.model.named_parameters(), *self.model.named_buffers())
        return {name: t.detach() for name, t in named if not name.startswith(self.prefix)}


def _parts_of(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Those of the names that are parameters or buffers of the model."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: own[name].detach() for name in names if name in own}


def _require_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    wrong = [name for name, t in tensors.items() if not t.isfinite().all()]
    if wrong:
        raise ValueError(
            f"{where} has NaN or infinite values in {', '.join(sorted(wrong))}: training has "
            "diverged, or the file is damaged; go back to a good one"
        )


def _require_fit(source: Mapping[str, Tensor], target: Mapping[str, Tensor], folder: Path) -> None:
    missing = sorted(target.keys() - source.keys())
    left_over = sorted(source.keys() - target.keys())
    shapes, dtypes = [], []
    for name in sorted(source.keys() & target.keys()):
        then, now = source[name], target[name]
        if then.shape != now.shape:
            shapes.append(
                f"{name}: {tuple(then.shape)} in the file, {tuple(now.shape)} in the model"
            )
        if _kind(then) != _kind(now):
            dtypes.append(f"{name}: {_kind(then)} in the file, {_kind(now)} in the model")
    if missing or left_over or shapes or dtypes:
        raise ValueError(
            f"{folder} does not fit the model. Missing in the file: {missing or 'none'}. "
            f"Not in the model: {left_over or 'none'}. Other shapes: {shapes or 'none'}. "
            f"Other dtypes: {dtypes or 'none'}. Load into the architecture, class count, classifier and "
            "PETs that were saved, with the same tensors trainable"
        )


def _kind(tensor: Tensor) -> str:
    """The dtype, said in the same way where one can be turned into the other."""
    wide = tensor.dtype in (torch.float32, torch.float64)
    return "float32 or float64" if wide else str(tensor.dtype)
