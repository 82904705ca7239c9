"""What plugins ask of an Avalanche experience: its classes, and its data as it is at test time."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.benchmarks import DatasetExperience
from torch.utils.data import DataLoader


def classes_of(experience: DatasetExperience[Any]) -> set[int]:
    """The classes of an experience, however its benchmark tells them.

    Avalanche's benchmarks carry a list, a set, or nothing at all; then the targets are read.

    Raises:
        ValueError: neither classes nor targets are there.
    """
    classes = getattr(experience, "classes_in_this_experience", None)
    if classes is None:
        classes = getattr(experience.dataset, "targets", None)
    if classes is None:
        raise ValueError(
            "the experience has no `classes_in_this_experience` and its dataset no `targets`: build "
            "the benchmark with one of them, as with avalanche's as_classification_dataset"
        )
    return {int(c) for c in classes}


def statistics_loader(
    experience: DatasetExperience[Any],
    *,
    samples: int | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
) -> DataLoader[Any]:
    """The experience's own data, shuffled, under the evaluation transform.

    Benchmarks sort by class, so that a first part would be one class: samples are drawn instead. The
    generator is the loader's own: global random states are left alone.

    Args:
        experience: replayed samples are not part of its dataset.
        samples: how many to draw, ``None`` for all.
        batch_size: samples in a batch.
        num_workers: as in ``DataLoader``.
        seed: of the draw and the order.
    """
    dataset = experience.dataset.eval()
    generator = torch.Generator().manual_seed(seed)
    if samples is not None and samples < len(dataset):
        drawn = torch.randperm(len(dataset), generator=generator)[:samples]
        dataset = dataset.subset(drawn.tolist())
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        generator=generator,
        num_workers=num_workers,
        collate_fn=getattr(dataset, "collate_fn", None),
    )
