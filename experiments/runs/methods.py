"""What is compared: PETs with their settings and methods, from controls to PEGP, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from avl_pegp import Adapter, Context, LinearAdapter, LoRA, Prefix, Prompt
from avl_pegp.heads import HEADS, ClassStatistics
from avl_pegp.pet import PETS as KINDS
from avl_pegp.plugins import (
    ContextPerExperiencePlugin,
    EWCPlugin,
    FeatureDistillationPlugin,
    L2Plugin,
    LwFPlugin,
    TaskAveragePlugin,
)
from avl_pegp.projection import Protection
from runs.clip import vr_lwf_of_words, zscl

Values = dict[str, Any]  # names, numbers, and lists and dictionaries of them

PLUGINS: dict[str, Callable[..., Any]] = {  # of baselines, and of what a PET itself needs
    "l2": L2Plugin,
    "ewc": EWCPlugin,
    "lwf": LwFPlugin,
    "feature_distillation": FeatureDistillationPlugin,
    "task_average": TaskAveragePlugin,
    "zscl": zscl,
    "vr_lwf": vr_lwf_of_words,
    "context_per_experience": ContextPerExperiencePlugin,
}


def values_of(pet: Any) -> Values:
    """A PET's kind and all of its fields."""
    kind = next(name for name, cls in KINDS.items() if type(pet) is cls)
    return {"kind": kind, **asdict(pet)}


def made(known: Mapping[str, Callable[..., Any]], values: Values) -> Any:
    """What plain values stand for: the one of this kind, with these arguments."""
    given = dict(values)
    return known[given.pop("kind")](**given)


@dataclass(frozen=True)
class Tuning:
    """A PET, its learning rate, and how PEGP is to protect it.

    Attributes:
        pet: kind and fields; several PETs where there are several.
        lr: the optimizer's, for the PET.
        pegp: PEGP's arguments.
        plugins: what the PET itself needs wherever it is tuned in every experience.
    """

    pet: tuple[Values, ...]
    lr: float
    pegp: Values
    plugins: tuple[Values, ...] = ()


@dataclass(frozen=True)
class Method:
    """How a method differs from plain tuning of a PET with the linear head.

    Attributes:
        tunes: the experiences in which the PET is tuned; ``"jointly"``: on all of them at once,
            before the stream begins.
        head: evaluates with this one of ``HEADS`` whatever ``--head`` says.
        pegp: PEGP's arguments where it is on, beside those of the PET; ``references``: whether it
            also keeps the answers on the reference images of ``clip.py``.
        pet: another configuration than that of the PET's name.
        lr_factor: times the PET's learning rate.
        baseline: another method's plugin, its kind and arguments.
        refit: class statistics are computed anew from all training data so far.
    """

    tunes: Literal["always", "first", "never", "jointly"] = "always"
    head: str | None = None
    pegp: Values | None = None
    pet: Values | None = None
    lr_factor: float = 1.0
    baseline: Values | None = None
    refit: bool = False

    @property
    def has_pet(self) -> bool:
        """Whether anything below the classifier is trained at all."""
        return self.tunes != "never"


def protected(energy: float, *, centred: bool = True, eta: float = 1.0, **changes: Any) -> Values:
    """PEGP's arguments: the mean kept, and this share of the energy about it."""
    protection = asdict(Protection(centred=centred, eta=eta))
    return {"energy": energy, "protection": protection, **changes}


def tuned(pet: Any, lr: float, energy: float, **pegp: Any) -> Tuning:
    """One PET, protected in this share of the energy."""
    return Tuning((values_of(pet),), lr, protected(energy, **pegp))


def softly(eta: float) -> Method:
    """PEGP whose steps lose only this share of what lies along old features (η of NSP²)."""
    return Method(pegp=protected(0.95, eta=eta, rebase=False))


_LORA = LoRA(rank=8, targets=("qkv", "fc1"))
PETS = {  # settings found by the study "search"
    "lora": tuned(_LORA, 4e-3, 0.95),
    "adapter": tuned(Adapter(bottleneck=16), 2e-3, 0.95),
    "prefix": tuned(Prefix(length=10), 5e-2, 0.97),
    "prompt": tuned(Prompt(length=4), 8e-2, 0.95),
}
FD = {"kind": "feature_distillation", "strength": 3.0}
CONTROLS = ("frozen", "plain", "first_session")  # run whether or not they are asked for
METHODS = {
    "frozen": Method("never"),
    "ncm": Method("never", head="ncm"),
    "lda": Method("never", head="lda"),
    "plain": Method(),
    "plain_refit": Method(refit=True),
    "first_session": Method("first"),
    # what the search found best with LoRA; for first_session that is the PET's own rate
    "plain_tuned": Method(lr_factor=0.0625),
    "plain_ema": Method(baseline={"kind": "task_average", "alpha": 0.3}),
    "joint": Method("jointly"),
    "l2": Method(baseline={"kind": "l2", "strength": 1.0}),
    "ewc": Method(baseline={"kind": "ewc", "strength": 1e3, "samples": 100}, lr_factor=0.25),
    "lwf": Method(baseline={"kind": "lwf", "strength": 3.0}, lr_factor=0.25),
    "fd": Method(baseline=FD, lr_factor=0.25),
    "pegp": Method(pegp={}),
    "pegp_fd": Method(pegp={}, baseline=FD),
    "pegp_refit": Method(pegp={}, refit=True),
}

CLIP_PETS = {  # settings found by hand on seed 0
    "lora": tuned(_LORA, 6e-3, 0.985, rebase=True),
    "adapter": tuned(Adapter(bottleneck=16), 1e-2, 0.98),
    "prefix": tuned(Prefix(length=10), 4e-2, 0.95),
    "prompt": tuned(Prompt(length=4), 8e-2, 0.9),
    "linear_adapter": tuned(LinearAdapter(bottleneck=32), 1e-2, 0.99),
    "text_lora": tuned(replace(_LORA, tower="text"), 4e-3, 0.95),
    "context": tuned(Context(length=4), 1e-2, 0.95),
}
OF_PRETRAINING = {"zscl", "vr_lwf", "pegp_references"}  # they go by references()
CLIP_CONTROLS = ("zero_shot", "plain", "first_session")
SLOWER = 0.25  # of the PET's rate: where a method is better at it, by the study "clip_search"
CLIP_METHODS = {
    "zero_shot": Method("never"),
    **{name: METHODS[name] for name in ("plain", "first_session", "joint", "l2")},
    "plain_tuned": Method(lr_factor=SLOWER),
    "ewc": replace(METHODS["ewc"], lr_factor=1.0),
    "lwf": replace(METHODS["lwf"], lr_factor=SLOWER),
    "zscl": Method(baseline={"kind": "zscl", "ensemble_every": 5}),
    "vr_lwf": Method(baseline={"kind": "vr_lwf"}),
    "pegp": METHODS["pegp"],
    "pegp_90": softly(0.9),
    "pegp_75": softly(0.75),
    "pegp_references": Method(pegp={"references": True}),
}


@dataclass(frozen=True)
class Menu:
    """What a command line can choose from.

    Attributes:
        pets: by name; the first is the default.
        methods: by name.
        controls: those that run whether or not they are asked for.
        own_head: what the model itself classifies by.
        statistics: heads that can be put in its place.
        backbone: the default.
    """

    pets: Mapping[str, Tuning]
    methods: Mapping[str, Method]
    controls: Sequence[str]
    own_head: str
    statistics: Mapping[str, type[ClassStatistics]]
    backbone: str

    @property
    def heads(self) -> list[str]:
        """Classifiers at evaluation; the first is the default."""
        return [*self.statistics, self.own_head]


VIT = Menu(PETS, METHODS, CONTROLS, "linear", HEADS, "tiny_vit_32.latin")
CLIP = Menu(CLIP_PETS, CLIP_METHODS, CLIP_CONTROLS, "text", {}, "tiny_clip_32.glyphs")
