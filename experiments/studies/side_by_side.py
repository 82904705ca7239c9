"""Many heads under many corrections on one training: what each would have answered, and what it knew."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from avalanche.training.plugins import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from avl_pegp.evaluation import Record
from avl_pegp.evaluation.metrics import AccuracyMatrix
from avl_pegp.heads import ClassStatistics, create_head
from avl_pegp.plugins import CORRECTIONS, statistics_loader
from avl_pegp.plugins.classifier_input import ClassifierInput, Encode
from avl_pegp.plugins.experience import around_next_forward

STALE, REFIT = (
    "none",
    "refit",
)  # statistics as they were stored; an oracle, made anew of all old images


class SideBySide(SupervisedPlugin[SupervisedTemplate]):
    """Looks on: the accuracy of every head under every correction, of features taken once.

    It stands behind what trains.

    Args:
        heads: of ``HEADS``.
        corrections: of ``CORRECTIONS``, beside ``STALE``; ``"moments"`` wants a ``PEGPPlugin`` before
            this one.
        oracle: whether ``REFIT`` is among them, at the cost of a pass over all old images.

    Attributes:
        matrices: by head and correction, as ``AccuracyMatrices`` has them, classes competing.
        explained: by correction, the share of squared drift of old class means that it makes good, of
            all experiences after the first: 1 for an oracle, 0 for none, below 0 where it does harm.
            Empty without the oracle.
    """

    def __init__(
        self, heads: Sequence[str], corrections: Sequence[str] = (), oracle: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.oracle = heads, oracle
        self.names = (STALE, *corrections, *([REFIT] if oracle else []))
        self.matrices: dict[tuple[str, str], AccuracyMatrix] = {}
        self._corrections = {name: CORRECTIONS[name]() for name in corrections}
        self._input = ClassifierInput()
        self._learned: dict[tuple[str, str], ClassStatistics] = {}
        self._errors = dict.fromkeys((STALE, *corrections) if oracle else (), 0.0)
        self._hits: dict[tuple[str, str], int] = {}

    @property
    def explained(self) -> dict[str, float]:
        """See the class."""
        stale = self._errors.get(STALE)
        return {name: 1 - error / stale if stale else 0.0 for name, error in self._errors.items()}

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Note features before training, where old statistics are to be moved."""
        self._input.find(strategy)
        for correction in self._corrections.values():
            correction.require_fit(strategy, self)
        if self._learned:
            for correction in self._corrections.values():
                correction.begin(strategy, self._encode(strategy), **kwargs)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Move what is stored, by each correction, and learn the new classes, by each head."""
        t = strategy.experience.current_experience
        encode = self._encode(strategy)
        new = features_of(strategy, [strategy.experience], encode)
        maps: dict[str, Tensor | None] = dict.fromkeys(self.names)
        if self._learned:
            for name, correction in self._corrections.items():
                maps[name] = correction.end(strategy, encode, **kwargs)
        past = strategy.experience.benchmark.train_stream[:t] if self.oracle else []
        everything = [*features_of(strategy, past, encode), *new]
        self._learned = {
            (head, name): self._grown(strategy, head, name, maps[name], new, everything)
            for head in self.heads
            for name in self.names
        }
        if self.oracle and t > 0:
            self._measure()

    def _grown(
        self,
        strategy: SupervisedTemplate,
        head: str,
        name: str,
        drift: Tensor | None,
        new: Sequence[tuple[Tensor, Tensor]],
        everything: Sequence[tuple[Tensor, Tensor]],
    ) -> ClassStatistics:
        """A head's statistics after the experience."""
        statistics = self._learned.get((head, name))
        if statistics is None or name == REFIT:
            layer: Any = strategy.model.get_classifier()
            statistics = create_head(head, layer.out_features, layer.in_features)
        statistics = copy.deepcopy(statistics)
        if drift is not None:
            statistics.move(drift)
        for features, labels in everything if name == REFIT else new:
            statistics.update(features, labels)
        return statistics

    def _measure(self) -> None:
        """How far the means of old classes are from what they have become."""
        truth = self._learned[self.heads[0], REFIT]
        for name in self._errors:
            means = self._learned[self.heads[0], name].means
            self._errors[name] += (means - truth.means).square().sum().item()

    def before_eval_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Begin to count."""
        self._hits = dict.fromkeys(self._learned, 0)

    def before_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Watch what the classifier receives."""
        around_next_forward(strategy, self._input.watching(strategy.model))

    def after_eval_forward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Count who is right."""
        (features,) = self._input.taken(len(strategy.mb_y)).values()
        for key, statistics in self._learned.items():
            right = statistics.logits(features).argmax(1) == strategy.mb_y
            self._hits[key] += int(right.sum())

    def after_eval_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Write accuracies into the matrices."""
        trained = strategy.clock.train_exp_counter - 1
        tested = strategy.experience.current_experience
        count = len(strategy.experience.benchmark.train_stream)
        for key, hits in self._hits.items():
            empty: AccuracyMatrix = [[None] * count for _ in range(count)]
            matrix = self.matrices.setdefault(key, empty)
            matrix[trained][tested] = hits / len(strategy.experience.dataset)

    def _encode(self, strategy: SupervisedTemplate) -> Encode:
        return self._input.encoder(strategy)

    def told(self) -> dict[str, Any]:
        """All of it as plain values, for a record's ``config``."""
        matrices: dict[str, dict[str, AccuracyMatrix]] = {}
        for (head, name), matrix in self.matrices.items():
            matrices.setdefault(head, {})[name] = matrix
        return {"matrices": matrices, "explained": self.explained}


def features_of(
    strategy: SupervisedTemplate, experiences: Sequence[Any], encode: Encode
) -> list[tuple[Tensor, Tensor]]:
    """Features and labels of all training images, a batch each, as evaluation sees them."""
    size = strategy.eval_mb_size
    batches = (b for e in experiences for b in statistics_loader(e, batch_size=size))
    return [(encode(batch, {}).cpu(), batch[1]) for batch in batches]


def told_apart(record: Record) -> dict[tuple[str, str], Record]:
    """Of a run that was looked on, a record for each head and correction."""
    told: Mapping[str, Mapping[str, AccuracyMatrix]] = record.config["side_by_side"]["matrices"]
    return {
        (head, name): with_matrix(record, f"{head}", matrix)
        for head, by_correction in told.items()
        for name, matrix in by_correction.items()
    }


def with_matrix(record: Record, head: str, matrix: AccuracyMatrix) -> Record:
    """The record as if the run had been evaluated by another head."""
    names = ("setting", "benchmark", "backbone", "pet", "method", "seed")
    numbers = ("trainable_parameters", "train_seconds", "ranks", "config")
    same = {name: getattr(record, name) for name in (*names, *numbers)}
    task_aware = record.task_aware_accuracy_matrix
    return replace(
        Record.of(
            **same,
            head=head,
            accuracy_matrix=matrix,
            task_aware_accuracy_matrix=task_aware,
            drift={},
        ),
        versions=record.versions,
    )
