"""A benchmark of which every experience is given as a data set of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from avalanche.benchmarks import GenericCLScenario
from avalanche.benchmarks.utils import AvalancheDataset, _make_taskaware_classification_dataset

from avl_pegp.benchmarks._images import LabelledDataset, normalise


def from_datasets(
    train: Sequence[LabelledDataset],
    test: Sequence[LabelledDataset],
    class_names: Sequence[str],
    class_order: list[int],
    train_transform: Callable[[Any], Any] = normalise,
    eval_transform: Callable[[Any], Any] = normalise,
) -> GenericCLScenario:
    """Experience i trains on ``train[i]`` and is tested on ``test[i]``; labels are as they are."""
    transforms = {"train": (train_transform, None), "eval": (eval_transform, None)}

    def wrapped(datasets: Sequence[LabelledDataset], mode: str) -> list[AvalancheDataset[Any]]:
        return [
            _make_taskaware_classification_dataset(
                dataset, transform_groups=transforms, initial_transform_group=mode
            )
            for dataset in datasets
        ]

    # Not dataset_benchmark: its test data, when read directly, has the training transform.
    benchmark = GenericCLScenario(
        stream_definitions={"train": (wrapped(train, "train"),), "test": (wrapped(test, "eval"),)}
    )
    benchmark.class_names = tuple(class_names)
    benchmark.class_order = class_order
    return benchmark
