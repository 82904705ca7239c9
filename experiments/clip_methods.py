"""What is compared on CLIP: PETs with their settings, and methods, from zero-shot to PEGP."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from methods import CENTRED, METHODS, Menu, Method, Tuning
from torch import Tensor

from avl_pegp import Adapter, Context, LinearAdapter, LoRA, PEGPPlugin, Prefix, Prompt
from avl_pegp.benchmarks import normalise, render_scenes
from avl_pegp.benchmarks.named_characters import PRETRAINING_CHARACTERS
from avl_pegp.benchmarks.named_glyphs import UNTOUCHED_CHARACTERS
from avl_pegp.benchmarks.scenes import draw_scenes, is_held_out
from avl_pegp.plugins import ZSCLPlugin, random_sentences, vr_lwf
from avl_pegp.projection import Protection

REFERENCES = 500  # images, each with a caption


def protected(energy: float, **changes: Any) -> dict[str, Any]:
    """PEGP's arguments: the mean kept, and this share of the energy about it."""
    return {"energy": energy, "protection": CENTRED, **changes}


PETS = {  # settings found by hand on seed 0
    "lora": Tuning(LoRA(rank=8, targets=("qkv", "fc1")), 6e-3, protected(0.985, rebase=True)),
    "adapter": Tuning(Adapter(bottleneck=16), 1e-2, protected(0.98)),
    "prefix": Tuning(Prefix(length=10), 4e-2, protected(0.95)),
    "prompt": Tuning(Prompt(length=4), 8e-2, protected(0.9)),
    "linear_adapter": Tuning(LinearAdapter(bottleneck=32), 1e-2, protected(0.99)),
    "text_lora": Tuning(LoRA(rank=8, targets=("qkv", "fc1"), tower="text"), 4e-3, protected(0.95)),
    "context": Tuning(Context(length=4), 1e-2, protected(0.95)),
}


@cache
def references() -> tuple[list[str], Tensor]:
    """Captions and images such as those of pretraining, for methods that want some to go by.

    None shows what is measured as never trained: held-out pairs, and the untouched characters.
    """
    shown = [c for c in PRETRAINING_CHARACTERS if c not in UNTOUCHED_CHARACTERS]
    scenes = draw_scenes(REFERENCES, 1, shown, lambda scene: not is_held_out(scene))
    images = normalise(render_scenes(scenes, 1))
    return list(dict.fromkeys(scene.caption() for scene in scenes)), images


def zscl() -> ZSCLPlugin:
    """ZSCL with captioned scenes as its reference data."""
    return ZSCLPlugin(*references(), ensemble_every=5)


def vr_lwf_of_words() -> ZSCLPlugin:
    """VR-LwF over sentences of the words that the tiny CLIP knows."""
    words = sorted({word for caption in references()[0] for word in caption.split()})
    return vr_lwf(random_sentences(words, count=500))


def with_references(**pegp: Any) -> PEGPPlugin:
    """PEGP that keeps the answers on these images from the beginning."""
    return PEGPPlugin(references=references()[1].split(100), **pegp)


def softly(eta: float) -> Method:
    """PEGP whose steps lose only this share of what lies along old features (η of NSP²)."""
    soft = protected(0.95, protection=Protection(centred=True, eta=eta), rebase=False)
    return replace(METHODS["pegp"], pegp=soft)


OF_PRETRAINING = {"zscl", "vr_lwf", "pegp_references"}  # they go by references()
CONTROLS = ("zero_shot", "plain", "first_session")  # run whether or not they are asked for
SLOWER = 0.25  # of the PET's rate: where a method is better at it, see clip_search.py
CLIP_METHODS: dict[str, Method] = {
    "zero_shot": Method("never"),
    **{name: METHODS[name] for name in ("plain", "first_session", "joint", "l2")},
    "plain_tuned": Method(lr_factor=SLOWER),
    "ewc": replace(METHODS["ewc"], lr_factor=1.0),
    "lwf": replace(METHODS["lwf"], lr_factor=SLOWER),
    "zscl": Method(rival=zscl),
    "vr_lwf": Method(rival=vr_lwf_of_words),
    "pegp": METHODS["pegp"],
    "pegp_90": softly(0.9),
    "pegp_75": softly(0.75),
    "pegp_references": replace(METHODS["pegp"], plugin=with_references),
}

CLIP = Menu(PETS, CLIP_METHODS, CONTROLS, ("text",), "tiny_clip_32.glyphs")
