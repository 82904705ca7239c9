"""What a data set is: labelled images to train and to test on, and the names of their classes.

A reader makes one (``read_digits``, ``read_cub200``), a stream cuts it into experiences
(``class_incremental``, ``domain_incremental``, ``blurry_incremental``): any stream goes with any
data set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias, TypedDict, TypeVar

from avalanche.benchmarks import CLScenario
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset
from torchvision import transforms

from avl_pegp.benchmarks.image_files import ImageFiles, check_images
from avl_pegp.benchmarks.labels import Labelled, LabelledDataset, labelled, lacking_of
from avl_pegp.benchmarks.lists import DataError, named

#: Makes an RGB image a tensor.
ImageTransform: TypeAlias = Callable[[Any], Tensor]
#: Training and test images.
Pair: TypeAlias = tuple[LabelledDataset, LabelledDataset]

Benchmark = TypeVar("Benchmark", bound=CLScenario[Any])

_RESIZED = transforms.Compose(
    [
        transforms.Resize(224),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    ]
)


class Transforms(TypedDict, total=False):
    """What becomes of an image, in training and in evaluation; None is as the data set has it."""

    train_transform: ImageTransform | None
    eval_transform: ImageTransform | None


def resized(image: Image.Image) -> Tensor:
    """What becomes of a PIL image unless a transform is given, in training and evaluation alike.

    The shorter side is resized to 224 pixels, bilinearly; the square in the middle becomes a
    float32 tensor (3, 224, 224) from -1 to 1: mean 0.5 and standard deviation 0.5.

    Example:
        >>> resized(Image.new("RGB", (300, 500), "white")).unique()
        tensor([1.])
    """
    tensor: Tensor = _RESIZED(image)
    return tensor


def normalise(image: Tensor) -> Tensor:
    """uint8 images of any shape, 0..255, to float32 -1..1: mean 0.5 and standard deviation 0.5.

    So the tiny ViT and the tiny CLIP expect them.

    Example:
        >>> import torch
        >>> normalise(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([-1.,  1.])
    """
    return image.float() / 127.5 - 1


#: Of an embedded data set: uint8 images that are normalised and need no facts for the record.
EMBEDDED: dict[str, Any] = {"facts": None, "transform": normalise}


@dataclass(frozen=True)
class ImageData:
    """A data set of labelled images, as a reader returns it.

    Attributes:
        train: training images, labelled from 0 on. ``targets`` is a list, an array or a tensor of
            whole numbers, and every item has the label that it says.
        test: test images, labelled alike.
        class_names: by label, no two alike.
        parts: training and test images of each domain by its name, in the usual order; empty where
            there are none.
        facts: for the record, beside the numbers of images; None leaves those out too, for images
            that are made from arguments.
        files: image files that are decoded once before training, see ``check_images``.
        transform: makes an image a tensor where a stream is given no transform.

    Example:
        >>> pets = ImageFiles("pets", ["cat/1.png", "dog/1.png"], [0, 1])
        >>> [len(part) for part in ImageData(pets, pets, ["cat", "dog"]).complete()]
        [2, 2]
    """

    train: LabelledDataset
    test: LabelledDataset
    class_names: Sequence[str]
    parts: Mapping[str, Pair] = field(default_factory=dict)
    facts: Mapping[str, Any] | None = field(default_factory=dict)
    files: Sequence[ImageFiles] = ()
    transform: ImageTransform = resized

    @classmethod
    def of_parts(
        cls, parts: Mapping[str, Pair], class_names: Sequence[str], **rest: Any
    ) -> ImageData:
        """A data set of domains; ``train`` and ``test`` have the images of all, one after another.

        Raises:
            ValueError: there is no part.
        """
        if not parts:
            raise ValueError("parts is empty; give the training and test images of each domain.")
        train, test = (Pooled(side) for side in zip(*parts.values(), strict=True))
        return cls(train, test, class_names, parts, **rest)

    @classmethod
    def of_files(
        cls, train: ImageFiles, test: ImageFiles, class_names: Sequence[str], **rest: Any
    ) -> ImageData:
        """A data set of image files, all of which are to be decoded once."""
        return cls(train, test, class_names, files=(train, test), **rest)

    def complete(self) -> tuple[Labelled, Labelled]:
        """Training and test images, their labels checked, each with images of every class.

        Raises:
            ValueError: labels and names do not fit, see ``labelled``.
            DataError: a class has no training or no test image.
        """
        train, test = (
            labelled(f"the {part} data", dataset, self.class_names)
            for part, dataset in (("training", self.train), ("test", self.test))
        )
        for part, dataset in (("training", train), ("test", test)):
            absent = lacking_of(dataset.targets, self.class_names)
            if absent:
                raise DataError(
                    f"{len(absent)} of {len(self.class_names)} classes have no {part} image: "
                    f"{named(absent)}. Put all of the data there, and correct the lists that say which "
                    "images are training and which are test images."
                )
        return train, test

    def on_record(self, benchmark: Benchmark) -> Benchmark:
        """Put the facts onto a benchmark as ``data``, once ``files`` are found to be in order.

        Raises:
            DataError: files are absent or damaged, as ``check_images`` says.
        """
        if self.facts is not None:
            counts = {"train_images": len(self.train), "test_images": len(self.test)}
            checked = check_images(*self.files) if self.files else {}
            benchmark.data = {**counts, **self.facts, **checked}
        return benchmark


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """uint8 images (N, 3, H, W) with int labels (N,), as all embedded data sets hold them."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.targets: list[int] = labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]

    def relabelled(self, labels: Tensor) -> ImageDataset:
        """The same images under the new label of each old one."""
        return ImageDataset(self.images, labels[self.targets])


class Pooled(ConcatDataset[Any]):
    """Labelled data sets one after another."""

    def __init__(self, datasets: Sequence[LabelledDataset]) -> None:
        super().__init__(datasets)  # type: ignore[arg-type]
        self.targets = [*chain.from_iterable(dataset.targets for dataset in datasets)]


class Selected(Dataset[tuple[Any, ...]]):
    """Some rows of a data set, under other labels.

    Args:
        dataset: its labels are checked.
        rows: which, in order.
        renumbered: the new label by the old one.
    """

    def __init__(self, dataset: Labelled, rows: Sequence[int], renumbered: Sequence[int]) -> None:
        self.dataset = dataset
        self.rows = rows
        self.renumbered = renumbered
        self.targets = [renumbered[dataset.targets[row]] for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        image, label, *rest = self.dataset[self.rows[index]]
        return image, self.renumbered[label], *rest
