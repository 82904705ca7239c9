"""What a run costs, from one step measured here: operations, time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from job import Job
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

IMAGES = 2  # in the step that is measured


@dataclass(frozen=True)
class Step:
    """One image's share of a training step, and of a forward pass.

    Attributes:
        training, forward: floating-point operations.
        seconds: of the training step on this machine.
        activations: bytes that are kept for the backward pass.
        fixed: bytes of the model, gradients and the optimizer's state.
        trained: parameters.
    """

    training: float
    forward: float
    seconds: float
    activations: float
    fixed: int
    trained: int

    @property
    def rate(self) -> float:
        """Operations in a second, here."""
        return self.training / self.seconds


def measure(job: Job, classes: int) -> Step:
    """Train on a few random images, with random weights in the real architecture."""
    learner = job.learner(classes)
    model, device = learner.model, job.machine.device
    height, width = model.patch_embed.img_size
    images = torch.rand(IMAGES, 3, height, width, device=device)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def step() -> None:
        model(images).logsumexp(1).sum().backward()

    step()  # the first one also sets things up
    started = time.perf_counter()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    trained = [p for p in model.parameters() if p.requires_grad]
    return Step(
        training=operations(step) / IMAGES,
        forward=operations(forward) / IMAGES,
        seconds=seconds / IMAGES,
        activations=saved_bytes(model, step) / IMAGES,
        fixed=size_of(model.parameters()) + 3 * size_of(trained),  # gradient, and Adam's two
        trained=learner.trained_parameters,
    )


def operations(work: Callable[[], None]) -> int:
    """Floating-point operations of what this does."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def saved_bytes(model: nn.Module, step: Callable[[], None]) -> int:
    """Bytes that autograd keeps of a step, each tensor once and without the model's own."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}
    alive = []  # or memory would be given out twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(kept.values())


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors."""
    return sum(t.numel() * t.element_size() for t in tensors)


@dataclass(frozen=True)
class Cost:
    """One run: operations, and the memory of a training step in bytes."""

    operations: float
    memory: float


def cost_of(job: Job, step: Step, train: int, test: int, experiences: int) -> Cost:
    """What a run costs: training, PEGP's gathering, and evaluation after each experience.

    Args:
        job: the run.
        step: as measured with its PET.
        train, test: images in all.
        experiences: of the stream.
    """
    tuned = {"always": 1.0, "first": 1 / experiences, "never": 0.0, "jointly": 1.0}[job.does.tunes]
    seen = train * job.training.epochs
    gathered = train if job.does.pegp is not None and job.setting != "online" else 0
    evaluated = test * (experiences + 1) / (1 if job.setting == "domain_incremental" else 2)
    forward = seen * (1 - tuned) + gathered + evaluated
    kept = step.activations if tuned else 0.0
    return Cost(
        seen * tuned * step.training + forward * step.forward,
        step.fixed + job.training.batch_size * kept,
    )
