"""A run looked into: the pictures of docs/inspection.md, of a good run and of bad ones.

    python experiments/study.py inspection

Trains a LoRA on five pairs of real digits plainly, under PEGP, and under settings that do not suit,
then a prefix; two to three minutes on a CPU. Writes the figures into docs/inspection, or into --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import class_incremental
import numpy as np
from avalanche.training.plugins import SupervisedPlugin
from runs.command_line import alone
from runs.job import Job
from runs.methods import METHODS, PETS, Method
from runs.parts import stream_of
from runs.training import Training
from torch import Tensor

from avl_pegp import PEGPPlugin
from avl_pegp.evaluation import (
    accuracy_and_forgetting,
    accuracy_heat_map,
    attention_mass,
    by_block,
    classifier_features,
    energy_spectrum,
    feature_map,
    in_the_plane,
    rank_growth,
    spectra_of,
    token_mass,
)
from avl_pegp.evaluation.metrics import AccuracyMatrix

DOCS = Path(__file__).parents[2] / "docs" / "inspection"
ENERGY = PETS["lora"].pegp["energy"]
STREAM = "five pairs of digits"
RUNS = {  # "none" gathers and measures, but leaves every step as it is
    "plain": Method(pegp={"project": "none"}),
    "first session only": METHODS["first_session"],
    f"PEGP, energy {ENERGY}": METHODS["pegp"],
    "energy 0.5": Method(pegp={"energy": 0.5}),
    "energy 1": Method(pegp={"energy": 1.0}),
    "energy 1, gradients only": Method(pegp={"energy": 1.0, "project": "gradient"}),
}
GOOD = f"PEGP, energy {ENERGY}"
OLD = 2  # experiences whose features are drawn


class Watch(SupervisedPlugin[Any]):
    """Writes down after each experience what the pictures need.

    Args:
        tests: the test stream.
        has_tokens: whether attention on the PET's tokens is to be looked at.

    Attributes:
        ranks: after each experience.
        new: features of each of the first test experiences right after it was learned; ``end``: at
            the end; ``labels``: of both.
        mass: ``(blocks, heads, tokens)`` on the first test experience at the end, where there are
            tokens.
    """

    def __init__(self, tests: Sequence[Any], has_tokens: bool) -> None:
        super().__init__()
        self.tests, self.has_tokens = tests, has_tokens
        self.pegp: PEGPPlugin | None = None
        self.matrix: AccuracyMatrix = ()
        self.ranks: list[dict[str, tuple[int, int]]] = []
        self.new: list[Tensor] = []
        self.end: list[Tensor] = []
        self.labels: list[int] = []
        self.mass: Any = None

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Bases have been extended by now."""
        self.pegp = next((p for p in strategy.plugins if isinstance(p, PEGPPlugin)), None)
        if self.pegp is not None:
            self.ranks.append(self.pegp.ranks())
        seen = [classifier_features(strategy.model, test.dataset) for test in self.tests[:OLD]]
        if len(self.new) < OLD:
            features, labels = seen[len(self.new)]
            self.new.append(features)
            self.labels += labels.tolist()
        self.end = [features for features, _ in seen]
        if self.has_tokens:
            masses = token_mass(strategy.model, self.tests[0].dataset)
            self.mass = np.stack([*masses.values()])


def trained(job: Job, name: str, does: Method) -> Watch:
    """One run of a method, watched."""
    job = replace(job, method=name, does=does)
    watch = Watch(stream_of(job).test_stream, has_tokens=job.pet == "prefix")
    with TemporaryDirectory() as logs:
        watch.matrix = class_incremental.run(job, Path(logs), watch).accuracy_matrix
    return watch


def pictures(runs: dict[str, Watch], prefixes: dict[str, Watch]) -> dict[str, Any]:
    """Every figure of the page, by the name of its file."""
    plain, good = runs["plain"], runs[GOOD]
    protected = {name: run for name, run in runs.items() if run.pegp and name != "plain"}
    assert good.pegp is not None
    drifts = {name: run.pegp.drift() for name, run in protected.items() if run.pegp}
    moments = {
        "plain, just learned": plain.new,
        "plain, at the end": plain.end,
        "PEGP, just learned": good.new,
        "PEGP, at the end": good.end,
    }
    plane = in_the_plane({name: np.concatenate(parts) for name, parts in moments.items()})
    return {
        "accuracy": accuracy_heat_map({n: [runs[n].matrix] for n in ("plain", GOOD)}, STREAM),
        "forgetting": accuracy_and_forgetting({n: [r.matrix] for n, r in runs.items()}, STREAM),
        "features": feature_map(plane, good.labels, f"The first {2 * OLD} classes, test images"),
        "ranks": rank_growth(good.ranks, GOOD),
        "ranks_full": rank_growth(runs["energy 1"].ranks, "energy 1"),
        "spectrum": energy_spectrum(spectra_of(good.pegp.pegp), ENERGY, GOOD),
        "drift": by_block(drifts, "After the last experience", "drift", log=True),
        "attention": attention_mass(
            {name: run.mass for name, run in prefixes.items()}, "Attention on prefix tokens"
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DOCS)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    with alone(args.out):
        job = Job("class_incremental", "split_digits", training=Training(epochs=args.epochs))
        lora = replace(job, pet="lora", tuning=PETS["lora"])
        prefix = replace(job, pet="prefix", tuning=PETS["prefix"])
        runs = {name: trained(lora, name, does) for name, does in RUNS.items()}
        prefixes = {
            title: trained(prefix, name, METHODS[name])
            for name, title in {"plain": "plain", "pegp": "PEGP"}.items()
        }
        for name, figure in pictures(runs, prefixes).items():
            figure.savefig(args.out / f"{name}.png", dpi=110)
    print(f"Wrote the figures into {args.out}")


if __name__ == "__main__":
    main()
