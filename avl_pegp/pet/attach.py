"""Attaching PETs to a vision transformer, and taking them off again without a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from avl_pegp.pet.changes import Changes
from avl_pegp.pet.config import PETConfig
from avl_pegp.pet.lora import BranchedLinear
from avl_pegp.pet.restart import layers_with_earlier
from avl_pegp.pet.towers import towers_of
from avl_pegp.pet.trainable import (
    ATTACHMENT,
    classifier_of,
    freeze,
    summary,
    trainable_tensors,
)
from avl_pegp.wrappers import unwrapped


class Attachment(nn.Module):
    """The handle that ``attach`` returns: ``detach()``, ``merge()``, and a context manager.

    It is a child module of the model, so that ``model.train()``, ``deepcopy`` and pickling treat it as
    the part of the model that it is. It has no tensors of its own.
    """

    def __init__(self, model: nn.Module, pets: tuple[PETConfig, ...]) -> None:
        super().__init__()
        self.pets = pets
        self._model = (model,)  # in a tuple, or the model would be its own grandchild
        self._changes = Changes(model)
        self._tensors: tuple[str, ...] = ()

    @property
    def model(self) -> nn.Module:
        """The model that the PETs are on."""
        return self._model[0]

    def _build(self) -> None:
        """Freeze the model and put the PETs in."""
        model = self.model
        towers = towers_of(model, self._changes.replace)
        absent = [pet for pet in self.pets if pet.tower not in towers]
        if absent:
            raise TypeError(
                f"{absent[0]} for a {type(model).__name__}, which has no {absent[0].tower} tower: it "
                f"has {', '.join(towers)}"
            )
        model.add_module(ATTACHMENT, self)
        model.requires_grad_(False)
        for pet in sorted(self.pets, key=lambda pet: pet.depth):
            pet.install(towers[pet.tower])
        self._tensors = tuple(trainable_tensors(model))
        classifier_of(model).requires_grad_(True)
        freeze(p for p in model.parameters() if not p.requires_grad)
        model.train(model.training)

    def _undo(self) -> None:
        """Leave no trace on the model."""
        if attachment_of(self.model) is self:
            delattr(self.model, ATTACHMENT)
        self._changes.undo()

    def tensors(self) -> dict[str, Tensor]:
        """All that answers depend on beside the frozen model, by name.

        The tensors of the PETs, also where frozen since; the classifier as it is now, with its
        buffers; what was made trainable since, with the buffers of the same modules; and
        ``earlier()``.

        Raises:
            ValueError: a tensor of a PET is no longer there.
        """
        there = dict(self.model.named_parameters())
        gone = [name for name in self._tensors if name not in there]
        if gone:
            raise ValueError(
                f"{', '.join(gone)} of the PETs is no longer in the model: something took the place of "
                "what attach built in; undo that first"
            )
        found = {name: there[name].detach() for name in self._tensors}
        head = set(classifier_of(self.model).modules())
        for path, module in self.model.named_modules():
            own = module.named_parameters(prefix=path, recurse=False)
            tuned = {n: p.detach() for n, p in own if module in head or p.requires_grad}
            if module in head or tuned.keys() - found.keys():
                found |= tuned | dict(module.named_buffers(prefix=path, recurse=False))
        return {**found, **self.earlier()}

    def earlier(self) -> dict[str, Tensor]:
        """What was trained earlier, by name: what restarts left, and settled contexts."""
        return {
            f"{path}.{name}": tensor
            for path, layer in layers_with_earlier(self.model).items()
            for name in layer.earlier
            if (tensor := getattr(layer, name)) is not None
        }

    def take_earlier(self, tensors: Mapping[str, Tensor]) -> None:
        """Put copies of what was trained elsewhere, named as in ``earlier()``, in its place.

        Other names are passed over. A layer of which nothing is named is as if it had none.

        Raises:
            ValueError: the tensors of a layer are incomplete, or of a shape that does not fit. Layers
                before it have theirs.
        """
        for path, layer in layers_with_earlier(self.model).items():
            layer.take_earlier(tensors, f"{path}.")

    def train(self, mode: bool = True) -> Attachment:
        """Keep what is frozen in eval mode: its dropout off, its batch statistics still.

        ``model.train()`` reaches this module last, and so has the last word.
        """
        super().train(mode)
        if mode:  # else all is in eval mode
            self._still_frozen()
        return self

    def _still_frozen(self) -> None:
        """Set what is frozen to eval mode, the model itself and its classifier left out."""
        live = {self.model, *classifier_of(self.model).modules()}
        for module in set(self.model.modules()) - live:
            if not any(p.requires_grad for p in module.parameters(recurse=False)):
                module.training = False

    def detach(self) -> nn.Module:
        """Take the PETs off: the model is bit for bit what it was before ``attach``.

        Modules, ``requires_grad`` and train or eval modes come back; the classifier keeps what it has
        learned, and a model set to train or eval mode since stays in it.

        Returns:
            The model.

        Raises:
            RuntimeError: already detached, or something else was wrapped around a PET since.
        """
        model = self._require_in_place("detach()")
        mode = model.training
        self._undo()
        if model.training is not mode:
            model.train(mode)
        return model

    @contextmanager
    def disabled(self) -> Iterator[nn.Module]:
        """Inside this block the model is without its PETs, as it was before ``attach``.

        A teacher at no cost: the same frozen weights serve both. The classifier stays as it is.

        Raises:
            RuntimeError: already detached, or something else was wrapped around a PET since.
        """
        model = self._require_in_place("disabled()")
        self._changes.take_out()
        self._still_frozen()  # what was out of the model has missed changes of mode
        try:
            yield model
        finally:
            self._changes.put_in()

    def _require_in_place(self, call: str) -> nn.Module:
        """The model, where all that attach put into it is still there."""
        if attachment_of(self.model) is not self:
            raise RuntimeError(f"{call} after the PETs were detached: attach them again first")
        missing = self._changes.missing()
        if missing:
            raise RuntimeError(
                f"{call} out of order: {missing}; undo what was wrapped around it later first"
            )
        return self.model

    @torch.no_grad()
    def merge(self) -> nn.Module:
        """Add every LoRA to its frozen layer and detach; the output stays the same but for rounding.

        Returns:
            The model, with changed weights.

        Raises:
            RuntimeError: other PETs are attached, which have no merged form, or already detached.
        """
        layers = [m for m in self.model.modules() if isinstance(m, BranchedLinear)]
        others = [type(pet).__name__ for pet in self.pets if pet.depth != 0]
        if others:
            raise RuntimeError(
                f"merge() with {', '.join(others)} attached: only LoRA can be merged into the "
                "weights; keep the PETs attached, or attach LoRA alone"
            )
        model = self.detach()
        for layer in layers:
            layer.merge()
        return model

    def __repr__(self) -> str:
        """The PETs, where they are, and the share of the model that is trained."""
        if attachment_of(self.model) is not self:
            return f"Attachment({', '.join(map(repr, self.pets))}; detached)"
        return summary(self.model, self.pets, [part for _, _, _, part in self._changes.replaced])

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        if attachment_of(self.model) is self:
            self.detach()


def attachment_of(model: nn.Module) -> Attachment | None:
    """The handle of the PETs on this model, or ``None``; a deep copy of a model has its own."""
    own = model._modules.get(ATTACHMENT)  # a model may look elsewhere for its attributes
    found = own if own is not None else getattr(model, ATTACHMENT, None)
    return found if isinstance(found, Attachment) else None


def attach(model: nn.Module, *pets: PETConfig) -> Attachment:
    """Freeze a vision transformer or a CLIP model and build PETs into it.

    The PETs and the classifier (``model.get_classifier()``) stay trainable; the PETs take the
    model's device and dtype. LoRA and Adapter leave the output as it was: to the bit in timm's models,
    but for rounding in open_clip's, and a LoRA on ``qkv`` of Eva's and BEiT's. Gradients that frozen
    tensors have are dropped, or an optimizer would go on moving them.

    Args:
        model: a vision transformer of timm, or a model of the same form: ``blocks`` with ``norm1``,
            ``attn``, ``norm2`` and ``mlp``, all of one width; or what ``create_clip`` returns. For
            Prefix and Prompt its attention must be one that ``avl_pegp.pet.attention_forms`` knows.
        pets: ``LoRA``, ``Adapter``, ``Prefix`` and ``Prompt`` configurations, any mixture; for CLIP
            also ``LinearAdapter`` and ``Context``.

    Returns:
        A handle with ``detach()``; also a context manager that detaches at its end.

    Raises:
        TypeError: the model is not of that form, has several classifiers, or is wrapped; or a layer
            is not what a PET needs. Where the model is, peft's LoRA on its linear layers is an
            alternative that PEGP protects as well.
        ValueError: no PET given, blocks out of range, rank above a layer's width, the same PET twice.
        RuntimeError: the model already has PETs. After any error the model is as it was.

    Example:
        >>> import timm
        >>> from avl_pegp import LoRA, Prefix, attach
        >>> model = timm.create_model("test_vit", num_classes=10)
        >>> with attach(model, LoRA(rank=2), Prefix(length=4)):
        ...     sum(p.requires_grad for p in model.blocks.parameters())
        24
    """
    if not pets:
        raise ValueError(
            "attach(model) without a PET: give at least one, as attach(model, LoRA(4))"
        )
    strange = [p for p in pets if isinstance(p, type) or not isinstance(p, PETConfig)]
    if strange:
        raise TypeError(
            f"attach got {strange[0]!r}: give configurations such as LoRA(rank=4), not names or "
            "classes"
        )
    inner = unwrapped(model)
    if attachment_of(inner) is not None:
        raise RuntimeError(
            "this model already has PETs: detach() them first, or give all to one attach call"
        )
    if inner is not model:
        raise TypeError(
            f"{type(model).__name__} is wrapped around a {type(inner).__name__}: attach to the model "
            "inside first, and wrap it then, so that the wrapper knows the tensors of the PETs"
        )
    attachment = Attachment(model, pets)
    gradients = [(p, p.grad) for p in model.parameters()]
    try:
        attachment._build()
        return attachment
    except BaseException:
        attachment._undo()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        raise
