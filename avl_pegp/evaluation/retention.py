"""What a CLIP can do without being trained for it, over the time that it is trained: a metric."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.templates import SupervisedTemplate

from avl_pegp.plugins.one_model import OneModel


class ZeroShotRetention(PluginMetric[dict[str, list[float]]]):
    """Numbers of the model before training, and after each experience, for the loggers.

    Give it to an ``EvaluationPlugin``. It measures when training begins for the first time and when
    an experience is over, after plugins have done their last; in an online stream each piece is an
    experience. Loggers get ``ZeroShot/NAME``.

    Args:
        measures: what to compute of the model; each gives shares by name, such as ``matching`` on
            images that are never trained. No two give the same name.

    Attributes:
        history: by name, the first number before training, then one for each experience.
        seconds: how long measuring has taken, all in all; training is not over before it.

    Raises:
        ValueError: when measuring, a name that two measures give; at the start of training, another
            model object than the one that the history is of.

    Example:
        >>> retention = ZeroShotRetention([lambda model: {"parameters": len([*model.parameters()])}])
        >>> retention.history  # EvaluationPlugin(retention, loggers=[...])
        {}
    """

    def __init__(self, measures: Sequence[Callable[[Any], Mapping[str, float]]]) -> None:
        super().__init__()
        self.measures = tuple(measures)
        self.history: dict[str, list[float]] = {}
        self.seconds = 0.0
        self._one_model = OneModel()

    def result(self) -> dict[str, list[float]]:
        """``history``."""
        return self.history

    def reset(self) -> None:
        """Nothing: the history is of the whole stream."""

    def before_training(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Measure once, before anything is trained."""
        self._one_model.require(str(self), strategy.model)
        return [] if self.history else self._measure(strategy)

    def after_training_exp(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Measure after an experience."""
        return self._measure(strategy)

    def _measure(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        started, now = time.perf_counter(), dict[str, float]()
        for measure in self.measures:
            numbers = measure(strategy.model)
            twice = sorted(numbers.keys() & now.keys())
            if twice:
                raise ValueError(f"measures gives {twice} twice: let each number have its own name")
            now.update(numbers)
        for name, number in now.items():
            self.history.setdefault(name, []).append(number)
        self.seconds += time.perf_counter() - started
        self._one_model.learned(strategy.model)
        at = strategy.clock.train_iterations
        return [MetricValue(self, f"ZeroShot/{name}", number, at) for name, number in now.items()]

    def __str__(self) -> str:
        return "ZeroShotRetention"
