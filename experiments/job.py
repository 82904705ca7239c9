"""One run, described by plain values: what a record can hold and a worker can be sent."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from avalanche.benchmarks import CLScenario
from learning import Learner
from methods import METHODS, PETS, Method, Tuning
from torch import nn
from training import Machine, Training

from avl_pegp import create_vit
from avl_pegp.backbones import transforms_of
from avl_pegp.benchmarks import BENCHMARKS, create_benchmark
from avl_pegp.evaluation import AccuracyMatrices, Record

RANDOM = "random"  # in the place of weights


@dataclass(frozen=True)
class Job:
    """One run of one method with one PET on one seed; its fields are written into the record.

    Attributes:
        setting: the module whose ``run`` does it.
        method: the name of what it ``does``.
        tuning: the PET that ``pet`` names, ``None`` where there is none.
        head: ``"lda"``, ``"ncm"`` or ``"linear"``; of a CLIP ``"text"``.
        weights: a file for the backbone, ``"random"``, or ``None`` for those that its name stands for;
            of a CLIP also a tag.
        backbone_options: as ``create_vit`` or ``create_clip`` takes them.
        template: of class prompts where the backbone is a CLIP; ``None`` for a vision transformer.
        transforms: a name that ``transforms_of`` knows, for images from files; ``None``: the model's.
        class_order: a list, or the seed that draws one; ``None`` is label order in downloaded data,
            and the run's own draw in streams made here.
        energy: overrides PEGP's own.
        boundaries: whether an online learner may know when a task ends; if not, bases grow
            ``every`` so many iterations.
        options: of the benchmark.
    """

    setting: str
    benchmark: str
    pet: str = ""
    method: str = ""
    seed: int = 0
    does: Method = field(default_factory=Method)
    tuning: Tuning | None = None
    training: Training = field(default_factory=Training)
    machine: Machine = field(default_factory=Machine)
    head: str = "lda"
    backbone: str = "tiny_vit_32.latin"
    weights: str | None = None
    backbone_options: dict[str, Any] = field(default_factory=dict)
    template: str | None = None
    transforms: str | None = None
    class_order: int | tuple[int, ...] | None = None
    energy: float | None = None
    boundaries: bool = True
    every: int = 10
    options: dict[str, Any] = field(default_factory=dict)

    def variants(
        self,
        rows: Sequence[tuple[str, str]],
        seeds: Sequence[int],
        methods: Mapping[str, Method] = METHODS,
        lr: float | None = None,
        pets: Mapping[str, Tuning] = PETS,
    ) -> list[Job]:
        """This run with each PET and method, on each seed; PETs at this rate or at their own."""
        tunings = {name: t if lr is None else t._replace(lr=lr) for name, t in pets.items()}
        return [
            replace(
                self, pet=pet, tuning=tunings.get(pet), method=name, does=methods[name], seed=seed
            )
            for seed in seeds
            for pet, name in rows
        ]

    @property
    def name(self) -> str:
        """Names a file or folder of this run."""
        return re.sub(r"[^\w.=-]+", "_", f"{self.pet}-{self.method}-seed{self.seed}")

    @property
    def title(self) -> str:
        """For a progress bar."""
        return f"{self.pet:>7} {self.method:<13} seed {self.seed}"

    def described(self) -> dict[str, Any]:
        """Everything that decides what comes out, as JSON has it: to know a run again."""
        plain = asdict(replace(self, does=Method(), tuning=None))
        plain |= {
            "tuning": repr(self.tuning),
            "does": re.sub(" at 0x[0-9a-f]+", "", repr(self.does)),
        }
        del plain["machine"]
        described: dict[str, Any] = json.loads(json.dumps(plain))
        return described

    def run(self, logs: Path) -> Record:
        """Do it; TensorBoard's logs go into this folder."""
        record: Record = importlib.import_module(self.setting).run(self, logs)
        return record

    def stream(self, **options: Any) -> CLScenario[Any]:
        """The benchmark, with transforms that fit the backbone."""
        options |= self.options
        if isinstance(self.class_order, tuple):
            options["class_order"] = self.class_order
        elif self.benchmark in BENCHMARKS:  # made here: a seed draws an order of its own
            options["order_seed"] = self.seed if self.class_order is None else self.class_order
        else:
            options["order_seed"] = self.class_order
        if self.benchmark not in BENCHMARKS:
            train, test = transforms_of(self.blank(), self.transforms)
            options |= {"train_transform": train, "eval_transform": test}
            options["data_root"] = self.machine.data_root
        return create_benchmark(self.benchmark, **options)

    def blank(self) -> nn.Module:
        """The backbone without numbers in it: its pixels are asked for, not its weights."""
        with torch.device("meta"):
            return replace(self, weights=RANDOM).model(["a class"])

    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that the backbone takes."""
        model: Any = self.blank()
        size: tuple[int, int] = (
            model.patch_embed.img_size if self.template is None else model.clip.visual.image_size
        )
        return size

    def model(self, class_names: Sequence[str]) -> nn.Module:
        """The backbone, for these classes."""
        pretrained = False if self.weights == RANDOM else self.weights or True
        if self.template is None:
            return create_vit(self.backbone, len(class_names), pretrained, **self.backbone_options)
        from avl_pegp import create_clip  # open_clip is an extra, which no vision transformer needs

        return create_clip(
            self.backbone,
            class_names,
            pretrained,
            template=self.template,
            **self.backbone_options,
        )

    def learner(self, class_names: Sequence[str]) -> Learner:
        """The model and what trains it."""
        model = self.model(class_names)
        return Learner(
            model,
            self.does,
            self.tuning,
            self.training,
            self.machine,
            head=self.head,
            energy=self.energy,
            every=self.every,
        )

    def record(
        self,
        learner: Learner,
        accuracy: AccuracyMatrices,
        seconds: float,
        benchmark: Any,
        **changes: Any,
    ) -> Record:
        """What came out of it."""
        of_benchmark = {
            name: getattr(benchmark, name, None)
            for name in ("class_order", "styles", "domains", "datasets", "data")
        }
        fields = {
            "accuracy_matrix": accuracy.class_incremental,
            "task_aware_accuracy_matrix": accuracy.task_aware,
            **changes,
        }
        return Record.of(
            setting=self.setting,
            benchmark=self.benchmark,
            backbone=self.backbone,
            pet=self.pet,
            method=self.method,
            head=self.does.head or self.head,
            seed=self.seed,
            trainable_parameters=learner.trained_parameters,
            train_seconds=round(seconds, 2),
            ranks=learner.pegp.ranks() if learner.pegp else {},
            drift=learner.pegp.drift() if learner.pegp else {},
            config={
                "job": self.described(),
                "machine": asdict(self.machine),
                "weights": asdict(learner.model.weights_source),
                **learner.settings,
                **of_benchmark,
            },
            **fields,
        )
