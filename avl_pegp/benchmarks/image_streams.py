"""Streams of images on disk: what all benchmarks of real data sets share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from avalanche.benchmarks import GenericCLScenario, NCScenario
from PIL import Image
from torch import Tensor
from torchvision import transforms

from avl_pegp.benchmarks._class_incremental import split_by_class
from avl_pegp.benchmarks._experiences import from_datasets
from avl_pegp.benchmarks._image_reading import DataError, named
from avl_pegp.benchmarks._images import LabelledDataset
from avl_pegp.benchmarks._order import order_of

__all__ = ["ImageTransform", "join_images", "resized", "split_images"]

#: Makes an RGB image a tensor.
ImageTransform: TypeAlias = Callable[[Image.Image], Tensor]

_RESIZED = transforms.Compose(
    [
        transforms.Resize(224),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    ]
)


def resized(image: Image.Image) -> Tensor:
    """What becomes of an image unless a transform is given, in training and evaluation alike.

    The shorter side is resized to 224 pixels, bilinearly; the square in the middle becomes a
    float32 tensor (3, 224, 224) from -1 to 1: mean 0.5 and standard deviation 0.5.

    Example:
        >>> resized(Image.new("RGB", (300, 500), "white")).unique()
        tensor([1.])
    """
    tensor: Tensor = _RESIZED(image)
    return tensor


def split_images(
    train: LabelledDataset,
    test: LabelledDataset,
    class_names: Sequence[str],
    n_experiences: int,
    *,
    classes_per_experience: Sequence[int] | None = None,
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    task_labels: bool = False,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> NCScenario:
    """Cut two data sets of PIL images into experiences of new classes.

    Args:
        train: training images, labelled from 0 on.
        test: test images, labelled alike.
        class_names: by label.
        n_experiences: how many experiences of equally many classes, if nothing else is told.
        classes_per_experience: how many new classes each experience has.
        class_order: the labels in the order of learning; None is 0, 1, 2 and so on. The labels of
            the benchmark count up in this order.
        order_seed: draws the class order; not together with ``class_order``.
        task_labels: whether experience t has Avalanche's task label t. Class labels are the same
            either way.
        train_transform: of an image, in training; None is ``resized``.
        eval_transform: of an image, in evaluation; None is ``resized``.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label),
        ``class_order``, and ``data``, facts for the record: how many images there are.

    Raises:
        DataError: a class has no training or no test image.
        ValueError: an argument is out of range.

    Example:
        >>> from pathlib import Path
        >>> from avl_pegp.benchmarks.image_files import ImageFiles
        >>> pets = ImageFiles(Path("pets"), ["cat/1.png", "dog/1.png"], [0, 1])
        >>> benchmark = split_images(pets, pets, ["cat", "dog"], 2, class_order=[1, 0])
        >>> benchmark.class_names, benchmark.data
        (('dog', 'cat'), {'train_images': 2, 'test_images': 2})
    """
    for part, dataset in (("training", train), ("test", test)):
        _require_every_class(part, dataset, class_names)
    benchmark = split_by_class(
        train,
        test,
        class_names,
        n_experiences,
        order_of(len(class_names), class_order, order_seed),
        task_labels,
        train_transform or resized,
        eval_transform or resized,
        classes_per_experience,
    )
    benchmark.data = _counts([train], [test])
    return benchmark


def join_images(
    train: Sequence[LabelledDataset],
    test: Sequence[LabelledDataset],
    class_names: Sequence[str],
    *,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> GenericCLScenario:
    """Make each pair of data sets of PIL images an experience.

    Args:
        train: training images of each experience. Labels mean the same class everywhere.
        test: test images of each experience.
        class_names: by label.
        train_transform: of an image, in training; None is ``resized``.
        eval_transform: of an image, in evaluation; None is ``resized``.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label),
        ``class_order`` (label order), and ``data``, facts for the record: how many images there are.

    Example:
        >>> from pathlib import Path
        >>> from avl_pegp.benchmarks.image_files import ImageFiles
        >>> day = ImageFiles(Path("pets"), ["day/cat.png", "day/dog.png"], [0, 1])
        >>> night = ImageFiles(Path("pets"), ["night/cat.png", "night/dog.png"], [0, 1])
        >>> len(join_images([day, night], [day, night], ["cat", "dog"]).train_stream)
        2
    """
    benchmark = from_datasets(
        train,
        test,
        class_names,
        list(range(len(class_names))),
        train_transform or resized,
        eval_transform or resized,
    )
    benchmark.data = _counts(train, test)
    return benchmark


def _counts(train: Sequence[LabelledDataset], test: Sequence[LabelledDataset]) -> dict[str, Any]:
    return {"train_images": sum(map(len, train)), "test_images": sum(map(len, test))}


def _require_every_class(part: str, dataset: LabelledDataset, class_names: Sequence[str]) -> None:
    absent = sorted(set(range(len(class_names))) - set(dataset.targets))
    if absent:
        raise DataError(
            f"{len(absent)} of {len(class_names)} classes have no {part} image: "
            f"{named([class_names[label] for label in absent])}. Put all of the data there, and "
            "correct the lists that say which images are training and which are test images."
        )
