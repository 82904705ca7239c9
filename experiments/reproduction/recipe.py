"""What a recipe of a published row can say, and the runs that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from runs.job import RANDOM, Job
from runs.methods import CLIP, OF_PRETRAINING, VIT, Menu, Method, Tuning, Values
from runs.training import Machine, Training

from avl_pegp.backbones import TRANSFORMS
from avl_pegp.benchmarks import DATASETS
from avl_pegp.projection import Protection
from reproduction.recipe_pets import pets_of

MENUS = {"clip_incremental": CLIP}  # of other settings it is VIT
Published = tuple[float, float] | tuple[float]


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Pegp(Strict):
    """How old answers are protected."""

    energy: float = Field(gt=0, le=1)
    project: Literal["step", "gradient"] = "step"
    memory: Literal["union", "covariance"] = "union"
    centred: bool = False
    eta: float = 1.0

    def arguments(self) -> Values:
        """As the plugin takes them, in plain values."""
        protection = Protection(memory=self.memory, centred=self.centred, eta=self.eta)
        return {"energy": self.energy, "project": self.project, "protection": asdict(protection)}


class Size(Strict):
    """Images of the data set and experiences of the stream, for the estimate of time."""

    train: int = Field(ge=1)
    test: int = Field(ge=1)
    experiences: int = Field(ge=1)


class Recipe(Strict):
    """One row of a table.

    Attributes:
        weights: open_clip's tag, where the backbone is a CLIP; the name of others has theirs.
        template: of class prompts, where the backbone is a CLIP.
        pet: its kind and fields; a list where there are several.
        context_per_experience: each trains a ``context`` of its own, which PEGP need not hold.
        published: average accuracy and forgetting in percent, by method; or accuracy alone.
        published_task_aware: the same with the task told at test.
        switches: by name, what differs from the row; each is a row of its own, run with PEGP.
    """

    title: str
    setting: Literal["class_incremental", "domain_incremental", "online", "clip_incremental"]
    benchmark: str
    options: dict[str, Any] = {}
    size: Size
    class_order: int | tuple[int, ...] | None = None
    backbone: str
    weights: str | None = None
    template: str | None = None
    transforms: str
    head: str
    lr: float = Field(gt=0)
    training: Training
    pegp: Pegp
    pet: dict[str, Any] | tuple[dict[str, Any], ...]
    context_per_experience: bool = False
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    published: dict[str, Published] = {}
    published_task_aware: dict[str, Published] = {}
    switches: dict[str, dict[str, Any]] = {}

    @field_validator("benchmark", "transforms")
    @classmethod
    def _known(cls, value: str, info: Any) -> str:
        known = list(DATASETS if info.field_name == "benchmark" else TRANSFORMS)
        if value not in known:
            raise ValueError(f"{value!r} is none of {', '.join(known)}")
        return value

    @field_validator("methods")
    @classmethod
    def _methods(cls, value: tuple[str, ...], info: Any) -> tuple[str, ...]:
        known = _menu(info.data.get("setting")).methods
        unknown = [name for name in value if name not in known]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: none of {', '.join(known)}")
        return value

    @field_validator("pet")
    @classmethod
    def _pet(cls, value: Any) -> Any:
        pets_of(value)
        return value

    @model_validator(mode="after")
    def _clip(self) -> Recipe:
        heads = _menu(self.setting).heads
        if self.head not in heads:
            raise ValueError(f"head={self.head!r} in {self.setting}: must be {' or '.join(heads)}")
        named = {"template": self.template, "weights": self.weights}
        shown = sorted(OF_PRETRAINING & {*self.methods})
        if shown:
            raise ValueError(
                f"{shown[0]}: goes by images or words that the tiny CLIP was pretrained on; give its "
                "plugin others in a script of your own"
            )
        wrong = [n for n, given in named.items() if (given is None) == (self.head == "text")]
        if wrong:
            raise ValueError(f"{wrong[0]}={named[wrong[0]]!r}: a CLIP has one, and it alone")
        return self

    @model_validator(mode="after")
    def _switches(self) -> Recipe:
        for name in self.switches:
            self.switched(name)
        return self

    def switched(self, name: str) -> Recipe:
        """This recipe with what a switch changes, and without switches."""
        plain = self.model_dump(exclude={"switches"})
        return Recipe.model_validate(merged(plain, self.switches[name]))

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """This recipe with other values.

        Raises:
            ValidationError: they are not possible ones.
        """
        return Recipe.model_validate(merged(self.model_dump(), changes))

    def jobs(self, row: str, machine: Machine, weights: str | None = None) -> list[Job]:
        """The runs of this recipe: every method on every seed, then every switch of PEGP.

        Args:
            row: names the PET in records; what has none is the same run for all rows of a table.
            machine: where they run.
            weights: ``"random"``, or a folder of files that are named after the backbone's tag.
        """
        methods = _menu(self.setting).methods
        runs = [self._run(row, name, methods[name], machine, weights) for name in self.methods]
        for name in self.switches if "pegp" in self.methods else ():
            other = self.switched(name)
            runs.append(other._run(row, f"pegp, {name}", methods["pegp"], machine, weights))
        return [replace(run, seed=seed) for run in runs for seed in self.seeds]

    def _run(self, row: str, name: str, does: Method, machine: Machine, weights: str | None) -> Job:
        tag = self.backbone if self.weights is None else f"{self.backbone}.{self.weights}"
        return Job(
            self.setting,
            self.benchmark,
            pet=row if does.has_pet else "none",
            method=name,
            does=does,
            tuning=self._tuning() if does.has_pet else None,
            training=self.training,
            machine=machine,
            head=self.head,
            backbone=self.backbone,
            weights=file_of(weights, tag) or self.weights,
            template=self.template,
            transforms=self.transforms,
            class_order=self.class_order,
            options=self.options,
        )

    def _tuning(self) -> Tuning:
        pets, pegp = pets_of(self.pet), self.pegp.arguments()
        if not self.context_per_experience:
            return Tuning(pets, self.lr, pegp)
        free = {"exclude": ("*.vectors.weight",)}
        own = {"kind": "context_per_experience"}
        return Tuning(pets, self.lr, pegp | free, plugins=(own,))


def _menu(setting: str | None) -> Menu:
    return MENUS.get(setting or "", VIT)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where they differ as ``above`` says; so within tables, but for a PET of its own kind."""
    both = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], Mapping) and "kind" not in above[name]:
            both[name] = merged(below[name], above[name])
    return both


def file_of(weights: str | None, backbone: str) -> str | None:
    """The file of this backbone in a folder of weights.

    Raises:
        ValueError: there is none, or more than one.
    """
    if weights in (None, RANDOM):
        return weights
    files = [f for f in Path(weights).glob(f"{backbone}.*") if f.is_file()]
    if len(files) != 1:
        raise ValueError(
            f"--weights {weights} has {len(files)} files {backbone}.*: put one there, named after the "
            "tag, such as .safetensors, .pth or .npz"
        )
    return str(files[0])
