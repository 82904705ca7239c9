"""What each part of PEGP buys: one change at a time, on one stream.

    python experiments/study.py ablation --out runs/ablation

Rows: the step or only the gradient projected; the exact conditions or the papers'; directions kept as
a union or taken from the summed covariance; energy counted on σ² or σ⁴; and the statistics of the
published code, whose basis spans samples and is applied to channels. Several runs at a time; run it
again to go on after an interruption. Writes docs/ablation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import class_incremental
import torch
from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from runs import methods
from runs.job import Job
from runs.methods import Method, values_of
from runs.resumable import many_runs
from torch import Tensor, nn
from torch.nn import functional as F

from avl_pegp import PEGPPlugin, Prompt
from avl_pegp.evaluation import Record
from avl_pegp.hooks import watching
from avl_pegp.plugins import statistics_loader
from avl_pegp.projection import Basis, Protection
from avl_pegp.projection.running import inference_state
from avl_pegp.projection.settings import energy_at
from studies.page import table
from studies.sections import template


class SampleAxisPlugin(SupervisedPlugin[SupervisedTemplate]):
    """Gives PEGP, which stands before it, the published code's statistics, to be measured.

    As many samples are drawn as a site has channels, so that the left singular vectors of their
    features ``(samples, channels)``, which span *samples*, have the shape of a basis of *channels*,
    and pass for one.
    """

    @torch.no_grad()
    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Put the sample-axis bases in the place of those just made."""
        (pegp,) = (plugin.pegp for plugin in strategy.plugins if isinstance(plugin, PEGPPlugin))
        memories = dict(pegp.memory.sites)
        for name, features in features_at(strategy, [*memories]).items():
            d = memories[name].dimension
            drawn = features[torch.randint(len(features), (d,))].double()
            drawn = F.pad(drawn, (0, d - drawn.shape[1]), value=1.0)  # a bias sees a 1
            vectors, sizes, _ = torch.linalg.svd(drawn)
            shares = sizes.square().cumsum(0) / sizes.square().sum()
            rank = int((shares < energy_at(pegp.settings.energy, name, 0)).sum()) + 1
            basis = Basis(vectors[:, :rank], torch.ones(rank, dtype=torch.float64))
            memories[name] = replace(memories[name], bases=(basis,))
        pegp.memory = replace(pegp.memory, sites=memories)


def features_at(strategy: SupervisedTemplate, sites: Sequence[str]) -> dict[str, Tensor]:
    """Each site's input in this experience, averaged over tokens: ``(samples, channels)``."""
    seen: dict[str, list[Tensor]] = {name: [] for name in sites}

    def see(name: str, _: nn.Module, args: tuple[Tensor], __: dict[str, Any]) -> None:
        seen[name].append(args[0].mean(1))

    modules = {name: strategy.model.get_submodule(name) for name in sites}
    with inference_state(strategy.model), watching(modules, before=see):
        for batch in statistics_loader(strategy.experience, batch_size=256):
            strategy.model(batch[0])
    return {name: torch.cat(rows) for name, rows in seen.items()}


def run(job: Job, logs: Path) -> Record:
    """The recipe, with the published code's statistics where that is the row."""
    plugins = [SampleAxisPlugin()] if job.method == "sample axis" else []
    return class_incremental.run(job, logs, *plugins)


CENTRED = Protection(centred=True)


def changed(protection: Protection = CENTRED, **pegp: Any) -> Method:
    """PEGP with these arguments changed: each row is one step from the same place."""
    return Method(pegp={"rebase": False, "protection": asdict(protection), **pegp})


METHODS = {
    **{name: methods.METHODS[name] for name in methods.CONTROLS},
    "pegp": changed(),
    "rebase": changed(rebase=True),
    "gradient only": changed(project="gradient"),
    "up and B only": changed(exclude=("*.[Ad]*",)),  # A of a LoRA, down of an adapter
    "input tokens": replace(changed(), pet=values_of(Prompt(length=4, deep=False))),
    "covariance": changed(replace(CENTRED, memory="covariance")),
    "uncentred": changed(Protection()),
    "σ⁴": changed(replace(CENTRED, power=2)),
    "SGP, α = 5": changed(replace(CENTRED, alpha=5.0)),
    "NSP², η = 0.95": changed(replace(CENTRED, eta=0.95)),
    "sample axis": changed(),
}
SHARED = ("plain", "pegp", "gradient only")
CHOICES = ("rebase", "covariance", "uncentred", "σ⁴", "SGP, α = 5", "NSP², η = 0.95", "sample axis")
ROWS = {
    "none": ("frozen",),
    "lora": ("first_session", *SHARED, "up and B only", *CHOICES),
    "adapter": (*SHARED, "up and B only"),
    "prompt": (*SHARED, "input tokens"),
}
PAGE = Path(__file__).parents[2] / "docs" / "ablation.md"
TEXT = (Path(__file__).parent / "ablation.md").read_text(encoding="utf-8")


def jobs_of(seeds: list[int]) -> list[Job]:
    """Every row on every seed."""
    rows = [(pet, method) for pet, names in ROWS.items() for method in names]
    return template("class_incremental", "split_glyphs").variants(rows, seeds, METHODS)


def main() -> None:
    args, records = many_runs(__doc__, jobs_of, {"class_incremental": run})
    seeds = ", ".join(map(str, args.seeds))
    PAGE.write_text(TEXT.format(seeds=seeds, table=table(records)))
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
