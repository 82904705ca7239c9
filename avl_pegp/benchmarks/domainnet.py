"""DomainNet: six domains of the same 345 classes, domain by domain or class by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from avalanche.benchmarks import GenericCLScenario, NCScenario

from avl_pegp.benchmarks._domainnet_lists import (
    N_CLASSES,
    DomainFiles,
    read_domains,
)
from avl_pegp.benchmarks._order import order_of
from avl_pegp.benchmarks.image_files import ImageFiles, check_images
from avl_pegp.benchmarks.image_streams import ImageTransform, join_images, split_images

__all__ = ["DOMAINNET", "domainnet", "split_domainnet"]

#: The domains of DomainNet, in the usual order.
DOMAINNET: tuple[str, ...] = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")


def domainnet(
    data_root: Path | str,
    domains: Sequence[str] | None = None,
    order_seed: int | None = None,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> GenericCLScenario:
    """The same 345 classes in every experience, each time in another of six domains.

    There are 586,575 images in all; training and test images are those of the official lists
    (Peng et al., Moment Matching for Multi-Source Domain Adaptation, ICCV 2019, "cleaned"). In
    these painting has no training image of t-shirt and no test image of syringe; the same is
    accepted here, and put on record, while a list that lacks any other class is refused.

    Args:
        data_root: the folder with ``clipart/CLASS/*.jpg``, ``clipart_train.txt``,
            ``clipart_test.txt`` and so on.
        domains: which, in the order of learning; None is all of ``DOMAINNET``.
        order_seed: draws the order of the domains; None keeps it.
        train_transform: of a PIL image, in training; None resizes to 224 pixels, see ``resized``.
        eval_transform: the same in evaluation.

    Returns:
        A benchmark with ``train_stream`` and ``test_stream`` of one experience a domain,
        ``class_names`` (by label), ``class_order`` (label order), ``domains`` (by experience), and
        ``data``, facts for the record: ``lists_sha256`` by file, and ``lacking``, the classes that
        are not in a list.

    Raises:
        DataError: data or a list is absent; a list has a line of another form, names images that do
            not exist or lacks a class; image files are damaged.
        ValueError: an argument is out of range.

    Example:
        >>> domainnet("/no/such/folder", domains=["cartoon"])
        Traceback (most recent call last):
        ValueError: domains=('cartoon',) must be one or more different ones of clipart, infograph,
        painting, quickdraw, real, sketch.
    """
    names = DOMAINNET if domains is None else tuple(domains)
    if set(names) - set(DOMAINNET) or not names or len(set(names)) < len(names):
        raise ValueError(
            f"domains={names} must be one or more different ones of {', '.join(DOMAINNET)}."
        )
    names = tuple(names[i] for i in order_of(len(names), None, order_seed))
    files = read_domains(Path(data_root), names)
    train, test = list(files.train.values()), list(files.test.values())
    benchmark = join_images(
        train,
        test,
        files.class_names,
        train_transform=train_transform,
        eval_transform=eval_transform,
    )
    benchmark.domains = names
    benchmark.data.update(files.facts, **check_images(*train, *test))
    return benchmark


def split_domainnet(
    data_root: Path | str,
    n_experiences: int = 5,
    n_classes: int = N_CLASSES,
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    task_labels: bool = False,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> NCScenario:
    """DomainNet with all domains pooled, some new classes in each experience.

    Of 345 classes 69 in each of 5 experiences is the usual split (CODA-Prompt, CVPR 2023; InfLoRA,
    CVPR 2024). ``n_classes=200`` with ``n_experiences=10`` is meant for papers that report 200
    classes "with the most images". That those are counted over all domains, training and test
    images together, is inferred: no published code was found that counts them. The lists that
    come with NSP² (NeurIPS 2024) are a different data set of 200 classes: each has images of one
    domain alone. Accuracies on those do not compare with these.

    Args:
        data_root: the folder with ``clipart/CLASS/*.jpg``, ``clipart_train.txt``,
            ``clipart_test.txt`` and so on, for all of ``DOMAINNET``.
        n_experiences: how many experiences of equally many classes.
        n_classes: so many classes with the most images, 1 to 345; of classes with equally many the
            first by name.
        class_order: the labels in the order of learning; None is label order, as in the lists. With
            fewer than 345 classes labels count up over those that are left. The labels of the
            benchmark count up in this order.
        order_seed: draws the class order; not together with ``class_order``.
        task_labels: whether experience t has Avalanche's task label t. Class labels are the same
            either way.
        train_transform: of a PIL image, in training; None resizes to 224 pixels, see ``resized``.
        eval_transform: the same in evaluation.

    Returns:
        A benchmark with ``train_stream``, ``test_stream``, ``class_names`` (by label),
        ``class_order``, and ``data``, facts for the record: as in ``domainnet``.

    Raises:
        DataError: as in ``domainnet``.
        ValueError: an argument is out of range.

    Example:
        >>> split_domainnet("/no/such/folder", n_classes=346)
        Traceback (most recent call last):
        ValueError: n_classes=346 must be from 1 to 345.
    """
    if not 1 <= n_classes <= N_CLASSES:
        raise ValueError(f"n_classes={n_classes} must be from 1 to {N_CLASSES}.")
    files = read_domains(Path(data_root), DOMAINNET)
    kept = _most_images(files, n_classes)
    train, test = _pool(files.train, kept), _pool(files.test, kept)
    benchmark = split_images(
        train,
        test,
        [files.class_names[label] for label in kept],
        n_experiences,
        class_order=class_order,
        order_seed=order_seed,
        task_labels=task_labels,
        train_transform=train_transform,
        eval_transform=eval_transform,
    )
    benchmark.data.update(files.facts, **check_images(train, test))
    return benchmark


def _most_images(files: DomainFiles, n_classes: int) -> list[int]:
    """The labels of the classes with the most images, in label order."""
    counts: Counter[int] = Counter()
    for part in (*files.train.values(), *files.test.values()):
        counts.update(part.targets)
    ranked = sorted(counts, key=lambda label: (-counts[label], files.class_names[label]))
    return sorted(ranked[:n_classes])


def _pool(domains: dict[str, ImageFiles], kept: Sequence[int]) -> ImageFiles:
    """The images of all domains, labelled by the position of their class in ``kept``."""
    new = {label: position for position, label in enumerate(kept)}
    images = [
        (path, new[label])
        for files in domains.values()
        for path, label in zip(files.paths, files.targets, strict=True)
        if label in new
    ]
    root = next(iter(domains.values())).root
    paths, labels = [path for path, _ in images], [label for _, label in images]
    return ImageFiles(root, paths, labels, upright=False)
