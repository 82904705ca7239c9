"""Small runs whose metrics are all kept."""

from __future__ import annotations

from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from streams import naive, stream

from avl_pegp import PEGPPlugin
from avl_pegp.evaluation import AccuracyMatrices, pegp_metrics


class Kept(BaseLogger):
    """Every value under every name, by iteration."""

    def __init__(self):
        super().__init__()
        self.values: dict[str, dict[int, object]] = {}

    def log_single_metric(self, name, value, x_plot):
        self.values.setdefault(name, {})[x_plot] = value

    def of(self, metric):
        """A metric's values by site, each by iteration."""
        named = {name: name.split("/", 3) for name in self.values}
        parts = {name: part for name, part in named.items() if part[0] == metric}
        return {"".join(part[3:]): self.values[name] for name, part in parts.items()}

    def latest(self, metric):
        """A metric's latest value at each site."""
        return {site: values[max(values)] for site, values in self.of(metric).items()}


def inspected(*pets, every=3, plugin=None, metrics=None, **options):
    """As ``naive``, with ``logger`` beside it."""
    plugin = plugin or PEGPPlugin(energy=0.9, progress=False)
    metrics = pegp_metrics(every=every) if metrics is None else metrics
    logger = Kept()
    evaluator = EvaluationPlugin(AccuracyMatrices(3), *metrics, loggers=[logger])
    parts = naive(*pets, plugin=plugin, evaluator=evaluator, **options)
    parts.logger = logger
    return parts


def run(parts, experiences=3, per_class=2, evaluate=False):
    """Train on one experience after another, and evaluate after each if so asked; the logger."""
    benchmark = stream(per_class)
    for i in range(experiences):
        parts.strategy.train(benchmark.train_stream[i], eval_streams=[])
        if evaluate:
            parts.strategy.eval(benchmark.test_stream[: i + 1])
    return parts.logger
