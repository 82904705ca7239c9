"""Streams of any data set with new classes in each experience."""

from __future__ import annotations

from collections.abc import Sequence

from avalanche.benchmarks import NCScenario, nc_benchmark
from typing_extensions import Unpack

from avl_pegp.benchmarks.data import ImageData, ImageTransform, Transforms
from avl_pegp.benchmarks.labels import LabelledDataset, order_of, whole_numbers


class ByClass(Transforms, total=False):
    """What ``class_incremental`` takes beside the data and the number of experiences."""

    classes_per_experience: Sequence[int] | None
    class_order: Sequence[int] | None
    order_seed: int | None
    task_labels: bool


def class_incremental(
    data: ImageData,
    n_experiences: int,
    *,
    classes_per_experience: Sequence[int] | None = None,
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    task_labels: bool = False,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> NCScenario:
    """Cut a data set into experiences of new classes. Each image is in one experience.

    Args:
        data: any data set; of one with domains all domains together.
        n_experiences: how many experiences of equally many classes, if nothing else is told.
        classes_per_experience: how many new classes each experience has.
        class_order: the labels in the order of learning; None is 0, 1, 2 and so on. The labels of
            the benchmark count up in this order.
        order_seed: draws the class order; not together with ``class_order``.
        task_labels: whether experience t has Avalanche's task label t (task-incremental learning).
            Class labels are the same either way, and no two experiences share one.
        train_transform: of an image, in training; None is that of the data set.
        eval_transform: of an image, in evaluation; None is that of the data set.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label),
        ``class_order``, and ``data``, facts for the record, where the data set has some.

    Raises:
        DataError: a class has no training or no test image, or files are damaged.
        ValueError: an argument is out of range; a label is no whole number, is negative or has no
            name; there are not as many labels as images; two classes have one name.

    Example:
        >>> from avl_pegp.benchmarks import read_digits
        >>> benchmark = class_incremental(read_digits(), 5, class_order=[9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
        >>> len(benchmark.train_stream), benchmark.class_names[:2]
        (5, ('9', '8'))
    """
    order = order_of(len(data.class_names), class_order, order_seed)
    counts = check_split(len(order), n_experiences, classes_per_experience)
    benchmark = nc_benchmark(
        *data.complete(),
        n_experiences=n_experiences,
        task_labels=task_labels,
        shuffle=False,
        fixed_class_order=order,
        per_exp_classes=dict(enumerate(counts)) if counts else None,
        class_ids_from_zero_from_first_exp=True,
        train_transform=train_transform or data.transform,
        eval_transform=eval_transform or data.transform,
    )
    benchmark.class_names = tuple(data.class_names[label] for label in order)
    benchmark.class_order = order
    return data.on_record(benchmark)


def split_images(
    train: LabelledDataset,
    test: LabelledDataset,
    class_names: Sequence[str],
    n_experiences: int,
    **options: Unpack[ByClass],
) -> NCScenario:
    """``class_incremental`` of two data sets of PIL images.

    Args:
        train: training images, see ``ImageData``.
        test: test images.
        class_names: by label.
        n_experiences: how many experiences.
        options: as of ``class_incremental``.

    Example:
        >>> from avl_pegp.benchmarks import ImageFiles
        >>> pets = ImageFiles("pets", ["cat/1.png", "dog/1.png"], [0, 1])
        >>> benchmark = split_images(pets, pets, ["cat", "dog"], 2, class_order=[1, 0])
        >>> benchmark.class_names, benchmark.data
        (('dog', 'cat'), {'train_images': 2, 'test_images': 2})
    """
    return class_incremental(ImageData(train, test, class_names), n_experiences, **options)


def check_split(
    n_classes: int, n_experiences: int, classes_per_experience: Sequence[int] | None = None
) -> list[int] | None:
    """Refuse a split that would leave a class out, before anything is rendered.

    Returns:
        ``classes_per_experience`` as plain ints.

    Raises:
        ValueError: they are not one for each experience or do not add up; without them,
            ``n_experiences`` does not divide ``n_classes``.
    """
    if classes_per_experience is None:
        divisors = [count for count in range(1, n_classes + 1) if n_classes % count == 0]
        if n_experiences not in divisors:
            raise ValueError(
                f"n_experiences={n_experiences} does not divide the {n_classes} classes evenly; "
                f"choose one of {', '.join(map(str, divisors))}."
            )
        return None
    counts = whole_numbers("classes_per_experience", classes_per_experience)
    if len(counts) != n_experiences or min(counts) < 1 or sum(counts) != n_classes:
        raise ValueError(
            f"classes_per_experience={counts} must be {n_experiences} positive numbers, one "
            f"for each experience, that add up to the {n_classes} classes."
        )
    return counts
