"""Labels and class orders, checked: whole numbers from 0, one for each image, each with a name."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avl_pegp.benchmarks.lists import named


class LabelledDataset(Protocol):
    """Images with labels: items are (image, label), and ``targets`` has all labels."""

    @property
    def targets(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Labelled(Dataset[tuple[Any, ...]]):
    """A data set whose labels are plain ints, the same in ``targets`` and in every item.

    Args:
        dataset: of (image, label) or more.
        targets: its labels, checked.
        where: what it is, for messages.
    """

    def __init__(self, dataset: LabelledDataset, targets: list[int], where: str) -> None:
        self.dataset = dataset
        self.targets = targets
        self.where = where

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        image, label, *rest = self.dataset[index]
        target = self.targets[index]
        if type(label) is not int:
            label = whole_number(f"the label of image {index} of {self.where}", label)
        if label != target:
            raise ValueError(
                f"{self.where} gives image {index} the label {label}, and its targets say {target}; "
                "correct one of the two."
            )
        return image, target, *rest


def whole_number(field: str, value: Any) -> int:
    """An int of Python, NumPy or torch; a float, a bool or a word is none.

    Raises:
        ValueError: it is something else.

    Example:
        >>> whole_number("label", torch.tensor(3))
        3
    """
    is_bool = isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == torch.bool
    try:
        if is_bool:
            raise TypeError
        return operator.index(value)
    except TypeError:
        shown = f"{value!r:.80} ({type(value).__name__})"
        raise ValueError(f"{field} is {shown} and must be a whole number.") from None


def whole_numbers(field: str, values: Iterable[Any]) -> list[int]:
    """Whole numbers of a list, an array or a tensor of one axis.

    Raises:
        ValueError: there are others, or more axes.

    Example:
        >>> whole_numbers("targets", np.array([2, 0], dtype=np.uint8))
        [2, 0]
    """
    if isinstance(values, Tensor | np.ndarray):
        if values.ndim != 1:
            shape = tuple(values.shape)
            raise ValueError(f"{field} has the shape {shape} and must have one axis, (N,).")
        values = values.tolist()
    values = list(values)
    if all(type(value) is int for value in values):  # of a million this takes no time
        return values
    return [whole_number(f"{field}[{i}]", value) for i, value in enumerate(values)]


def labels_of(field: str, values: Iterable[Any]) -> list[int]:
    """Labels: whole numbers that are not negative.

    Raises:
        ValueError: they are something else.

    Example:
        >>> labels_of("targets", [0, 2, -1])
        Traceback (most recent call last):
        ValueError: targets has 1 negative labels of 3: [2] is -1. Labels count up from 0; leave images
        without a class out.
    """
    labels = whole_numbers(field, values)
    negative = [f"[{i}] is {label}" for i, label in enumerate(labels) if label < 0]
    if negative:
        raise ValueError(
            f"{field} has {len(negative)} negative labels of {len(labels)}: {named(negative)}. "
            "Labels count up from 0; leave images without a class out."
        )
    return labels


def labelled(where: str, dataset: LabelledDataset, class_names: Sequence[str]) -> Labelled:
    """The data set with its labels checked.

    Args:
        where: what it is, for messages.
        dataset: of which every image is to be in the stream.
        class_names: by label.

    Raises:
        ValueError: there are not as many labels as images; one is no whole number, or has
            no name; two classes have one name.
    """
    repeated = [str(name) for name, count in Counter(class_names).items() if count > 1]
    if repeated:
        raise ValueError(
            f"class_names has {named(repeated)} more than once: what is told of one class would "
            "be told of another; give each label a name of its own."
        )
    labels = labels_of(f"targets of {where}", dataset.targets)
    if len(labels) != len(dataset):
        raise ValueError(
            f"{where} has {len(labels)} labels for {len(dataset)} images; give each image one."
        )
    beyond = sorted({*labels} - {*range(len(class_names))})
    if beyond:
        count = sum(label >= len(class_names) for label in labels)
        raise ValueError(
            f"{where} has labels [{named([*map(str, beyond)])}] ({count} images), but class_names "
            f"names only 0 to {len(class_names) - 1}; name them too, or remove their images."
        )
    return Labelled(dataset, labels, where)


def order_of(n: int, order: Sequence[int] | None, order_seed: int | None) -> list[int]:
    """The given class order, or one drawn from a seed, or label order.

    Raises:
        ValueError: both are given, or ``order`` is not a permutation of ``range(n)``, of whole numbers.
    """
    if order is not None and order_seed is not None:
        raise ValueError(
            f"order_seed={order_seed} draws a class order, but class_order={list(order)} already is "
            "one; give one of the two."
        )
    if order_seed is not None:
        return torch.randperm(n, generator=torch.Generator().manual_seed(order_seed)).tolist()
    if order is None:
        return list(range(n))
    numbers = whole_numbers("class_order", order)
    if sorted(numbers) != list(range(n)):
        raise ValueError(
            f"class_order={numbers} is not a permutation of the class labels; "
            f"list each of 0 to {n - 1} exactly once, or pass None for label order."
        )
    return numbers


def lacking_of(targets: Sequence[int], class_names: Sequence[str]) -> list[str]:
    """The names of the classes that no label is of."""
    present = set(targets)
    return [str(name) for label, name in enumerate(class_names) if label not in present]
