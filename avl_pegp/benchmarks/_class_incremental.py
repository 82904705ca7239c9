"""What the class-incremental benchmarks of images held in memory share."""

from __future__ import annotations

from collections.abc import Sequence

from avalanche.benchmarks import NCScenario, nc_benchmark
from torch import Tensor
from torch.utils.data import Dataset


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """uint8 images (N, 3, H, W) with int labels (N,); ``targets`` is where Avalanche finds them."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.targets: list[int] = labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]


def normalise(image: Tensor) -> Tensor:
    """uint8 0..255 to float32 -1..1: mean 0.5 and standard deviation 0.5, as the tiny ViT expects."""
    return image.float() / 127.5 - 1


def check_split(n_classes: int, n_experiences: int, class_order: Sequence[int] | None) -> None:
    """Refuse a split that would leave a class out or use one twice, before anything is rendered.

    Raises:
        ValueError: ``n_experiences`` does not divide ``n_classes``, or ``class_order`` is not a
            permutation of ``range(n_classes)``.
    """
    divisors = [count for count in range(1, n_classes + 1) if n_classes % count == 0]
    if n_experiences not in divisors:
        raise ValueError(
            f"n_experiences={n_experiences} does not divide the {n_classes} classes evenly; "
            f"choose one of {', '.join(map(str, divisors))}."
        )
    if class_order is not None and sorted(class_order) != list(range(n_classes)):
        raise ValueError(
            f"class_order={list(class_order)} is not a permutation of the class labels; "
            f"list each of 0 to {n_classes - 1} exactly once, or pass None for label order."
        )


def split_by_class(
    train: ImageDataset,
    test: ImageDataset,
    class_names: Sequence[str],
    n_experiences: int,
    class_order: Sequence[int] | None,
) -> NCScenario:
    """Cut two labelled data sets into experiences of equally many classes.

    Labels are renumbered by position in ``class_order``, so that experience 0 holds the labels from
    0 on; ``class_names`` on the returned benchmark is in that new numbering.
    """
    check_split(len(class_names), n_experiences, class_order)
    order = list(range(len(class_names))) if class_order is None else list(class_order)
    benchmark = nc_benchmark(
        train,
        test,
        n_experiences=n_experiences,
        task_labels=False,
        shuffle=False,
        fixed_class_order=order,
        class_ids_from_zero_from_first_exp=True,
        train_transform=normalise,
        eval_transform=normalise,
    )
    benchmark.class_names = tuple(class_names[label] for label in order)
    return benchmark
