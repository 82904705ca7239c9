"""Drift measured on a few old inputs that are kept for it: a control of the meter."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import torch
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from avl_pegp.arguments import require_positive
from avl_pegp.evaluation.site_metrics import SiteMetric
from avl_pegp.evaluation.site_numbers import drift, shares
from avl_pegp.hooks import watching
from avl_pegp.plugins.experience import (
    classes_of,
    heads_of,
    origin_of,
    predict,
    statistics_loader,
    task_of,
)
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.observing import Observer
from avl_pegp.projection.running import inference_state
from avl_pegp.projection.site_memory import SiteMemory


class _Kept(NamedTuple):
    """Inputs of one experience, the classes known at its end, and what the model then made of them."""

    batch: Any
    classes: list[int]
    outputs: dict[str, Tensor]


class MeasuredDrift(SiteMetric):
    """The true change of old features and logits, beside the meter restricted to the same inputs.

    **It stores samples**: ``samples`` inputs of each experience, for inspection only. Nothing is ever
    trained on them. It is not part of ``pegp_metrics``: add it where data may be kept.

    After each experience, from the second on, loggers get ``MeasuredDrift`` of ``features`` (what the
    classifier receives, where there is one), of ``logits`` (of the classes known when the input was
    kept), and of what the first site's module gives: squared change of all kept outputs, each since it
    was kept, relative to their energy. ``MeteredDrift``, by site and in total, is what the meter
    (``SiteMemory.drift``) says of the same inputs from moments and weights alone. At the first site
    the two are the same number but for rounding (of the model's own precision), as long as nothing
    before it is trained. Deeper, the meter sees what a site's own weight does, and not that its input
    has changed. Where a rebase starts branches anew there is no map to follow: features and logits
    alone are told. In an online stream without boundaries inputs are of the piece at which bases were
    extended, and may be fewer.

    Args:
        plugin: whose sites; ``None`` for the one that the strategy has.
        samples: inputs to keep of each experience.

    Raises:
        ValueError: ``samples`` below 1; at the start of training, a strategy without a ``PEGPPlugin``.

    Example:
        >>> control = MeasuredDrift(samples=4)  # EvaluationPlugin(*pegp_metrics(), control, ...)
        >>> control.result()
        {}
    """

    def __init__(self, plugin: PEGPPlugin | None = None, *, samples: int = 8) -> None:
        super().__init__(plugin)
        require_positive(self, samples=samples)
        self.samples = samples
        self._kept: list[_Kept] = []
        self._meters: dict[str, SiteMemory] = {}
        self._classes: set[int] = set()

    def after_training_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Where a task is over, measure on what was kept, then keep some of the new."""
        self._classes |= classes_of(origin_of(strategy.experience))
        if not self.were_extended():
            return []
        values = self._measured(strategy) if self._kept else []
        self._keep(strategy)
        return values

    @torch.no_grad()
    def _measured(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        changed: defaultdict[str, float] = defaultdict(float)
        energy: defaultdict[str, float] = defaultdict(float)
        for kept in self._kept:
            now, _ = self._look(strategy, kept.batch, kept.classes)
            for name, then in kept.outputs.items():
                changed[name] += float((now[name] - then).square().sum())
                energy[name] += float(then.square().sum())
        measured = shares({name: (changed[name], energy[name]) for name in changed})
        measured.pop("", None)  # outputs of different kinds have no sum
        maps = ((name, weight) for name, _, weight in self.matrices() if name in self._meters)
        metered = {name: drift(self._meters[name], weight) for name, weight in maps}
        return [
            *self.named(strategy, "MeasuredDrift", measured),
            *self.named(strategy, "MeteredDrift", shares(metered)),
        ]

    @torch.no_grad()
    def _keep(self, strategy: SupervisedTemplate) -> None:
        loader = statistics_loader(
            task_of(strategy.experience) or strategy.experience,
            samples=self.samples,
            batch_size=self.samples,
            seed=self.pegp.memory.experiences,
        )
        batch, classes = next(iter(loader)), sorted(self._classes)
        outputs, moments = self._look(strategy, batch, classes)
        self._kept.append(_Kept(batch, classes, outputs))
        for name, memory, weight in () if self.pegp.settings.rebase else self.matrices():
            moment, before = moments[name].to("cpu"), self._meters.get(name)
            total = moment if before is None else before.moment + moment
            remember = SiteMemory.first if before is None else before.after
            self._meters[name] = remember(weight, moment, total, memory.bases)

    def _look(
        self, strategy: SupervisedTemplate, batch: Any, classes: list[int]
    ) -> tuple[dict[str, Tensor], dict[str, Moment]]:
        """What the model, in eval mode, makes of a batch, by name, and the moments that its sites see.

        The hooks for the first know nothing of the meter.
        """
        settings, coverage = self.pegp.settings, self.pegp.coverage
        modules = {name: (site.module, site.groups) for name, site in coverage.observed().items()}
        observer, first = Observer(modules, {}), next(iter(coverage.sites.values()))
        received: dict[str, list[Tensor]] = {"features": [], first.name: []}

        def give(_: str, module: nn.Module, __: Any, output: Tensor) -> None:
            # A frozen bias is no part of the map that the meter is about.
            frozen = getattr(module, "bias", None) if first.bias is None else None
            received[first.name].append(output if frozen is None else output - frozen)

        def receive(_: str, __: nn.Module, inputs: tuple[Tensor, ...], ___: Any) -> None:
            received["features"] += inputs

        maps = {} if settings.rebase else {first.name: first.module}
        heads = heads_of(strategy, settings.classifier, may_be_frozen=True)
        with (
            watching(maps, after=give),
            watching(heads, before=receive),
            inference_state(strategy.model),
            observer.watching(),
        ):
            logits, _ = predict(strategy, batch)
        observer.end_of_batch()
        known = [c for c in classes if c < logits.shape[1]]  # the heads of tasks differ in width
        outputs = {
            "logits": logits[:, known],
            **{n: torch.cat(x) for n, x in received.items() if x},
        }
        return {name: x.double().cpu() for name, x in outputs.items()}, observer.moments
