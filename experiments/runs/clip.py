"""What is CLIP's alone: reference data of its pretraining, and measures of its zero-shot abilities."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from statistics import mean
from typing import Any

from torch import Tensor

from avl_pegp.benchmarks import normalise, render_scenes
from avl_pegp.benchmarks.named_characters import PRETRAINING_CHARACTERS
from avl_pegp.benchmarks.named_glyphs import UNTOUCHED_CHARACTERS
from avl_pegp.benchmarks.scenes import draw_scenes, is_held_out
from avl_pegp.evaluation import matching, zero_shot_accuracy
from avl_pegp.plugins import ZSCLPlugin, random_sentences, vr_lwf

Measure = Callable[[Any], dict[str, float]]
REFERENCES = 500  # images, each with a caption


@cache
def references() -> tuple[list[str], Tensor]:
    """Captions and images such as those of pretraining.

    None shows what is measured as never trained: held-out pairs, and the untouched characters.
    """
    shown = [c for c in PRETRAINING_CHARACTERS if c not in UNTOUCHED_CHARACTERS]
    scenes = draw_scenes(REFERENCES, 1, shown, lambda scene: not is_held_out(scene))
    images = normalise(render_scenes(scenes, 1))
    return list(dict.fromkeys(scene.caption() for scene in scenes)), images


def zscl(ensemble_every: int) -> ZSCLPlugin:
    """ZSCL with captioned scenes as its reference data."""
    return ZSCLPlugin(*references(), ensemble_every=ensemble_every)


def vr_lwf_of_words() -> ZSCLPlugin:
    """VR-LwF over sentences of the words that the tiny CLIP knows."""
    words = sorted({word for caption in references()[0] for word in caption.split()})
    return vr_lwf(random_sentences(words, count=500))


def measures_of(benchmark: Any) -> list[Measure]:
    """What a benchmark lets us ask of a model that it does not train for."""

    def accuracies(model: Any) -> dict[str, float]:
        return {
            name: zero_shot_accuracy(model, dataset, names)
            for name, (dataset, names) in benchmark.untouched.items()
        }

    def in_domains(model: Any) -> dict[str, float]:
        pairs = zip(benchmark.test_stream, benchmark.foils, strict=True)
        rates = [
            matching(model, e.dataset, benchmark.class_names, foils)["hallucination"]
            for e, foils in pairs
        ]
        return {"hallucination_in_domains": mean(rates)}

    measures: list[Measure] = [accuracies] if hasattr(benchmark, "untouched") else []
    if hasattr(benchmark, "matching"):
        measures.append(partial(matching, **benchmark.matching._asdict()))
    if hasattr(benchmark, "foils"):
        measures.append(in_domains)
    return measures
