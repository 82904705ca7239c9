"""Seeing inside a run of PEGP while it goes on: all metrics of it in one call."""

from __future__ import annotations

from typing import Any

from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.templates import SupervisedTemplate

from avl_pegp.evaluation.accuracy import AccuracyMatrices
from avl_pegp.evaluation.accuracy_figures import accuracy_heat_map
from avl_pegp.evaluation.look import as_image
from avl_pegp.evaluation.site_metrics import BasisMetric, RemovalMetric, WeightMetric
from avl_pegp.plugins.pegp import PEGPPlugin

_TITLES = {"class_incremental": "all classes so far compete", "task_aware": "those of its task"}


def pegp_metrics(plugin: PEGPPlugin | None = None, *, every: int = 50) -> list[PluginMetric[Any]]:
    """Metrics that show what a ``PEGPPlugin`` keeps, what is free, and what moves.

    Give them to an ``EvaluationPlugin``. They only look: what is trained stays the same, bit for bit.
    With U the basis of a site, W its weight, R that weight when U was last extended, and Δ a step of
    the optimizer before it is projected, loggers get for each site and in total (all sites
    together: sums, or norms over all of them), from the second experience on:

    - whenever bases grow: ``Rank`` (protected directions), ``FreeDimensions`` (all the others), and
      ``CapturedEnergy``, the share of all old features' energy that lies in the bases;
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
        ['BasisMetric', 'RemovalMetric', 'WeightMetric', 'AccuracyImage']
    """
    return [
        BasisMetric(plugin),
        RemovalMetric(plugin, every=every),
        WeightMetric(plugin, every=every),
        AccuracyImage(),
    ]


class AccuracyImage(PluginMetric[None]):
    """An image ``AccuracyMatrix`` after each evaluation: what the run's ``AccuracyMatrices`` holds.

    Nothing where ``AccuracyMatrices`` is not among the metrics, or nothing was trained yet.

    Example:
        >>> metrics = [AccuracyMatrices(tasks=10), AccuracyImage()]  # EvaluationPlugin(*metrics, ...)
    """

    def result(self) -> None:
        """Nothing: the image is for loggers alone."""

    def reset(self) -> None:
        """Nothing: the matrices are of the stream so far."""

    def after_eval(self, strategy: SupervisedTemplate) -> list[MetricValue]:
        """Draw the matrices."""
        found = [m for m in strategy.evaluator.metrics if isinstance(m, AccuracyMatrices)]
        if not found or strategy.experience is None:
            return []
        stream = strategy.experience.origin_stream.name
        matrices = found[0].of(stream)
        if matrices["task_aware"][0][0] is None:
            return []
        panels = {_TITLES[view]: [matrix] for view, matrix in matrices.items()}
        image = as_image(accuracy_heat_map(panels, "Accuracy"))
        tag = f"AccuracyMatrix/eval_phase/{stream}_stream"
        return [MetricValue(self, tag, image, strategy.clock.train_iterations)]

    def __str__(self) -> str:
        return "AccuracyImage"
