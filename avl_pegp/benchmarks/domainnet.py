"""DomainNet: six domains of the same 345 classes, domain by domain or class by class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from avalanche.benchmarks import GenericCLScenario, NCScenario
from typing_extensions import Unpack

from avl_pegp.benchmarks.class_folders import require_folder
from avl_pegp.benchmarks.class_incremental import ByClass, class_incremental
from avl_pegp.benchmarks.data import ImageData, Transforms
from avl_pegp.benchmarks.domain_incremental import chosen_domains, domain_incremental
from avl_pegp.benchmarks.image_files import ImageFiles
from avl_pegp.benchmarks.lists import DataError, TextList, named, read_list, refuse_repeated

#: The domains of DomainNet, in the usual order.
DOMAINNET: tuple[str, ...] = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")

_CLASSES = 345
_FORM = "clipart/aircraft_carrier/clipart_001_000001.jpg 0"
_LAYOUT = """clipart/CLASS/*.jpg  images of the domain, a folder for each class, and so for
                     infograph, painting, quickdraw, real and sketch
clipart_train.txt    official list of the training images, and so for the others
clipart_test.txt     official list of the test images, and so for the others
("cleaned version", http://ai.bu.edu/M3SDA/)"""
# The official lists have these gaps, as other loaders note: that of Dassl.pytorch the first, one
# that moves images to close them both.
_KNOWN_GAPS = {"painting_train.txt": {"t-shirt"}, "painting_test.txt": {"syringe"}}


def read_domainnet(
    data_root: Path | str, domains: Sequence[str] | None = None, n_classes: int = _CLASSES
) -> ImageData:
    """DomainNet: 586,575 images of 345 classes in six domains.

    Training and test images are those of the official lists (Peng et al., Moment Matching for
    Multi-Source Domain Adaptation, ICCV 2019, "cleaned"). In these painting has no training image of
    t-shirt and no test image of syringe; the same is accepted here, and put on record, while a list
    that lacks any other class is refused.

    ``n_classes=200`` is meant for papers that report 200 classes "with the most images". That those
    are counted over all domains, training and test images together, is inferred: no published code
    was found that counts them. The lists that come with NSP² (NeurIPS 2024) are a different data set
    of 200 classes: each has images of one domain alone. Accuracies on those do not compare with these.

    Args:
        data_root: the folder with ``clipart/CLASS/*.jpg``, ``clipart_train.txt``,
            ``clipart_test.txt`` and so on.
        domains: which, in the order of learning; None is all of ``DOMAINNET``.
        n_classes: so many classes with the most images, 1 to 345; of classes with equally many the
            first by name. Labels are in the order of the lists, and count up over the classes that
            are left.

    Returns:
        The data set. Its facts are ``lists_sha256`` by file, and ``lacking``, the classes that are not
        in a list.

    Raises:
        DataError: data or a list is absent; a list has a line of another form, or lacks a class that
            the official one has.
        ValueError: an argument is out of range.

    Example:
        >>> read_domainnet("/no/such/folder", n_classes=346)
        Traceback (most recent call last):
        ValueError: n_classes=346 must be from 1 to 345.
    """
    if not 1 <= n_classes <= _CLASSES:
        raise ValueError(f"n_classes={n_classes} must be from 1 to {_CLASSES}.")
    chosen = chosen_domains(domains, DOMAINNET)
    root = require_folder(Path(data_root), _LAYOUT)
    for domain in chosen:
        require_folder(root / domain, f"CLASS/*.jpg  images of the domain: {domain}.zip, unpacked")
    train, test = (
        [_read_list(root, domain, part) for domain in chosen] for part in ("train", "test")
    )
    lists = [*train, *test]
    names = _class_names(lists)
    lacking = _lacking(lists, names)
    kept = _most_images(lists, names, n_classes)
    parts = {
        domain: (_files(root, to_train, kept), _files(root, to_test, kept))
        for domain, to_train, to_test in zip(chosen, train, test, strict=True)
    }
    return ImageData.of_parts(
        parts,
        [names[label] for label in kept],
        facts={
            "lists_sha256": {listed.path.name: listed.sha256 for listed in lists},
            "lacking": lacking,
        },
        files=[files for pair in parts.values() for files in pair],
    )


def domainnet(
    data_root: Path | str,
    domains: Sequence[str] | None = None,
    order_seed: int | None = None,
    **options: Unpack[Transforms],
) -> GenericCLScenario:
    """``domain_incremental`` of ``read_domainnet``.

    Example:
        >>> domainnet("/no/such/folder", domains=["cartoon"])
        Traceback (most recent call last):
        ValueError: domains=('cartoon',) must be one or more different ones of clipart, infograph,
        painting, quickdraw, real, sketch.
    """
    data = read_domainnet(data_root, domains)
    return domain_incremental(data, order_seed=order_seed, **options)


def split_domainnet(
    data_root: Path | str,
    n_experiences: int = 5,
    n_classes: int = _CLASSES,
    **options: Unpack[ByClass],
) -> NCScenario:
    """``class_incremental`` of ``read_domainnet``, all domains pooled.

    Of 345 classes 69 in each of 5 experiences is the usual split (CODA-Prompt, CVPR 2023; InfLoRA,
    CVPR 2024).
    """
    data = read_domainnet(data_root, n_classes=n_classes)
    return class_incremental(data, n_experiences, **options)


def _read_list(root: Path, domain: str, part: str) -> TextList:
    listed = read_list(root / f"{domain}_{part}.txt", _FORM, words=2)
    odd = [
        " ".join(line)
        for line in listed.lines
        if not (re.fullmatch(rf"{domain}/[^/]+/[^/]+", line[0]) and line[1].isdecimal())
    ]
    if odd:
        raise DataError(
            f"{listed.path} must have lines like {_FORM!r} of {domain}; {len(odd)} are not: "
            f"{named(odd)}. Download the list again."
        )
    refuse_repeated(listed, [path for path, _ in listed.lines])
    return listed


def _class_names(lists: Sequence[TextList]) -> list[str]:
    """The name of each label, which must be one of 345 and the same in all lists."""
    pairs = sorted({(int(line[1]), _class_of(line[0])) for each in lists for line in each.lines})
    labels, names = [label for label, _ in pairs], [name for _, name in pairs]
    if labels != list(range(_CLASSES)) or len(set(names)) != _CLASSES:
        raise DataError(
            f"The lists in {lists[0].path.parent} have {len(set(labels))} labels up to "
            f"{max(labels, default=None)} for {len(set(names))} classes in {len(pairs)} "
            f"combinations; there must be one label from 0 to {_CLASSES - 1} for each of "
            f"{_CLASSES} classes. Download the lists again."
        )
    return names


def _lacking(lists: Sequence[TextList], names: Sequence[str]) -> dict[str, list[str]]:
    """The classes that a list has no image of, by its file name, for the lists that lack some."""
    found = {
        listed.path: sorted({*names} - {_class_of(path) for path, _ in listed.lines})
        for listed in lists
    }
    for path, lacking in found.items():
        unknown = sorted({*lacking} - _KNOWN_GAPS.get(path.name, set()))
        if unknown:
            raise DataError(
                f"{path} has no image of {len(unknown)} of {_CLASSES} classes: {named(unknown)}. "
                "Download the list again."
            )
    return {path.name: lacking for path, lacking in found.items() if lacking}


def _most_images(lists: Sequence[TextList], names: Sequence[str], n_classes: int) -> list[int]:
    """The labels of the classes with the most images, in label order."""
    counts = Counter(int(label) for listed in lists for _, label in listed.lines)
    ranked = sorted(counts, key=lambda label: (-counts[label], names[label]))
    return sorted(ranked[:n_classes])


def _files(root: Path, listed: TextList, kept: Sequence[int]) -> ImageFiles:
    """The images of a list, labelled by the position of their class in ``kept``."""
    new = {label: position for position, label in enumerate(kept)}
    pairs = ((path, int(label)) for path, label in listed.lines)
    return ImageFiles.of_pairs(root, [(path, new[label]) for path, label in pairs if label in new])


def _class_of(path: str) -> str:
    return path.split("/")[1]
