"""Recipes of published tables: a folder a table, a file a row, protocol.toml for what rows share."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

from job import RANDOM, Job
from methods import METHODS, Method, Tuning
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from training import Machine, Training

from avl_pegp import Adapter, LoRA, Prefix, Prompt
from avl_pegp.backbones import TRANSFORMS
from avl_pegp.benchmarks import DATASETS
from avl_pegp.projection import Protection

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

FOLDER = Path(__file__).parent / "reproduction"
PETS: dict[str, Callable[..., Any]] = {
    "adapter": Adapter,
    "lora": LoRA,
    "prefix": Prefix,
    "prompt": Prompt,
}
PROTOCOL = "protocol.toml"


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

    def arguments(self) -> dict[str, Any]:
        """As the plugin takes them."""
        protection = Protection(memory=self.memory, centred=self.centred, eta=self.eta)
        return {"energy": self.energy, "project": self.project, "protection": protection}


class Size(Strict):
    """Images of the data set and experiences of the stream, for the estimate of time."""

    train: int = Field(ge=1)
    test: int = Field(ge=1)
    experiences: int = Field(ge=1)


class Recipe(Strict):
    """One row of a table.

    Attributes:
        published: average accuracy and forgetting in percent, by method.
        switches: by name, what differs from the row; each is a row of its own, run with PEGP.
    """

    title: str
    setting: Literal["class_incremental", "domain_incremental", "online"]
    benchmark: str
    options: dict[str, Any] = {}
    size: Size
    class_order: int | tuple[int, ...] | None = None
    backbone: str
    transforms: str
    head: Literal["linear", "lda", "ncm"]
    lr: float = Field(gt=0)
    training: Training
    pegp: Pegp
    pet: dict[str, Any]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    published: dict[str, tuple[float, float]] = {}
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
    def _methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in METHODS]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: none of {', '.join(METHODS)}")
        return value

    @field_validator("pet")
    @classmethod
    def _pet(cls, value: dict[str, Any]) -> dict[str, Any]:
        make_pet(value)
        return value

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
        runs = [self._run(row, name, METHODS[name], machine, weights) for name in self.methods]
        for name in self.switches if "pegp" in self.methods else ():
            other = self.switched(name)
            runs.append(other._run(row, f"pegp, {name}", METHODS["pegp"], machine, weights))
        return [replace(run, seed=seed) for run in runs for seed in self.seeds]

    def _run(self, row: str, name: str, does: Method, machine: Machine, weights: str | None) -> Job:
        tuning = Tuning(make_pet(self.pet), self.lr, self.pegp.arguments())
        return Job(
            self.setting,
            self.benchmark,
            pet=row if does.has_pet else "none",
            method=name,
            does=does,
            tuning=tuning if does.has_pet else None,
            training=self.training,
            machine=machine,
            head=self.head,
            backbone=self.backbone,
            weights=file_of(weights, self.backbone),
            transforms=self.transforms,
            class_order=self.class_order,
            options=self.options,
        )


def tables() -> dict[str, list[str]]:
    """The names of all tables, and of the rows of each."""
    return {
        folder.name: sorted(f.stem for f in folder.glob("*.toml") if f.name != PROTOCOL)
        for folder in sorted(FOLDER.iterdir())
        if (folder / PROTOCOL).exists()
    }


def load(table: str, row: str, folder: Path = FOLDER) -> Recipe:
    """Read a row and what it shares with its table.

    Raises:
        ValueError: everything that is wrong with it, with the nearest names of unknown keys.
    """
    path = folder / table / f"{row}.toml"
    try:
        shared, own = (tomllib.loads(p.read_text()) for p in (path.parent / PROTOCOL, path))
        return Recipe.model_validate(merged(shared, own))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} or the {PROTOCOL} beside it is not TOML: {error}") from None
    except ValidationError as error:
        problems = "".join(f"\n  {_problem(found)}" for found in error.errors())
        raise ValueError(f"{path} (with the {PROTOCOL} beside it):{problems}") from None


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


def _problem(found: Any) -> str:
    """One thing that is wrong, where it stands, and what may have been meant."""
    where = ".".join(map(str, found["loc"]))
    if found["type"] not in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where or 'as a whole'}: {found['msg']}"
    inner = {"pegp": Pegp, "size": Size}.get(found["loc"][0], Recipe)
    known = (
        [f.name for f in fields(Training)] if found["loc"][0] == "training" else inner.model_fields
    )
    near = difflib.get_close_matches(str(found["loc"][-1]), list(known), n=1)
    return f"{where}: no such key" + (f"; did you mean {near[0]}?" if near else "")


def make_pet(given: Mapping[str, Any]) -> Any:
    """The PET of a ``kind`` and its fields."""
    options = dict(given)
    kind = options.pop("kind", None)
    if kind not in PETS:
        raise ValueError(f"kind={kind!r}: must be one of {', '.join(PETS)}")
    known = [f.name for f in fields(PETS[kind])]
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"{kind} has no {', '.join(unknown)}; it has {', '.join(known)}")
    if "blocks" in options:
        options["blocks"] = range(*options["blocks"])
    try:
        return PETS[kind](**options)
    except TypeError as error:  # a field without a default was left out
        raise ValueError(f"{kind}: {error}") from None
