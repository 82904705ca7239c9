"""Si-Blurry streams: some classes belong to one task alone, the others occur in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from avalanche.benchmarks import GenericCLScenario
from torch import Generator, Tensor

from avl_pegp.benchmarks.data import ImageData, ImageTransform, Selected
from avl_pegp.benchmarks.domain_incremental import from_datasets
from avl_pegp.benchmarks.labels import whole_numbers


def blurry_incremental(
    data: ImageData,
    n_experiences: int = 5,
    disjoint: float = 0.5,
    blurry: float = 0.1,
    order_seed: int | None = None,
    *,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> GenericCLScenario:
    """Cut a data set into a Si-Blurry stream: unequal tasks, blurry borders.

    See ``si_blurry`` for how samples are shared out. It is meant to be seen once, in small pieces:
    pass the benchmark on to ``online_benchmark``. Test experience j has the test images of the
    classes that experience j owns: the disjoint ones, and the blurry ones most at home there.

    Args:
        data: any data set; of one with domains all domains together.
        n_experiences: how many experiences, 1 to the number of classes; their classes are unequally
            many.
        disjoint: share of the classes that occur in one experience alone, 0 to 1.
        blurry: share of the other classes' training samples that stray into any experience.
        order_seed: draws which experience owns which classes, and the exchange; None is 0.
        train_transform: of an image, in training; None is that of the data set.
        eval_transform: of an image, in evaluation; None is that of the data set.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label),
        ``class_order``, and ``data``, facts for the record, where the data set has some. Labels count
        up in the order of the experiences that own the classes.

    Raises:
        DataError: a class has no training or no test image, or files are damaged.
        ValueError: an argument is out of range, or labels and names do not fit.

    Example:
        >>> from avl_pegp.benchmarks import read_digits
        >>> benchmark = blurry_incremental(read_digits())
        >>> [sorted(experience.classes_in_this_experience) for experience in benchmark.test_stream]
        [[0], [1, 2, 3, 4], [5, 6], [7, 8], [9]]
    """
    check_blurry("n_experiences", n_experiences, len(data.class_names), disjoint, blurry)
    train, test = data.complete()
    generator = torch.Generator().manual_seed(order_seed or 0)
    tasks = si_blurry(train.targets, n_experiences, disjoint, blurry, generator=generator)
    order = [label for classes in tasks.classes for label in classes]
    position = torch.tensor(order).argsort().tolist()  # the new label of each old one
    owned = [
        [row for row, label in enumerate(test.targets) if label in classes]
        for classes in map(set, tasks.classes)
    ]
    benchmark = from_datasets(
        [Selected(train, rows, position) for rows in tasks.indices],
        [Selected(test, rows, position) for rows in owned],
        [data.class_names[label] for label in order],
        order,
        train_transform or data.transform,
        eval_transform or data.transform,
    )
    return data.on_record(benchmark)


@dataclass(frozen=True)
class BlurryTasks:
    """What ``si_blurry`` makes of a data set; every field has an entry for each task.

    Attributes:
        indices: of the task's samples, in random order.
        disjoint: classes of which it has all samples.
        blurry: classes whose samples were its own before some were exchanged among the tasks.
    """

    indices: list[list[int]]
    disjoint: list[list[int]]
    blurry: list[list[int]]

    @property
    def classes(self) -> list[list[int]]:
        """The classes that each task owns: every class has one owner, every task owns a class."""
        return [own + main for own, main in zip(self.disjoint, self.blurry, strict=True)]


def si_blurry(
    labels: Sequence[int],
    n_tasks: int,
    disjoint: float = 0.5,
    blurry: float = 0.1,
    *,
    generator: Generator,
) -> BlurryTasks:
    """Share out the samples of a data set among tasks, stochastically and with blurry borders.

    A random part of the classes is *disjoint*, the rest is *blurry*. Random cut points divide both
    groups among the tasks, which then have unequally many classes. Of all samples of blurry classes
    the share ``blurry`` is pooled, from each task a random number, and dealt out again in the same
    numbers, so that traces of those classes appear in other tasks.

    Unlike in the authors' program no class is dropped, whatever the numbers: ``disjoint`` is rounded
    to whole classes, and the others are blurry. No task is left without a class: each is given one,
    and only the others are divided at random. Pooled samples are drawn, not the first ones.

    Args:
        labels: of all samples, whole numbers in a list, an array or a tensor; classes are the distinct
            values.
        n_tasks: how many tasks, 1 to the number of classes.
        disjoint: share of the classes that stay in one task, 0 to 1 (N of the paper).
        blurry: share of the samples of the other classes that are exchanged, 0 to 1 (M).
        generator: all randomness comes from it.

    Returns:
        The indices of each task's samples, each index once, and the classes that each task owns.

    Raises:
        ValueError: an argument is out of range, or a label is no whole number.

    Source: Moon, Park, Kim and Park, Online Class Incremental Learning on Stochastic Blurry Task
    Boundary via Mask and Visual Prompt Tuning, ICCV 2023.

    Example:
        >>> labels = [label for label in range(6) for _ in range(10)]
        >>> tasks = si_blurry(labels, 3, generator=torch.Generator().manual_seed(0))
        >>> sorted(sum(tasks.indices, [])) == list(range(60))
        True
        >>> sorted(sum(tasks.classes, []))
        [0, 1, 2, 3, 4, 5]
    """
    labels = whole_numbers("labels", labels)
    samples: dict[int, list[int]] = {label: [] for label in sorted(set(labels))}
    for index, label in enumerate(labels):
        samples[label].append(index)
    check_blurry("n_tasks", n_tasks, len(samples), disjoint, blurry)

    order = _shuffled(list(samples), generator)
    n_disjoint = round(disjoint * len(order))
    sizes = _class_counts(n_disjoint, len(order) - n_disjoint, n_tasks, generator)
    stay, spread = map(_cut, (order[:n_disjoint], order[n_disjoint:]), sizes)
    fixed, own = (
        [[index for label in classes for index in samples[label]] for classes in group]
        for group in (stay, spread)
    )
    mixed = _exchange(own, round(blurry * sum(map(len, own))), generator)
    indices = [_shuffled(a + b, generator) for a, b in zip(fixed, mixed, strict=True)]
    return BlurryTasks(indices, disjoint=stay, blurry=spread)


def check_blurry(field: str, n_tasks: int, n_classes: int, disjoint: float, blurry: float) -> None:
    """Refuse what ``si_blurry`` cannot do, before any data is there.

    Args:
        field: what the caller's argument ``n_tasks`` is called.
        n_tasks: how many tasks.
        n_classes: how many classes there are.
        disjoint: share of them.
        blurry: share of the samples of the others.

    Raises:
        ValueError: an argument is out of range.
    """
    if not 1 <= n_tasks <= n_classes:
        raise ValueError(
            f"{field}={n_tasks} must be from 1 to {n_classes}, the number of classes: "
            "each task owns at least one."
        )
    for name, share in {"disjoint": disjoint, "blurry": blurry}.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share} is a share and must be from 0 to 1.")


def _class_counts(
    n_disjoint: int, n_blurry: int, n_tasks: int, generator: Generator
) -> list[list[int]]:
    """How many disjoint and blurry classes each task owns, at least one of either kind."""
    is_disjoint = torch.randperm(n_disjoint + n_blurry, generator=generator)[:n_tasks] < n_disjoint
    return [  # the class that a task is sure of is of one kind, the rest are of both
        (sure.long() + _random_sizes(total - int(sure.sum()), n_tasks, generator)).tolist()
        for sure, total in ((is_disjoint, n_disjoint), (~is_disjoint, n_blurry))
    ]


def _exchange(own: list[list[int]], n_pooled: int, generator: Generator) -> list[list[int]]:
    """Pool so many samples, a random number from each task, and deal out the same numbers again."""
    room = torch.tensor([len(samples) for samples in own])
    sizes = torch.zeros_like(room)
    while (left := n_pooled - int(sizes.sum())) > 0:  # what a task has not, others give
        able = (sizes < room).nonzero().flatten()
        sizes[able] += _random_sizes(left, len(able), generator)
        sizes = torch.minimum(sizes, room)
    own = [_shuffled(samples, generator) for samples in own]
    given = sizes.tolist()
    pool = [i for samples, size in zip(own, given, strict=True) for i in samples[:size]]
    dealt = _cut(_shuffled(pool, generator), given)
    return [samples[size:] + new for samples, size, new in zip(own, given, dealt, strict=True)]


def _random_sizes(total: int, parts: int, generator: Generator) -> Tensor:
    """``parts`` numbers with the given sum, between random cut points: 0 may be among them."""
    cuts = torch.randint(total + 1, (parts - 1,), generator=generator).sort().values
    return torch.diff(cuts, prepend=torch.tensor([0]), append=torch.tensor([total]))


def _cut(items: list[int], sizes: list[int]) -> list[list[int]]:
    """Consecutive pieces of the given sizes."""
    remaining = iter(items)
    return [list(islice(remaining, size)) for size in sizes]


def _shuffled(items: list[int], generator: Generator) -> list[int]:
    return [items[i] for i in torch.randperm(len(items), generator=generator).tolist()]
