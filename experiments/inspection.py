"""A run looked into: the pictures of docs/inspection.md, of a good run and of bad ones.

    python experiments/inspection.py

Trains a LoRA on five pairs of real digits plainly, under PEGP, and under settings that do not suit,
then a prefix; two to three minutes on a CPU. Writes the figures into docs/inspection, or into --out.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from alone import alone
from avalanche.evaluation import PluginMetric
from avalanche.training.determinism.rng_manager import RNGManager
from job import Job
from learning import learn_experiences
from methods import METHODS, PETS, Method
from torch import Tensor
from training import Training

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

DOCS = Path(__file__).parents[1] / "docs" / "inspection"
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


@dataclass
class Run:
    """What was seen of one run.

    Attributes:
        ranks: after each experience.
        new: features of each of the first test experiences right after it was learned; ``end``: at
            the end; ``labels``: of both.
        mass: ``(blocks, heads, tokens)`` on the first test experience, where there are tokens.
    """

    pegp: PEGPPlugin | None
    matrix: AccuracyMatrix = ()
    ranks: list[dict[str, tuple[int, int]]] = field(default_factory=list)
    new: list[Tensor] = field(default_factory=list)
    end: list[Tensor] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    mass: Any = None


class Watch(PluginMetric[None]):
    """Writes down after each experience what the pictures need."""

    def __init__(self, run: Run, tests: Any) -> None:
        super().__init__()
        self.run, self.tests = run, tests

    def result(self) -> None:
        """Nothing: it is all in the run."""

    def reset(self) -> None:
        """Nothing."""

    def after_training_exp(self, strategy: Any) -> None:
        """Bases have grown by now."""
        if self.run.pegp is not None:
            self.run.ranks.append(self.run.pegp.ranks())
        if len(self.run.new) < OLD:
            dataset = self.tests[len(self.run.new)].dataset
            features, labels = classifier_features(strategy.model, dataset)
            self.run.new.append(features)
            self.run.labels += labels.tolist()


def trained(job: Job, name: str, does: Method) -> Run:
    """One run of a method, watched."""
    job = replace(job, method=name, does=does)
    RNGManager.set_random_seeds(job.seed)
    benchmark = job.stream()
    learner = job.learner(benchmark.class_names)
    run, tests = Run(learner.pegp), benchmark.test_stream
    with TemporaryDirectory() as logs:
        accuracy, _ = learn_experiences(
            learner, benchmark, title=job.title, logs=Path(logs), metrics=[Watch(run, tests)]
        )
    run.matrix = accuracy.class_incremental
    run.end = [classifier_features(learner.model, tests[j].dataset)[0] for j in range(OLD)]
    if job.pet == "prefix":
        run.mass = np.stack([*token_mass(learner.model, tests[0].dataset).values()])
    return run


def pictures(runs: dict[str, Run], prefixes: dict[str, Run]) -> dict[str, Any]:
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
