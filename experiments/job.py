"""One run, described by plain values: what a record can hold and a worker can be sent."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from learning import Learner
from methods import PETS, Method

from avl_pegp.evaluation import AccuracyMatrices, Record


@dataclass(frozen=True)
class Job:
    """One run of one method with one PET on one seed; its fields are written into the record.

    Attributes:
        setting: the module whose ``run`` does it.
        head: ``"lda"``, ``"ncm"`` or ``"linear"``.
        lr: of the PET, ``None`` for its own; so for ``energy``.
        boundaries: whether an online learner may know when a task ends; if not, bases grow
            ``every`` so many iterations.
        options: of the benchmark.
        table: the module whose ``METHODS`` has the method.
    """

    setting: str
    benchmark: str
    pet: str
    method: str
    seed: int
    head: str = "lda"
    backbone: str = "tiny_vit_32.latin"
    epochs: int = 5
    batch_size: int = 32
    lr: float | None = None
    energy: float | None = None
    boundaries: bool = True
    every: int = 10
    options: dict[str, Any] = field(default_factory=dict)
    table: str = "methods"

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
        chosen = {"tuning": repr(PETS.get(self.pet)), "does": repr(self._method)}
        described: dict[str, Any] = json.loads(json.dumps({**asdict(self), **chosen}))
        return described

    def run(self, logs: Path) -> Record:
        """Do it; TensorBoard's logs go into this folder."""
        record: Record = importlib.import_module(self.setting).run(self, logs)
        return record

    def learner(self, classes: int) -> Learner:
        """The model and what trains it."""
        return Learner(
            self.pet,
            self._method,
            backbone=self.backbone,
            classes=classes,
            head=self.head,
            epochs=self.epochs,
            lr=self.lr,
            energy=self.energy,
            every=self.every,
        )

    @property
    def _method(self) -> Method:
        return importlib.import_module(self.table).METHODS[self.method]

    def record(
        self,
        learner: Learner,
        accuracy: AccuracyMatrices,
        seconds: float,
        benchmark: Any,
        **changes: Any,
    ) -> Record:
        """What came out of it."""
        orders = {
            name: getattr(benchmark, name, None) for name in ("class_order", "styles", "domains")
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
            head=self._method.head or self.head,
            seed=self.seed,
            trainable_parameters=learner.trained_parameters,
            train_seconds=round(seconds, 2),
            ranks=learner.pegp.ranks() if learner.pegp else {},
            drift=learner.pegp.drift() if learner.pegp else {},
            config={"job": self.described(), **learner.settings, **orders},
            **fields,
        )
