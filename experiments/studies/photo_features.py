r"""What frozen features of the tiny ViT of photographs are worth, on three data sets.

    python experiments/study.py photo_features \
        --tiny-imagenet DATA --cifar100 DATA --fashion-mnist DATA

Class statistics (lda) of the features of all training images, or of --train-per-class drawn ones;
accuracy on all test images. Beside it the tiny ViT of letters, and random weights. Writes
docs/photos.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from runs.command_line import alone
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from avl_pegp import create_vit
from avl_pegp.backbones import transforms_of
from avl_pegp.benchmarks import READERS, ImageData, few_per_class
from avl_pegp.benchmarks.labels import LabelledDataset
from avl_pegp.evaluation.tables import markdown
from avl_pegp.heads import LinearDiscriminant
from studies.shared_classes import SHARED

DATA = {"tiny_imagenet": "Tiny ImageNet", "cifar100": "CIFAR-100", "fashion_mnist": "Fashion-MNIST"}
PAGE = Path(__file__).parents[2] / "docs" / "photos.md"
TEXT = (Path(__file__).parent / "photo_features.md").read_text(encoding="utf-8")


class Encoded(NamedTuple):
    """Features (N, d) and labels (N,)."""

    features: Tensor
    labels: Tensor


class Images(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """A data set of PIL images under a transform."""

    def __init__(self, images: LabelledDataset, transform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.images[index]
        return self.transform(image), label


@torch.no_grad()
def encoded(model, images: LabelledDataset, title: str) -> Encoded:
    """What the classifier of a model would receive, in eval mode under its test transform."""
    model.eval()
    loader = DataLoader(Images(images, transforms_of(model)[1]), batch_size=256)
    parts = [
        (model.forward_head(model.forward_features(x), pre_logits=True), y)
        for x, y in tqdm(loader, desc=title, mininterval=5)
    ]
    features, labels = zip(*parts, strict=True)
    return Encoded(torch.cat(features), torch.cat(labels))


def accuracy(train: Encoded, test: Encoded, classes: Sequence[int]) -> float:
    """Percent of the test images of these classes that get theirs, of these alone."""
    kept = torch.tensor(classes)
    statistics = LinearDiscriminant(classes=len(kept), width=train.features.shape[1])
    rows = torch.isin(train.labels, kept)
    statistics.update(train.features[rows], torch.searchsorted(kept, train.labels[rows]))
    rows = torch.isin(test.labels, kept)
    found = statistics.logits(test.features[rows]).argmax(1)
    return 100 * (kept[found] == test.labels[rows]).double().mean().item()


def others(names: Sequence[str]) -> list[int]:
    """The labels of CIFAR-100's classes that are not in ``SHARED``."""
    return [label for label, name in enumerate(names) if name not in SHARED]


def check(sets: Mapping[str, ImageData]) -> None:
    """Refuse data of other classes than ``SHARED`` speaks of.

    Raises:
        ValueError: it has a class that there is not.
    """
    theirs = {name for names in SHARED.values() for name in names}
    for key, named in (("cifar100", {*SHARED}), ("tiny_imagenet", theirs)):
        unknown = sorted(named - set(sets[key].class_names))
        if unknown:
            raise ValueError(
                f"{DATA[key]} has no classes {', '.join(unknown[:5])}, of which shared_classes.py "
                "speaks: give the data set with its own names"
            )


def measured(sets: Mapping[str, ImageData]) -> str:
    """A table with a row for each backbone and a column for each data set."""
    backbones = {
        "`tiny_vit_32.photos`": ("tiny_vit_32.photos", True),
        "`tiny_vit_32.latin`": ("tiny_vit_32.latin", True),
        "random weights": ("tiny_vit_32.photos", False),
    }
    lines = [["frozen features of", *DATA.values(), "CIFAR-100, not shared"]]
    for title, (name, pretrained) in backbones.items():
        torch.manual_seed(0)
        model = create_vit(name, 1, pretrained)
        line, kept = [title], ""
        for key, data in sets.items():
            train, test = (
                encoded(model, part, f"{name}, {key}") for part in (data.train, data.test)
            )
            line.append(f"{accuracy(train, test, range(len(data.class_names))):.1f}")
            if key == "cifar100":
                kept = f"{accuracy(train, test, others(data.class_names)):.1f}"
        lines.append([*line, kept])
    return markdown(lines, names=1)


def page(table: str, count: int | None) -> str:
    """The page of docs."""
    shared = [["CIFAR-100", "Tiny ImageNet"]] + [[c, ", ".join(t)] for c, t in SHARED.items()]
    flag = f" --train-per-class {count}" if count else ""
    images = f"{count} training images of each class" if count else "all training images"
    text = TEXT.replace("{flag}", flag).replace("{images}", images).replace("{table}", table)
    return text.replace("{others}", str(100 - len(SHARED))).replace("{shared}", markdown(shared))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    for key, title in DATA.items():
        flag = f"--{key.replace('_', '-')}"
        parser.add_argument(flag, type=Path, required=True, help=f"folder that holds {title}")
    parser.add_argument("--train-per-class", type=int, help="training images of each class, drawn")
    parser.add_argument("--out", type=Path, default=PAGE, help="page to write")
    args = parser.parse_args()
    with alone(args.out, file=True):
        try:
            sets = {
                key: few_per_class(READERS[key](getattr(args, key)), args.train_per_class)
                for key in DATA
            }
            check(sets)
        except ValueError as error:
            parser.error(str(error))
        text = page(measured(sets), args.train_per_class)
        args.out.write_text(text, encoding="utf-8")
    print(f"Wrote {args.out}")


if __name__ == "__main__":
    main()
