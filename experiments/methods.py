"""What is compared: PETs with their settings, and methods, from controls to PEGP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from avalanche.training.plugins import SupervisedPlugin

from avl_pegp import Adapter, LoRA, PEGPPlugin, Prefix, Prompt
from avl_pegp.plugins import EWCPlugin, L2Plugin, LwFPlugin
from avl_pegp.projection import Protection


class Tuning(NamedTuple):
    """A PET, its learning rate, and how PEGP is to protect it.

    Attributes:
        config: of the PET, or a tuple of several.
        lr: the optimizer's, for the PET.
        pegp: PEGP's arguments.
        plugins: make what the PET itself needs wherever it is tuned in every experience.
    """

    config: Any
    lr: float
    pegp: dict[str, Any]
    plugins: tuple[Callable[[], SupervisedPlugin[Any]], ...] = ()


CENTRED = Protection(centred=True)
PETS = {  # settings found by search.py
    "lora": Tuning(
        LoRA(rank=8, targets=("qkv", "fc1")), 4e-3, {"energy": 0.95, "protection": CENTRED}
    ),
    "adapter": Tuning(Adapter(bottleneck=16), 2e-3, {"energy": 0.95, "protection": CENTRED}),
    "prefix": Tuning(Prefix(length=10), 5e-2, {"energy": 0.97, "protection": CENTRED}),
    "prompt": Tuning(Prompt(length=4), 8e-2, {"energy": 0.95, "protection": CENTRED}),
}


@dataclass(frozen=True)
class Method:
    """How a method differs from plain tuning of a PET with the linear head.

    Attributes:
        tunes: the experiences in which the PET is tuned; ``"jointly"``: on all of them at once,
            before the stream begins.
        head: evaluates with these class statistics whatever ``--head`` says.
        pegp: PEGP's arguments where it is on, beside those of the PET.
        plugin: makes PEGP's plugin of these arguments.
        pet: another configuration than that of the PET's name.
        lr_factor: times the PET's learning rate.
        rival: another method's plugin.
        refit: class statistics are computed anew from all training data so far.
    """

    tunes: Literal["always", "first", "never", "jointly"] = "always"
    head: str | None = None
    pegp: dict[str, Any] | None = None
    plugin: Callable[..., PEGPPlugin] = PEGPPlugin
    pet: Any = None
    lr_factor: float = 1.0
    rival: Callable[[], SupervisedPlugin[Any]] | None = None
    refit: bool = False

    @property
    def has_pet(self) -> bool:
        """Whether anything below the classifier is trained at all."""
        return self.tunes != "never"


CONTROLS = ("frozen", "plain", "first_session")  # run whether or not they are asked for
METHODS = {
    "frozen": Method("never"),
    "ncm": Method("never", head="ncm"),
    "lda": Method("never", head="lda"),
    "plain": Method(),
    "plain_refit": Method(refit=True),
    "first_session": Method("first"),
    # what search.py found best with LoRA; for first_session that is the PET's own rate
    "plain_tuned": Method(lr_factor=0.0625),
    "joint": Method("jointly"),
    "l2": Method(rival=partial(L2Plugin, 1.0)),
    "ewc": Method(rival=partial(EWCPlugin, 1e3, samples=100), lr_factor=0.25),
    "lwf": Method(rival=partial(LwFPlugin, 3.0), lr_factor=0.25),
    "pegp": Method(pegp={}),
    "pegp_refit": Method(pegp={}, refit=True),
}


@dataclass(frozen=True)
class Menu:
    """What a command line can choose from.

    Attributes:
        pets: by name; the first is the default.
        methods: by name.
        controls: those that run whether or not they are asked for.
        heads: classifiers at evaluation; the first is the default.
        backbone: the default.
    """

    pets: Mapping[str, Tuning]
    methods: Mapping[str, Method]
    controls: Sequence[str]
    heads: Sequence[str]
    backbone: str


VIT = Menu(PETS, METHODS, CONTROLS, ("lda", "ncm", "linear"), "tiny_vit_32.latin")
