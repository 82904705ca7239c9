"""What the class-incremental benchmarks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from avalanche.benchmarks import NCScenario, nc_benchmark

from avl_pegp.benchmarks._images import LabelledDataset, normalise


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
    experience t has Avalanche's task label t; the numbering of the classes is the same.
    """
    if classes_per_experience is None:
        check_split(len(class_names), n_experiences)
    else:
        _check_counts(len(class_names), n_experiences, classes_per_experience)
    benchmark = nc_benchmark(
        train,
        test,
        n_experiences=n_experiences,
        task_labels=task_labels,
        shuffle=False,
        fixed_class_order=class_order,
        per_exp_classes=dict(enumerate(classes_per_experience)) if classes_per_experience else None,
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
