"""Buffers that must stand still: what a forward pass in training changes, old answers depend on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avl_pegp.fingerprint import frozen_tensors


@dataclass
class _Buffer:
    owner: nn.Module
    name: str
    tensor: Tensor
    version: int
    value: Tensor


class StillBuffers:
    """The floating-point buffers of a model, as they were when this was made.

    Args:
        model: without wrappers that torch puts around it; ``None`` for no buffers.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self._noted: dict[str, _Buffer] = {}
        if model is None:
            return
        parameters = [name for name, _ in model.named_parameters()]
        ours = {t.data_ptr() for t in frozen_tensors(model, parameters).values()}
        for path, owner in model.named_modules():
            for name, b in owner.named_buffers(recurse=False):
                if b.data_ptr() in ours and b.is_floating_point() and not b.is_inference():
                    noted = _Buffer(owner, name, b, b._version, b.clone())
                    self._noted[f"{path}.{name}".lstrip(".")] = noted

    @torch.no_grad()
    def require(self) -> None:
        """Raise ValueError where one has changed. All are put back to what they were."""
        changed = []
        for name, noted in self._noted.items():
            now = noted.owner._buffers.get(noted.name)
            if now is noted.tensor and now._version == noted.version:
                continue
            if now is None or now.shape != noted.value.shape or not torch.equal(now, noted.value):
                changed.append(name)
                noted.tensor.copy_(noted.value)
                noted.owner._buffers[noted.name] = now = noted.tensor
            noted.tensor, noted.version = now, now._version
        if changed:
            raise ValueError(
                f"the buffer {', '.join(changed)} changes while the model is trained, and old answers "
                "with it: hold its module in eval mode (after every model.train()), or leave it out of "
                "the model. It was put back"
            )
