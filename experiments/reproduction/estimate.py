"""What a run costs, from one step measured here: operations, time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from runs.job import Job
from runs.parts import image_size, model_of, pets_of, train_classifier_only
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.backends import mha
from torch.utils.flop_counter import FlopCounterMode

from avl_pegp import attach

AHEAD = ("domain_incremental", "clip_incremental")  # these evaluate on all of the test stream


@dataclass(frozen=True)
class Step:
    """What a training step takes for each image and for the batch, and a forward pass for an image.

    Attributes:
        training, forward: floating-point operations for an image.
        batch: those of a step whatever its batch, as of class prompts that are trained.
        rate: operations in a second, in the step that was measured.
        activations: bytes that are kept for the backward pass, for an image.
        fixed: bytes of the model, gradients and the optimizer's state, and kept for any batch.
        trained: parameters.
    """

    training: float
    forward: float
    batch: float
    rate: float
    activations: float
    fixed: float
    trained: int


def measure(job: Job, classes: int) -> Step:
    """Train on one and on two random images, with random weights in the real architecture."""
    device = job.machine.device
    model = model_of(job, [f"class {i}" for i in range(classes)]).to(device)
    if job.does.has_pet:
        attach(model, *pets_of(job))
    else:
        train_classifier_only(model)
    images = torch.rand(2, 3, *image_size(job), device=device)
    trained = [p for p in model.parameters() if p.requires_grad]

    def forward(count: int) -> None:
        with torch.no_grad():
            model(images[:count])

    def step(count: int) -> None:
        if trained:
            model(images[:count]).logsumexp(1).sum().backward()
        else:
            forward(count)

    step(1)  # the first ones also set things up
    forward(1)
    one, one_kept = observed(lambda: step(1), model)
    started = time.perf_counter()
    two, two_kept = observed(lambda: step(2), model)
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    return Step(
        training=two - one,
        forward=operations(lambda: forward(1)),
        batch=2 * one - two,
        rate=two / seconds,
        activations=two_kept - one_kept,
        # the gradient of what is trained, and Adam's two
        fixed=size_of(model.parameters()) + 3 * size_of(trained) + 2 * one_kept - two_kept,
        trained=sum(p.numel() for p in trained),
    )


def observed(work: Callable[[], None], model: nn.Module) -> tuple[int, int]:
    """Operations of what this does, and bytes that autograd keeps of it."""
    kept = 0

    def keeping() -> None:
        nonlocal kept
        kept = saved_bytes(model, work)

    return operations(keeping), kept


def operations(work: Callable[[], None]) -> int:
    """Floating-point operations of what this does."""
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)  # the counter is blind to torch's fused attention
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    finally:
        mha.set_fastpath_enabled(before)
    return counter.get_total_flops()


def saved_bytes(model: nn.Module, work: Callable[[], None]) -> int:
    """Bytes that autograd keeps of this, each tensor once and without the model's own."""
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
        work()
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

    Not what a baseline adds, as LwF's teacher does.

    Args:
        job: the run.
        step: as measured with its PET.
        train, test: images in all.
        experiences: of the stream.
    """
    tuned = {"always": 1.0, "first": 1 / experiences, "never": 0.0, "jointly": 1.0}[job.does.tunes]
    seen = train * job.training.epochs
    idle = (
        0.0 if job.head == "text" else seen * (1 - tuned)
    )  # where the classifier alone is trained
    gathered = train if job.does.pegp is not None and job.setting != "online" else 0
    evaluated = test * (experiences + 1) / (1 if job.setting in AHEAD else 2)
    kept = step.activations if tuned else 0.0
    training = seen * tuned * (step.training + step.batch / job.training.batch_size)
    return Cost(
        training + (idle + gathered + evaluated) * step.forward,
        step.fixed + job.training.batch_size * kept,
    )
