"""Drift as it is, on a few old inputs that are kept to look at: a control of the meter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from avl_pegp.arguments import require_positive
from avl_pegp.evaluation.site_metrics import SiteMetric
from avl_pegp.evaluation.site_numbers import shares
from avl_pegp.plugins.experience import classes_of, origin_of, predict, statistics_loader, task_of
from avl_pegp.plugins.heads import heads_of
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.observing import Observer
from avl_pegp.projection.running import inference_state
from avl_pegp.projection.sites import Site


@dataclass(frozen=True)
class Meter:
    """What a map's drift on old features needs, and no feature.

    With C_t the second moment of what came at time t, and W_t the map then: ``Σ_t ‖(W − W_t) x‖²`` is
    ``tr(W C Wᵀ) − 2 tr(W Mᵀ) + c``. This is the formula as it stands; ``SiteMemory`` has it about a
    reference, which loses less to rounding.

    Attributes:
        moment: ``C = Σ C_t``, ``(G, d, d)``, float64.
        cross: ``M = Σ W_t C_t``, ``(G, out, d)``.
        energy: ``c = Σ tr(W_t C_t W_tᵀ)``.
    """

    moment: Tensor
    cross: Tensor
    energy: float

    @classmethod
    def of(cls, weight: Tensor, moment: Tensor) -> Meter:
        """The meter of one map ``(G, out, d)`` and the features ``(G, d, d)`` that it meets."""
        cross = weight @ moment
        return cls(moment, cross, float((weight * cross).sum()))

    def __add__(self, other: Meter) -> Meter:
        return Meter(
            self.moment + other.moment, self.cross + other.cross, self.energy + other.energy
        )

    def changed(self, weight: Tensor) -> float:
        """The squared change of all old outputs, of which ``energy`` is the whole; never below 0.

        Example:
            >>> import torch
            >>> meter = Meter.of(torch.ones(1, 1, 2), torch.eye(2)[None])
            >>> meter.changed(torch.zeros(1, 1, 2)), meter.energy
            (2.0, 2.0)
        """
        moved = float((weight * (weight @ self.moment - 2 * self.cross)).sum()) + self.energy
        return 0.0 if moved < 0 else moved  # rounding; NaN stays


@dataclass(frozen=True)
class _Look:
    """What a model makes of a batch: outputs by name, and the moments that its sites see."""

    outputs: dict[str, Tensor]
    moments: dict[str, Moment]


@dataclass(frozen=True)
class _Kept:
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
    was kept, relative to their energy. ``MeteredDrift``, by site and in total, is what the meter's
    formula says of the same inputs from moments and weights alone. At the first site the two are the
    same number but for rounding (of the model's own precision), as long as nothing before it is
    trained. Deeper, the meter sees what a site's own weight does, and not that its input has changed.
    Where a rebase starts branches anew there is no map to follow: features and logits alone are told.
    In an online stream without boundaries inputs are of the piece at which bases grew, and may be fewer.

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
        self._meters: dict[str, Meter] = {}
        self._classes: set[int] = set()

    def after_training_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Where a task is over, measure on what was kept, then keep some of the new."""
        self._classes |= classes_of(origin_of(strategy.experience))
        if not self.has_grown():
            return []
        values = self._measured(strategy) if self._kept else []
        self._keep(strategy)
        return values

    @torch.no_grad()
    def _measured(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        changed: dict[str, float] = {}
        energy: dict[str, float] = {}
        for kept in self._kept:
            now = self._look(strategy, kept.batch, kept.classes).outputs
            for name, then in kept.outputs.items():
                changed[name] = changed.get(name, 0.0) + float((now[name] - then).square().sum())
                energy[name] = energy.get(name, 0.0) + float(then.square().sum())
        measured = shares({name: (changed[name], energy[name]) for name in changed})
        measured.pop("", None)  # outputs of different kinds have no sum
        weights = self._maps()
        metered = {n: (m.changed(weights[n]), m.energy) for n, m in self._meters.items()}
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
        look = self._look(strategy, batch, classes)
        self._kept.append(_Kept(batch, classes, look.outputs))
        for name, weight in self._maps().items():
            meter = Meter.of(weight, look.moments[name].to("cpu").of_width(weight.shape[-1]))
            self._meters[name] = self._meters[name] + meter if name in self._meters else meter

    def _maps(self) -> dict[str, Tensor]:
        """The sites' matrices, float64, on the CPU; none where they are started anew."""
        if self.pegp.settings.rebase:
            return {}
        return {name: w.to("cpu", torch.float64, copy=True) for name, _, w in self.weights()}

    def _look(self, strategy: SupervisedTemplate, batch: Any, classes: list[int]) -> _Look:
        """Show the model a batch, in eval mode."""
        coverage = self.pegp.coverage
        modules = {name: (site.module, site.groups) for name, site in coverage.observed().items()}
        observer = Observer(modules, {})
        first = next(iter(coverage.sites.values()))
        heads = list(heads_of(strategy, self.pegp.settings.classifier, may_be_frozen=True).values())
        with inference_state(strategy.model), observer.watching(), _noting(first, heads) as noted:
            logits, _ = predict(strategy, batch)
        observer.end_of_batch()
        known = [c for c in classes if c < logits.shape[1]]  # the heads of tasks differ in width
        outputs = {"logits": logits[:, known].double().cpu()}
        if noted.features:
            outputs["features"] = torch.cat(noted.features).double().cpu()
        if not self.pegp.settings.rebase:
            outputs[first.name] = torch.cat(noted.mapped).double().cpu()
        return _Look(outputs, observer.moments)


@dataclass
class _Noted:
    """What a site gave, and what the classifier received, call by call."""

    mapped: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)


@contextmanager
def _noting(site: Site, heads: Sequence[nn.Module]) -> Iterator[_Noted]:
    """In this block, what comes and goes is noted, by hooks that know nothing of the meter."""
    noted = _Noted()

    def give(module: nn.Module, _: Any, output: Tensor) -> None:
        # A frozen bias is no part of the map that the meter is about.
        frozen = getattr(module, "bias", None) if site.bias is None else None
        noted.mapped.append(output if frozen is None else output - frozen)

    def receive(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        noted.features += inputs

    with ExitStack() as hooks:
        hooks.callback(site.module.register_forward_hook(give).remove)
        for head in heads:
            hooks.callback(head.register_forward_pre_hook(receive).remove)
        yield noted
