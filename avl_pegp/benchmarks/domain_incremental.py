"""Streams with a data set of its own in each experience, such as the same classes in other domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avalanche.benchmarks import GenericCLScenario
from avalanche.benchmarks.utils import AvalancheDataset, _make_taskaware_classification_dataset

from avl_pegp.benchmarks.data import ImageData, ImageTransform, Pair, normalise, resized
from avl_pegp.benchmarks.labels import (
    LabelledDataset,
    labelled,
    labels_of,
    lacking_of,
    order_of,
)


def domain_incremental(
    data: ImageData,
    *,
    order_seed: int | None = None,
    kind: str = "domain",
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> GenericCLScenario:
    """Make each domain of a data set an experience; labels stay as they are.

    Args:
        data: a data set with ``parts``; a domain need not have all classes.
        order_seed: draws the order of the domains; None keeps that of ``parts``.
        kind: what a part is.
        train_transform: of an image, in training; None is that of the data set.
        eval_transform: of an image, in evaluation; None is that of the data set.

    Returns:
        A benchmark with ``train_stream`` and ``test_stream`` of one experience a domain,
        ``class_names`` (by label), ``class_order`` (label order), ``domains`` (by experience, called
        by ``kind``), and ``data``, facts for the record, where the data set has some.

    Raises:
        DataError: files are damaged.
        ValueError: there are no domains; one has no image; labels and names do not fit, as in
            ``class_incremental``.

    Example:
        >>> from avl_pegp.benchmarks import read_domain_glyphs
        >>> data = read_domain_glyphs(("sans", "noisy"), n_classes=5, train_per_class=2)
        >>> domain_incremental(data).domains
        ('sans', 'noisy')
    """
    if not data.parts:
        raise ValueError(
            "data has no parts, and domain_incremental makes an experience of each; read a data set "
            "that has domains, make one by ImageData.of_parts, or use class_incremental."
        )
    every = list(data.parts)
    names = [every[i] for i in order_of(len(every), None, order_seed)]
    benchmark = from_datasets(
        [data.parts[name][0] for name in names],
        [data.parts[name][1] for name in names],
        data.class_names,
        list(range(len(data.class_names))),
        train_transform or data.transform,
        eval_transform or data.transform,
        [f"{kind} {name!r}" for name in names],
    )
    setattr(benchmark, f"{kind}s", tuple(names))
    return data.on_record(benchmark)


def chosen_domains(domains: Sequence[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The domains that are asked for, or all that are known.

    Raises:
        ValueError: there is none, or one that is not known or comes twice.
    """
    chosen = known if domains is None else tuple(domains)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
        raise ValueError(
            f"domains={chosen} must be one or more different ones of {', '.join(known)}."
        )
    return chosen


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
        class_names: by label, no two alike; an experience need not have all classes.
        train_transform: of an image, in training; None is ``resized``.
        eval_transform: of an image, in evaluation; None is ``resized``.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label),
        ``class_order`` (label order), and ``data``, facts for the record: how many images there are.

    Raises:
        ValueError: there is no experience, or not as many data sets to test on as to train on; one
            has no image; labels and names do not fit, as in ``class_incremental``.
    """
    benchmark = from_datasets(
        train,
        test,
        class_names,
        list(range(len(class_names))),
        train_transform or resized,
        eval_transform or resized,
    )
    benchmark.data = {
        f"{part}_images": sum(map(len, each)) for part, each in (("train", train), ("test", test))
    }
    return benchmark


def join_domains(
    domains: Mapping[str, Pair],
    class_names: Sequence[str],
    *,
    train_transform: ImageTransform,
    eval_transform: ImageTransform,
) -> GenericCLScenario:
    """``domain_incremental`` of domains of which each has every class.

    Args:
        domains: training and test data of each domain by its name, in the order of learning.
        class_names: by label.
        train_transform: of an image, in training.
        eval_transform: of an image, in evaluation.

    Raises:
        ValueError: a domain lacks a class, or labels and names do not fit.

    Example:
        >>> import torch
        >>> from avl_pegp.benchmarks.data import ImageDataset, normalise
        >>> pair = ImageDataset(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))
        >>> day_and_night = {"day": (pair, pair), "night": (pair, pair)}
        >>> names = ["cat", "dog"]
        >>> join_domains(
        ...     day_and_night, names, train_transform=normalise, eval_transform=normalise
        ... ).domains
        ('day', 'night')
    """
    for name, parts in domains.items():
        for part, dataset in zip(("training", "test"), parts, strict=True):
            where = f"the {part} data of domain {name!r}"
            lacking = lacking_of(labels_of(f"targets of {where}", dataset.targets), class_names)
            if lacking:
                raise ValueError(
                    f"{where} has no image of class {', '.join(map(repr, lacking))}; "
                    "add some, or leave the class out of all domains."
                )
    data = ImageData.of_parts(domains, class_names, facts=None)
    return domain_incremental(data, train_transform=train_transform, eval_transform=eval_transform)


def from_datasets(
    train: Sequence[LabelledDataset],
    test: Sequence[LabelledDataset],
    class_names: Sequence[str],
    class_order: list[int],
    train_transform: ImageTransform = normalise,
    eval_transform: ImageTransform = normalise,
    called: Sequence[str] | None = None,
) -> GenericCLScenario:
    """Experience i trains on ``train[i]`` and is tested on ``test[i]``; labels are as they are.

    ``called`` has what each experience is called in messages; None counts them from 0.

    Raises:
        ValueError: there is no experience, or not as many data sets of the two kinds; one has no
            image; labels and names do not fit, see ``labelled``.
    """
    if not train or len(train) != len(test):
        raise ValueError(
            f"train has {len(train)} data sets and test has {len(test)}; give one of each for every "
            "experience, and at least one."
        )
    empty = [i for i, parts in enumerate(zip(train, test, strict=True)) if not all(map(len, parts))]
    if empty:
        raise ValueError(
            f"experiences {empty} have no training or no test image; add some, or leave them out."
        )
    transforms = {"train": (train_transform, None), "eval": (eval_transform, None)}
    names = called or [f"experience {i}" for i in range(len(train))]

    def wrapped(datasets: Sequence[LabelledDataset], mode: str) -> list[AvalancheDataset[Any]]:
        part = "training" if mode == "train" else "test"
        return [
            _make_taskaware_classification_dataset(
                labelled(f"the {part} data of {name}", dataset, class_names),
                transform_groups=transforms,
                initial_transform_group=mode,
            )
            for name, dataset in zip(names, datasets, strict=True)
        ]

    # Not dataset_benchmark: its test data, when read directly, has the training transform.
    benchmark = GenericCLScenario(
        stream_definitions={"train": (wrapped(train, "train"),), "test": (wrapped(test, "eval"),)}
    )
    benchmark.class_names = tuple(class_names)
    benchmark.class_order = class_order
    return benchmark
