"""One run, described by plain values: what a record can hold and a worker can be sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from avl_pegp.evaluation import Record
from runs.methods import METHODS, PETS, Method, Tuning
from runs.training import Machine, Training

RANDOM = "random"  # in the place of weights


@dataclass(frozen=True)
class Job:
    """One run of one method with one PET on one seed; its fields are written into the record.

    Attributes:
        setting: the recipe that does it.
        method: the name of what it ``does``.
        tuning: the PET that ``pet`` names, ``None`` where there is none.
        head: one of ``HEADS``, or ``"linear"``; of a CLIP ``"text"``.
        weights: a file for the backbone, ``"random"``, or ``None`` for those that its name stands for;
            of a CLIP also a tag.
        correction: of stored statistics for drift, one of ``CORRECTIONS``, where the PET is tuned on.
        backbone_options: as ``create_vit`` or ``create_clip`` takes them.
        template: of class prompts where the backbone is a CLIP; ``None`` for a vision transformer.
        transforms: a name that ``transforms_of`` knows, for images from files; ``None``: the model's.
        class_order: a list, or the seed that draws one; ``None`` is label order in downloaded data,
            and the run's own draw in streams made here.
        energy: overrides PEGP's own.
        boundaries: whether an online learner may know when a task ends; if not, bases are extended
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
    correction: str | None = None
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
        tunings = {n: t if lr is None else replace(t, lr=lr) for n, t in pets.items()}
        return [
            replace(self, pet=p, tuning=tunings.get(p), method=m, does=methods[m], seed=seed)
            for seed in seeds
            for p, m in rows
        ]

    @property
    def pretrained(self) -> bool | str:
        """The weights as ``create_vit`` and ``create_clip`` are asked for them."""
        return False if self.weights == RANDOM else self.weights or True

    @property
    def final_head(self) -> str:
        """The classifier at evaluation: the method's own, or that of the job."""
        return self.does.head or self.head

    @property
    def name(self) -> str:
        """Names a file or folder of this run."""
        return re.sub(r"[^\w.=-]+", "_", f"{self.pet}-{self.method}-seed{self.seed}")

    @property
    def label(self) -> str:
        """Names a run among those of all settings, and of streams cut otherwise."""
        cut = {name: value for name, value in self.options.items() if isinstance(value, int)}
        options = "".join(f"-{name}={value}" for name, value in sorted(cut.items()))
        boundaries = "" if self.boundaries else "-no_boundaries"
        head = f"{self.head}-{self.correction}" if self.correction else self.head
        return f"{self.setting}-{self.benchmark}{options}{boundaries}-{head}-{self.name}"

    @property
    def title(self) -> str:
        """For a progress bar."""
        return f"{self.pet:>7} {self.method:<13} seed {self.seed}"

    def described(self) -> dict[str, Any]:
        """Everything that decides what comes out, as JSON has it: to know a run again."""
        plain = asdict(self)
        del plain["machine"]
        described: dict[str, Any] = json.loads(json.dumps(plain))
        return described


Run = Callable[[Job, Path], Record]  # a recipe's function: does a run, its logs into this folder
