"""Metrics of a PEGP that is at work, site by site, for any Avalanche logger."""

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
from avl_pegp.evaluation.look import as_image
from avl_pegp.evaluation.site_figures import drift_over_time, rank_growth
from avl_pegp.evaluation.site_numbers import roots, shares
from avl_pegp.plugins.experience import is_online
from avl_pegp.plugins.one_model import OneModel
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.projection import PEGP
from avl_pegp.projection.memory import Memory, SiteMemory


class SiteMetric(PluginMetric[dict[str, Any]]):
    """What metrics of a ``PEGPPlugin`` share: whose numbers they are, and what these are called.

    Names are ``NAME/train_phase/STREAM_stream``, followed by ``/SITE`` but for all sites together.

    Args:
        plugin: whose sites; ``None`` for the one that the strategy has.

    Raises:
        ValueError: at the start of training, a strategy without a ``PEGPPlugin``, or another model
            object than before.
    """

    def __init__(self, plugin: PEGPPlugin | None = None) -> None:
        super().__init__()
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

    def has_grown(self) -> bool:
        """Whether bases have been extended (or loaded) since this was last asked."""
        if not self._phase or self.pegp.memory is self._seen:
            return False
        self._seen = self.pegp.memory
        return self._seen.experiences > 0

    def weights(self) -> Iterator[tuple[str, SiteMemory, Tensor]]:
        """Each protected site, its memory, and its matrix ``(G, out, d)``, maybe the live one."""
        tensors = self.pegp.coverage.tensors()
        for name, memory in self.pegp.memory.sites.items():
            yield name, memory, self.pegp.coverage.sites[name].read(tensors)

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
    """``Rank``, ``FreeDimensions`` and ``CapturedEnergy`` whenever bases grow, and what they are of.

    When an evaluation begins, and bases have grown since the last one: histograms
    ``SingularValues`` of all old features (log10), and images ``RankGrowth`` and ``DriftOverTime``,
    over the times that bases grew: once an experience, but for references and online streams.
    Arguments as in ``SiteMetric``.
    """

    def __init__(self, plugin: PEGPPlugin | None = None) -> None:
        super().__init__(plugin)
        self._ranks: list[dict[str, tuple[int, int]]] = []
        self._drifts: list[dict[str, float]] = []
        self._grown: list[int] = []  # times that bases had grown, also before a load
        self._drawn = 0

    def before_training_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Bases may have been loaded, or have grown by what was left of an online stream."""
        super().before_training_exp(strategy)
        return self._numbers(strategy)

    def after_update(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Bases may have grown, in an online stream without boundaries."""
        return self._numbers(strategy)

    def after_training_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Bases may have grown, and have where the experience is a task."""
        return self._numbers(strategy)

    def before_eval(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Time for what takes time."""
        values = self._numbers(strategy)
        if self._drawn == len(self._ranks):
            return values
        self._drawn = len(self._ranks)
        memories = self.pegp.memory.sites
        moments = [(m.moment, m.reference.shape[-1]) for m in memories.values()]
        spectra = zip(memories, site_numbers.log10_singular_values(moments), strict=True)
        values += self.named(
            strategy,
            "SingularValues",
            {site: spectrum for site, spectrum in spectra if len(spectrum)},
        )
        growth = rank_growth(self._ranks, "Protected directions", grown=self._grown)
        drift = drift_over_time(self._drifts, "Drift on old features", grown=self._grown)
        values += self.named(strategy, "RankGrowth", {"": as_image(growth)})
        return values + self.named(strategy, "DriftOverTime", {"": as_image(drift)})

    def _numbers(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        if not self.has_grown():
            return []
        self._ranks.append(self.pegp.ranks())
        self._drifts.append(self.pegp.drift())
        self._grown.append(self.pegp.memory.experiences)
        ranks = {site: rank for site, (rank, _) in self._ranks[-1].items()}
        free = {site: size - rank for site, (rank, size) in self._ranks[-1].items()}
        memories, centred = self.pegp.memory.sites.items(), self.pegp.settings.rule.centred
        captured = shares({n: site_numbers.captured_energy(m, centred) for n, m in memories})
        return [
            *self.named(strategy, "Rank", {"": sum(ranks.values()), **ranks}),
            *self.named(strategy, "FreeDimensions", {"": sum(free.values()), **free}),
            *self.named(strategy, "CapturedEnergy", captured),
        ]


class SampledMetric(SiteMetric):
    """A metric that looks once in so many iterations, since the live weights change with each.

    Args:
        plugin: as in ``SiteMetric``.
        every: iterations, counted from the first of each experience; in online streams, where an
            experience is a few samples, over the whole stream.

    Raises:
        ValueError: ``every`` below 1.
    """

    def __init__(self, plugin: PEGPPlugin | None = None, *, every: int) -> None:
        super().__init__(plugin)
        require_positive(self, every=every)
        self.every = every

    def is_due(self, strategy: SupervisedTemplate) -> bool:
        """Whether to look in this iteration."""
        clock, online = strategy.clock, is_online(strategy.experience)
        done: int = clock.train_iterations if online else clock.train_exp_iterations
        return done % self.every == 0


class WeightMetric(SampledMetric):
    """``Leak`` and ``Drift`` once in ``every`` iterations, and ``Drift`` whenever bases grow.

    Arguments as in ``SampledMetric``.
    """

    def after_update(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Measure, once in ``every`` calls."""
        if not self.is_due(strategy):
            return []
        leaks = {n: site_numbers.leak(memory, weight) for n, memory, weight in self.weights()}
        return [*self.named(strategy, "Leak", roots(shares(leaks))), *self._drift(strategy)]

    def after_training_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """What the experience has come to."""
        return self._drift(strategy) if self.has_grown() else []

    def _drift(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        drifts = {n: site_numbers.drift(memory, weight) for n, memory, weight in self.weights()}
        return self.named(strategy, "Drift", shares(drifts))


class RemovalMetric(SampledMetric):
    """``RemovedShare`` and ``RemovedGradientShare`` once in ``every`` iterations.

    Arguments as in ``SampledMetric``.
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
        coverage = self.pegp.coverage
        gradients = coverage.gradients()
        found = {
            name: site_numbers.removed(memory, coverage.sites[name].read(gradients))
            for name, memory in self.pegp.memory.sites.items()
            if coverage.sites[name].tensors <= gradients.keys()
        }
        return self.named(strategy, "RemovedGradientShare", _read_out(found))

    def before_update(self, strategy: SupervisedTemplate) -> None:
        """Get ready to see the step as the optimizer makes it: plugins project it after that."""
        if self.is_due(strategy) and self.pegp.memory.sites:
            before = {name: weight.clone() for name, _, weight in self.weights()}
            self._hook = strategy.optimizer.register_step_post_hook(lambda *_: self._look(before))

    def after_update(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Tell what was seen."""
        if self._hook is None:
            return []
        self._hook.remove()
        removed, self._hook, self._removed = self._removed, None, {}
        return self.named(strategy, "RemovedShare", _read_out(removed))

    @torch.no_grad()
    def _look(self, before: Mapping[str, Tensor]) -> None:
        self._removed = {
            name: site_numbers.removed(memory, weight - before[name])
            for name, memory, weight in self.weights()
        }


def _read_out(squares: Mapping[str, Tensor]) -> dict[str, float]:
    """Ratios of norms, read from the device in one go."""
    if not squares:
        return {}
    numbers = torch.stack(list(squares.values())).double().tolist()
    parts = {site: (part, whole) for site, (part, whole) in zip(squares, numbers, strict=True)}
    return roots(shares(parts))
