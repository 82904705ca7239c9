from __future__ import annotations

import pytest
import torch
from avalanche.evaluation.metric_results import MetricValue
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from streams import naive, stream

from avl_pegp.evaluation import AccuracyMatrices


class Kept(BaseLogger):
    def __init__(self):
        super().__init__()
        self.values: dict[str, float] = {}

    def log_metrics(self, metric_values: list[MetricValue]):
        self.values.update({value.name: value.value for value in metric_values})


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_both_matrices_are_those_of_the_logits(batch):
    """Also whatever the batch size: a prediction knows nothing of its batch."""
    benchmark, logger, accuracy = stream(per_class=3), Kept(), AccuracyMatrices(3)
    evaluator = EvaluationPlugin(accuracy, loggers=[logger])
    parts = naive(eval_mb_size=batch, train_epochs=2, evaluator=evaluator)
    expected = {"class_incremental": [], "task_aware": []}
    for i, experience in enumerate(benchmark.train_stream):
        parts.strategy.train(experience, eval_streams=[])
        parts.strategy.eval(benchmark.test_stream)  # later experiences must not count
        for name, row in expected.items():
            row.append([by_hand(parts.model, benchmark, i, j, name) for j in range(3)])
    assert accuracy.result() == expected
    tag = "Top1_Acc_TaskAware/eval_phase/test_stream/Exp001"
    assert logger.values[tag] == expected["task_aware"][2][1]
    assert "Top1_Acc_ClassIncremental/eval_phase/test_stream/Exp002" in logger.values


@torch.no_grad()
def by_hand(model, benchmark, i, j, name):
    if j > i:
        return None
    items = list(benchmark.test_stream[j].dataset)
    logits = model.eval()(torch.stack([item[0] for item in items]))
    y = torch.tensor([item[1] for item in items])
    allowed = {2 * j, 2 * j + 1} if name == "task_aware" else set(range(2 * i + 2))
    for c in set(range(6)) - allowed:
        logits[:, c] = -torch.inf
    return float((logits.argmax(1) == y).double().mean())
