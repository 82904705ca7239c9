"""The parts of a run, made of a job's plain values: what a recipe puts together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from avalanche.benchmarks import CLScenario, benchmark_from_datasets
from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import BaseLogger, TensorboardLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import nn
from torch.optim import Optimizer

from avl_pegp import PEGPPlugin, attach, create_vit, pet_parameters
from avl_pegp.backbones import transforms_of
from avl_pegp.benchmarks import BENCHMARKS, create_benchmark
from avl_pegp.evaluation import AccuracyImage, AccuracyMatrices, Record, pegp_metrics
from avl_pegp.heads import HEADS
from avl_pegp.pet import freeze
from avl_pegp.plugins import (
    CORRECTIONS,
    ClassStatisticsPlugin,
    MaskedCrossEntropy,
    ProgressPlugin,
)
from avl_pegp.projection import Protection
from runs.clip import references
from runs.job import RANDOM, Job
from runs.methods import KINDS, PLUGINS, Values, made


def stream_options(job: Job) -> dict[str, Any]:
    """What ``create_benchmark`` is told: order, folder, and transforms that fit the backbone."""
    options = dict(job.options)
    if isinstance(job.class_order, tuple):
        options["class_order"] = job.class_order
    elif job.benchmark in BENCHMARKS:  # made here: a seed draws an order of its own
        options["order_seed"] = job.seed if job.class_order is None else job.class_order
    else:
        options["order_seed"] = job.class_order
    if job.benchmark not in BENCHMARKS:
        train, test = transforms_of(_blank(job), job.transforms)
        options |= {"train_transform": train, "eval_transform": test}
        options["data_root"] = job.machine.data_root
    return options


def stream_of(job: Job) -> CLScenario[Any]:
    """The benchmark."""
    return create_benchmark(job.benchmark, **stream_options(job))


def model_of(job: Job, class_names: Sequence[str]) -> nn.Module:
    """The backbone, a vision transformer or a CLIP, for these classes."""
    if job.template is None:
        return create_vit(job.backbone, len(class_names), job.pretrained, **job.backbone_options)
    from avl_pegp import create_clip  # open_clip is an extra, which no vision transformer needs

    options = {"template": job.template, **job.backbone_options}
    return create_clip(job.backbone, class_names, job.pretrained, **options)


def image_size(job: Job) -> tuple[int, int]:
    """Height and width of the images that the backbone takes."""
    model: Any = _blank(job)
    size: tuple[int, int] = (
        model.patch_embed.img_size if job.template is None else model.clip.visual.image_size
    )
    return size


def _blank(job: Job) -> nn.Module:
    """The backbone without numbers in it: its pixels are asked for, not its weights."""
    with torch.device("meta"):
        return model_of(replace(job, weights=RANDOM), ["a class"])


def pets_of(job: Job) -> list[Any]:
    """The configurations of the PETs to attach: the method's own, or those of the PET's name."""
    assert job.tuning is not None
    given = job.tuning.pet if job.does.pet is None else (job.does.pet,)
    return [made(KINDS, values) for values in given]


def train_classifier_only(model: Any) -> None:
    """Freeze all below the classifier."""
    freeze(model.parameters())
    model.get_classifier().requires_grad_(True)


def tuned_model(job: Job, class_names: Sequence[str]) -> nn.Module:
    """The model as it is before training: its PET attached, or all but the classifier frozen."""
    model = model_of(job, class_names).to(job.machine.device)
    if job.does.has_pet:
        attach(model, *pets_of(job))
    else:
        train_classifier_only(model)
    return model


def lr_of(job: Job) -> float:
    """The PET's learning rate under this method."""
    assert job.tuning is not None
    return job.does.lr_factor * job.tuning.lr


def optimizer_of(job: Job, model: Any) -> Optimizer:
    """The optimizer of the PET and the classifier, or of the classifier alone."""
    rate = job.training.head_lr
    if job.does.has_pet:
        return job.training.optimizer_of(pet_parameters(model, rate), lr_of(job))
    classifier = list(model.get_classifier().parameters())  # a CLIP has none to be stepped
    return job.training.optimizer_of(classifier or model.parameters(), rate)


def pegp_values(job: Job) -> Values:
    """PEGP's arguments as plain values: the method's before the PET's, and ``--energy`` before both.

    Where only its moments are wanted, to correct statistics by, it projects nothing.
    """
    own = job.does.pegp
    if own is None and job.correction == "moments" and _drifts(job):
        own = {"project": "none", "rebase": False}
    if own is None or job.tuning is None:
        return {}
    energy = {"energy": job.energy} if job.energy else {}
    return {"every": job.every} | job.tuning.pegp | own | energy


def _drifts(job: Job) -> bool:
    """Whether features move once statistics are stored."""
    return job.does.tunes == "always"


def pegp_of(job: Job) -> PEGPPlugin | None:
    """PEGP's plugin, where the method has it."""
    options = pegp_values(job)
    if not options:
        return None
    if "protection" in options:
        options["protection"] = Protection(**options["protection"])
    if options.pop("references", False):
        options["references"] = references()[1].split(100)
    return PEGPPlugin(**options)


def statistics_of(job: Job) -> ClassStatisticsPlugin | None:
    """The head on class statistics, where that is the classifier."""
    if job.final_head not in HEADS:
        return None
    corrects = job.correction is not None and _drifts(job)
    correction = CORRECTIONS[str(job.correction)]() if corrects else None
    return ClassStatisticsPlugin(job.final_head, correction=correction)


def baselines_of(job: Job) -> list[Any]:
    """What the PET itself needs, and another method's plugin; they come before PEGP's."""
    own = job.tuning.plugins if job.tuning is not None and job.does.tunes == "always" else ()
    baseline = () if job.does.baseline is None else (job.does.baseline,)
    return [made(PLUGINS, values) for values in (*own, *baseline)]


def evaluator_of(
    accuracy: AccuracyMatrices, pegp: PEGPPlugin | None, logs: Path, *metrics: Any
) -> EvaluationPlugin:
    """Accuracy, loss, what happens at PEGP's sites, and more metrics, for TensorBoard."""
    looks = [AccuracyImage()] if pegp is None else pegp_metrics(pegp)
    metrics = (accuracy, loss_metrics(epoch=True), *looks, *metrics)
    return EvaluationPlugin(*metrics, loggers=[TensorboardLogger(str(logs))])


def training_options(job: Job) -> dict[str, Any]:
    """What ``Naive`` is told of a job: loss, batch sizes and device."""
    return {
        "criterion": MaskedCrossEntropy(temperature=job.training.temperature),
        "train_mb_size": job.training.batch_size,
        "eval_mb_size": 256,
        "device": job.machine.device,
    }


def begin_experience(job: Job, strategy: Naive, i: int, *, seen_once: bool = False) -> None:
    """Forget the optimizer's state if so asked, freeze a PET that is tuned enough, set the passes."""
    if job.training.fresh_optimizer:
        strategy.optimizer.state.clear()
    if job.does.tunes == "first" and i == 1:
        train_classifier_only(strategy.model)
    strategy.train_epochs = epochs_in(job, i, seen_once=seen_once)


def epochs_in(job: Job, i: int, *, seen_once: bool = False) -> int:
    """How many passes to train in experience ``i``.

    0 where only statistics are stored, unless training is what shows them the data, once.
    """
    tunes = job.does.tunes == "always" or (job.does.tunes == "first" and i == 0)
    fits_head = job.final_head == "linear" and job.does.tunes != "jointly"
    fits_statistics = seen_once and job.final_head in HEADS
    return job.training.epochs if tunes or fits_head or fits_statistics else 0


def learn_jointly(
    job: Job, model: nn.Module, optimizer: Optimizer, experiences: Iterable[Any]
) -> float:
    """Where the method says so, train on all experiences at once; the seconds that it took."""
    started = time.perf_counter()
    if job.does.tunes == "jointly":
        union = reduce(lambda a, b: a.concat(b), (e.dataset for e in experiences))
        progress = ProgressPlugin(f"{job.title}, all at once", experiences=1)
        plugins = [progress, *job.training.schedule_of(optimizer)]
        options = {"evaluator": EvaluationPlugin(loggers=[BaseLogger()]), **training_options(job)}
        strategy = Naive(model=model, optimizer=optimizer, plugins=plugins, **options)
        strategy.train_epochs = job.training.epochs
        everything = benchmark_from_datasets(train=[union]).train_stream[0]
        strategy.train(everything, eval_streams=[], **job.machine.reading())
        progress.close()
        train_classifier_only(model)
    return time.perf_counter() - started


def record_of(
    job: Job,
    benchmark: Any,
    model: Any,
    pegp: PEGPPlugin | None,
    accuracy: AccuracyMatrices,
    *,
    config: dict[str, Any] | None = None,
    **fields: Any,
) -> Record:
    """What came out of a run, with all that decided it."""
    names = ("class_order", "styles", "domains", "datasets", "data")
    of_benchmark = {name: getattr(benchmark, name, None) for name in names}
    of_pet = {"lr": lr_of(job)} if job.does.has_pet else {}
    of_pegp = {"pegp": pegp_values(job)} if pegp else {}
    settings = {
        "job": job.described(),
        "machine": asdict(job.machine),
        "weights": asdict(model.weights_source),
        **of_pet,
        **of_pegp,
        **(config or {}),
        **of_benchmark,
    }
    matrices = {
        "accuracy_matrix": accuracy.class_incremental,
        "task_aware_accuracy_matrix": accuracy.task_aware,
    }
    return Record.of(
        **{name: getattr(job, name) for name in ("setting", "benchmark", "backbone", "pet")},
        method=job.method,
        head=job.final_head,
        seed=job.seed,
        ranks=pegp.ranks() if pegp else {},
        drift=pegp.drift() if pegp else {},
        config=settings,
        **(matrices | fields),
    )
