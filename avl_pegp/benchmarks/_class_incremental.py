"""What the class-incremental benchmarks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from avalanche.benchmarks import NCScenario, nc_benchmark

from avl_pegp.benchmarks._image_reading import DataError, named
from avl_pegp.benchmarks._images import LabelledDataset, normalise
from avl_pegp.benchmarks._labels import labelled, whole_numbers


def check_split(n_classes: int, n_experiences: int) -> None:
    """Refuse a split that would leave a class out, before anything is rendered.

    Raises:
        ValueError: ``n_experiences`` does not divide ``n_classes``.
    """
    divisors = [count for count in range(1, n_classes + 1) if n_classes % count == 0]
    if n_experiences not in divisors:
        raise ValueError(
            f"n_experiences={n_experiences} does not divide the {n_classes} classes evenly; "
            f"choose one of {', '.join(map(str, divisors))}."
        )


def split_by_class(
    train: LabelledDataset,
    test: LabelledDataset,
    class_names: Sequence[str],
    n_experiences: int,
    class_order: list[int],
    task_labels: bool,
    train_transform: Callable[[Any], Any] = normalise,
    eval_transform: Callable[[Any], Any] = normalise,
    classes_per_experience: Sequence[int] | None = None,
) -> NCScenario:
    """Cut two labelled data sets into experiences of new classes, by default equally many.

    Labels are renumbered by position in ``class_order``, so that experience 0 holds the labels from
    0 on; ``class_names`` on the returned benchmark is in that new numbering. With ``task_labels``
    experience t has Avalanche's task label t; the numbering of the classes is the same. Every image
    is in one experience.

    Raises:
        ValueError: labels and names do not fit, see ``labelled``; the classes are not divided evenly.
        DataError: a class has no training or no test image.
    """
    parts = {
        part: labelled(f"the {part} data", dataset, class_names)
        for part, dataset in (("training", train), ("test", test))
    }
    counts = None
    if classes_per_experience is None:
        check_split(len(class_names), n_experiences)
    else:
        counts = whole_numbers("classes_per_experience", classes_per_experience)
        _check_counts(len(class_names), n_experiences, counts)
    for part, dataset in parts.items():
        _require_every_class(part, dataset.targets, class_names)
    benchmark = nc_benchmark(
        *parts.values(),
        n_experiences=n_experiences,
        task_labels=task_labels,
        shuffle=False,
        fixed_class_order=class_order,
        per_exp_classes=dict(enumerate(counts)) if counts else None,
        class_ids_from_zero_from_first_exp=True,
        train_transform=train_transform,
        eval_transform=eval_transform,
    )
    benchmark.class_names = tuple(class_names[label] for label in class_order)
    benchmark.class_order = class_order
    return benchmark


def _check_counts(n_classes: int, n_experiences: int, counts: Sequence[int]) -> None:
    if len(counts) != n_experiences or min(counts) < 1 or sum(counts) != n_classes:
        raise ValueError(
            f"classes_per_experience={list(counts)} must be {n_experiences} positive numbers, one "
            f"for each experience, that add up to the {n_classes} classes."
        )


def _require_every_class(part: str, targets: Sequence[int], class_names: Sequence[str]) -> None:
    absent = sorted(set(range(len(class_names))) - set(targets))
    if absent:
        raise DataError(
            f"{len(absent)} of {len(class_names)} classes have no {part} image: "
            f"{named([str(class_names[label]) for label in absent])}. Put all of the data there, and "
            "correct the lists that say which images are training and which are test images."
        )
