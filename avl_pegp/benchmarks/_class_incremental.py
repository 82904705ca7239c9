"""What the class-incremental benchmarks of images held in memory share."""

from __future__ import annotations

from collections.abc import Sequence

from avalanche.benchmarks import NCScenario, nc_benchmark

from avl_pegp.benchmarks._images import ImageDataset, normalise


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
    train: ImageDataset,
    test: ImageDataset,
    class_names: Sequence[str],
    n_experiences: int,
    class_order: list[int],
    task_labels: bool,
) -> NCScenario:
    """Cut two labelled data sets into experiences of equally many classes.

    Labels are renumbered by position in ``class_order``, so that experience 0 holds the labels from
    0 on; ``class_names`` on the returned benchmark is in that new numbering. With ``task_labels``
    experience t has Avalanche's task label t; the numbering of the classes is the same.
    """
    check_split(len(class_names), n_experiences)
    benchmark = nc_benchmark(
        train,
        test,
        n_experiences=n_experiences,
        task_labels=task_labels,
        shuffle=False,
        fixed_class_order=class_order,
        class_ids_from_zero_from_first_exp=True,
        train_transform=normalise,
        eval_transform=normalise,
    )
    benchmark.class_names = tuple(class_names[label] for label in class_order)
    benchmark.class_order = class_order
    return benchmark
