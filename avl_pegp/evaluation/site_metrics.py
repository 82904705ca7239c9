"""Metrics of PEGP while it trains, site by site, for any Avalanche logger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from avl_pegp.arguments import require_positive
from avl_pegp.evaluation import site_numbers
from avl_pegp.evaluation.accuracy import AccuracyImage
from avl_pegp.evaluation.look import as_image
from avl_pegp.evaluation.site_figures import drift_over_time, rank_growth
from avl_pegp.evaluation.site_numbers import roots, shares
from avl_pegp.plugins.experience import is_online
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.plugins.tasks import OneModel
from avl_pegp.projection import PEGP
from avl_pegp.projection.memory import Memory
from avl_pegp.projection.site_memory import SiteMemory


class SiteMetric(PluginMetric[dict[str, Any]]):
    """What metrics of a ``PEGPPlugin`` share: whose numbers they are, and what these are called.

    Names are ``NAME/train_phase/STREAM_stream``, followed by ``/SITE`` but for all sites together.

    Args:
        plugin: whose sites; ``None`` for the one that the strategy has.
        every: where the live weights are looked at, which change with each iteration: once in so many,
            counted from the first of each experience; in online streams, where an experience is a few
            samples, over the whole stream.

    Raises:
        ValueError: ``every`` below 1; at the start of training, a strategy without a ``PEGPPlugin``,
            or another model object than before.
    """

    def __init__(self, plugin: PEGPPlugin | None = None, *, every: int = 1) -> None:
        super().__init__()
        require_positive(self, every=every)
        self.every = every
        self._given = self._plugin = plugin
        self._one_model = OneModel()
        self._phase = ""
        self._seen: Memory | None = None
        self._latest: dict[str, Any] = {}

    def result(self) -> dict[str, Any]:
        """The latest value under each name."""
        return dict(self._latest)

    def reset(self) -> None:
        """Nothing: values are of the stream so far."""

    def before_training_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Find the plugin, and what the stream is called."""
        self._one_model.require(str(self), strategy.model)
        found = [p for p in strategy.plugins if isinstance(p, PEGPPlugin)]
        if self._given is None and not found:
            raise ValueError(
                "the strategy has no PEGPPlugin for these metrics to be about: add one to its plugins "
                "(project='none' for a control), or leave the metrics out"
            )
        self._plugin = self._given or found[0]
        self._one_model.learned(strategy.model)
        self._phase = f"train_phase/{strategy.experience.origin_stream.name}_stream"
        return []

    @property
    def pegp(self) -> PEGP:
        """What the numbers are about; known from ``before_training_exp`` on."""
        assert self._plugin is not None
        return self._plugin.pegp

    def is_due(self, strategy: SupervisedTemplate) -> bool:
        """Whether to look at the live weights in this iteration."""
        clock, online = strategy.clock, is_online(strategy.experience)
        done: int = clock.train_iterations if online else clock.train_exp_iterations
        return done % self.every == 0

    def were_extended(self) -> bool:
        """Whether bases have been extended (or loaded) since this was last asked."""
        if not self._phase or self.pegp.memory is self._seen:
            return False
        self._seen = self.pegp.memory
        return self._seen.experiences > 0

    def matrices(
        self, tensors: dict[str, Tensor] | None = None
    ) -> Iterator[tuple[str, SiteMemory, Tensor]]:
        """Each protected site, its memory, and its matrix ``(G, out, d)``, maybe the live one.

        Args:
            tensors: what to read the matrices from, such as gradients; sites that are not in them are
                left out. ``None`` for the weights.
        """
        coverage = self.pegp.coverage
        tensors = coverage.tensors() if tensors is None else tensors
        for name, memory in self.pegp.memory.sites.items():
            if coverage.sites[name].tensors <= tensors.keys():
                yield name, memory, coverage.sites[name].read(tensors)

    def named(
        self, strategy: SupervisedTemplate, name: str, values: Mapping[str, Any]
    ) -> list[MetricValue]:
        """Values by site (``""``: of all together) as the loggers take them."""
        path = f"{name}/{self._phase}"
        full = {f"{path}/{site}" if site else path: value for site, value in values.items()}
        self._latest |= full
        now = strategy.clock.train_iterations
        return [MetricValue(self, tag, value, now) for tag, value in full.items()]

    def __str__(self) -> str:
        return type(self).__name__


class BasisMetric(SiteMetric):
    """``Rank``, ``FreeDimensions`` and ``CapturedEnergy`` whenever bases are extended.

    When an evaluation begins, and bases were extended since the last one: histograms
    ``SingularValues`` of all old features (log10), and images ``RankGrowth`` and ``DriftOverTime``,
    over the times that bases were extended: once an experience, but for references and online
    streams. Arguments as in ``SiteMetric``.
    """

    def __init__(self, plugin: PEGPPlugin | None = None) -> None:
        super().__init__(plugin)
        self._ranks: list[dict[str, tuple[int, int]]] = []
        self._drifts: list[dict[str, float]] = []
        self._extensions: list[int] = []  # how many there were by then, also before a load
        self._drawn = 0

    def before_training_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Bases may have been loaded, or extended by what was left of an online stream."""
        super().before_training_exp(strategy)
        return self._numbers(strategy)

    def _numbers(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """The numbers of bases that were extended since this was last called."""
        if not self.were_extended():
            return []
        self._ranks.append(self.pegp.ranks())
        self._drifts.append(self.pegp.drift())
        self._extensions.append(self.pegp.memory.experiences)
        ranks = {site: rank for site, (rank, _) in self._ranks[-1].items()}
        free = {site: size - rank for site, (rank, size) in self._ranks[-1].items()}
        memories, centred = self.pegp.memory.sites.items(), self.pegp.settings.rule.centred
        captured = shares({n: site_numbers.captured_energy(m, centred) for n, m in memories})
        return [
            *self.named(strategy, "Rank", {"": sum(ranks.values()), **ranks}),
            *self.named(strategy, "FreeDimensions", {"": sum(free.values()), **free}),
            *self.named(strategy, "CapturedEnergy", captured),
        ]

    after_training_exp = _numbers  # where the experience is a task
    after_update = _numbers  # in an online stream without boundaries

    def before_eval(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Draw, which takes time, where bases were extended since the last evaluation."""
        values = self._numbers(strategy)
        if self._drawn == len(self._ranks):
            return values
        self._drawn = len(self._ranks)
        sites = self.pegp.memory.sites.items()
        spectra = site_numbers.log10_singular_values(
            {name: (memory.moment, memory.reference.shape[-1]) for name, memory in sites}
        )
        over = {"extensions": self._extensions}
        ranks = rank_growth(self._ranks, "Protected directions", **over)
        drifts = drift_over_time(self._drifts, "Drift on old features", **over)
        return [
            *values,
            *self.named(strategy, "SingularValues", spectra),
            *self.named(strategy, "RankGrowth", {"": as_image(ranks)}),
            *self.named(strategy, "DriftOverTime", {"": as_image(drifts)}),
        ]


class StepMetric(SiteMetric):
    """What a step loses and where it leads, once in ``every`` iterations.

    ``RemovedShare``, ``RemovedGradientShare``, ``Leak`` and ``Drift``; ``Drift`` also when bases are
    extended. Arguments as in ``SiteMetric``.
    """

    def __init__(self, plugin: PEGPPlugin | None = None, *, every: int) -> None:
        super().__init__(plugin, every=every)
        self._hook: Any = None
        self._removed: dict[str, Tensor] = {}

    @torch.no_grad()
    def after_backward(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Look at the gradients before they are projected."""
        if not self.is_due(strategy):
            return []
        gradients = self.matrices(self.pegp.coverage.gradients())
        found = {name: site_numbers.removed(memory, matrix) for name, memory, matrix in gradients}
        return self.named(strategy, "RemovedGradientShare", _read_out(found))

    def before_update(self, strategy: SupervisedTemplate) -> None:
        """Get ready to see the step as the optimizer makes it: plugins project it after that."""
        if self.is_due(strategy) and self.pegp.memory.sites:
            before = {name: weight.clone() for name, _, weight in self.matrices()}
            self._hook = strategy.optimizer.register_step_post_hook(lambda *_: self._look(before))

    @torch.no_grad()
    def _look(self, before: Mapping[str, Tensor]) -> None:
        self._removed = {
            name: site_numbers.removed(memory, weight - before[name])
            for name, memory, weight in self.matrices()
        }

    def after_update(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Tell what was seen of the step, and where weights are after its projection."""
        if self._hook is not None:
            self._hook.remove()
        removed, self._hook, self._removed = self._removed, None, {}
        if not self.is_due(strategy):
            return []
        leaks = {n: site_numbers.leak(memory, weight) for n, memory, weight in self.matrices()}
        return [
            *self.named(strategy, "RemovedShare", _read_out(removed)),
            *self.named(strategy, "Leak", roots(shares(leaks))),
            *self._drift(strategy),
        ]

    def after_training_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """What the experience has come to."""
        return self._drift(strategy) if self.were_extended() else []

    def _drift(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        drifts = {n: site_numbers.drift(memory, weight) for n, memory, weight in self.matrices()}
        return self.named(strategy, "Drift", shares(drifts))


def pegp_metrics(plugin: PEGPPlugin | None = None, *, every: int = 50) -> list[PluginMetric[Any]]:
    """Metrics that show what a ``PEGPPlugin`` keeps, what is free, and what moves.

    Give them to an ``EvaluationPlugin``. They only look: what is trained stays the same, bit for bit.
    With U the basis of a site, W its weight, R that weight when U was last extended, and Δ a step of
    the optimizer before it is projected, loggers get for each site and in total (all sites
    together: sums, or norms over all of them), from the second experience on:

    - whenever bases are extended: ``Rank`` (protected directions), ``FreeDimensions`` (all the
      others), and ``CapturedEnergy``, the share of all old features' energy that lies in the bases;
    - once in so many iterations: ``RemovedShare``, ``‖(ΔU)Uᵀ‖ / ‖Δ‖`` as projection removes it (or
      would, under ``project="gradient"`` or ``"none"``), and ``RemovedGradientShare``, the same of the
      gradient: near 1, nothing more can be learned there;
    - then also ``Leak``, ``‖(W − R) U‖ / ‖W − R‖``: 0 but for rounding where steps are fully
      projected; and ``Drift``, the plugin's meter, which is also there at the end of an experience;
    - when an evaluation begins: histograms ``SingularValues`` (log10) of all old features, and images
      ``RankGrowth`` and ``DriftOverTime``;
    - after it: an image ``AccuracyMatrix``, where ``AccuracyMatrices`` is among the metrics.

    What has no value is left out: the drift of a branch that a rebase has just started, the leak
    where nothing has moved yet. The classifier is under a rule of its own and is no site.

    Args:
        plugin: whose sites; ``None`` for the one that the strategy has.
        every: iterations between two looks, of which the first is at the first iteration of an
            experience (in online streams: of the stream). In between, nothing is computed.

    Returns:
        Avalanche's metrics.

    Raises:
        ValueError: ``every`` below 1; at the start of training, a strategy without a ``PEGPPlugin``.

    Example:
        >>> [str(metric) for metric in pegp_metrics(every=10)]
        ['BasisMetric', 'StepMetric', 'AccuracyImage']
    """
    return [BasisMetric(plugin), StepMetric(plugin, every=every), AccuracyImage()]


def _read_out(squares: Mapping[str, Tensor]) -> dict[str, float]:
    """Ratios of norms, read from the device in one go."""
    numbers = torch.stack([*squares.values()]).double().tolist() if squares else []
    return roots(shares(dict(zip(squares, map(tuple, numbers), strict=True))))
