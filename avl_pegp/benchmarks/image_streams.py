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
        train: training images, labelled from 0 on. ``targets`` is a list, an array or a tensor of
            whole numbers, and every item has the label that it says. Each image is in one experience.
        test: test images, labelled alike.
        class_names: by label, no two alike.
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
        ValueError: an argument is out of range; a label is no whole number, is negative or has no
            name; there are not as many labels as images; two classes have one name.

    Example:
        >>> from pathlib import Path
        >>> from avl_pegp.benchmarks.image_files import ImageFiles
        >>> pets = ImageFiles(Path("pets"), ["cat/1.png", "dog/1.png"], [0, 1])
        >>> benchmark = split_images(pets, pets, ["cat", "dog"], 2, class_order=[1, 0])
        >>> benchmark.class_names, benchmark.data
        (('dog', 'cat'), {'train_images': 2, 'test_images': 2})
    """
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
        train: training images of each experience. Labels mean the same class everywhere; they are
            given as in ``split_images``.
        test: test images of each experience.
        class_names: by label, no two alike; an experience need not have all classes.
        train_transform: of an image, in training; None is ``resized``.
        eval_transform: of an image, in evaluation; None is ``resized``.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label),
        ``class_order`` (label order), and ``data``, facts for the record: how many images there are.

    Raises:
        ValueError: there is no experience, or not as many data sets to test on as to train on; one
            has no image; labels and names do not fit, as in ``split_images``.

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
