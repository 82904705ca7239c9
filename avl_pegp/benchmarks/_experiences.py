"""A benchmark of which every experience is given as a data set of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from avalanche.benchmarks import GenericCLScenario
from avalanche.benchmarks.utils import AvalancheDataset, _make_taskaware_classification_dataset

from avl_pegp.benchmarks._images import LabelledDataset, normalise
from avl_pegp.benchmarks._labels import labelled


def from_datasets(
    train: Sequence[LabelledDataset],
    test: Sequence[LabelledDataset],
    class_names: Sequence[str],
    class_order: list[int],
    train_transform: Callable[[Any], Any] = normalise,
    eval_transform: Callable[[Any], Any] = normalise,
    called: Sequence[str] | None = None,
) -> GenericCLScenario:
    """Experience i trains on ``train[i]`` and is tested on ``test[i]``; labels are as they are.

    ``called`` has what each experience is called in messages; None counts them from 0.

    Raises:
        ValueError: there is no experience, or not as many data sets of the two kinds; one has no
            image; labels and names do not fit, see ``labelled``.
    """
    if not train or len(train) != len(test):
        raise ValueError(
            f"train has {len(train)} data sets and test has {len(test)}; give one of each for every "
            "experience, and at least one."
        )
    empty = [i for i, parts in enumerate(zip(train, test, strict=True)) if not all(map(len, parts))]
    if empty:
        raise ValueError(
            f"experiences {empty} have no training or no test image; add some, or leave them out."
        )
    transforms = {"train": (train_transform, None), "eval": (eval_transform, None)}
    names = called or [f"experience {i}" for i in range(len(train))]

    def wrapped(datasets: Sequence[LabelledDataset], mode: str) -> list[AvalancheDataset[Any]]:
        part = "training" if mode == "train" else "test"
        return [
            _make_taskaware_classification_dataset(
                labelled(f"the {part} data of {name}", dataset, class_names),
                transform_groups=transforms,
                initial_transform_group=mode,
            )
            for name, dataset in zip(names, datasets, strict=True)
        ]

    # Not dataset_benchmark: its test data, when read directly, has the training transform.
    benchmark = GenericCLScenario(
        stream_definitions={"train": (wrapped(train, "train"),), "test": (wrapped(test, "eval"),)}
    )
    benchmark.class_names = tuple(class_names)
    benchmark.class_order = class_order
    return benchmark
