"""The official lists of DomainNet: which image is of which class, to train on or to test on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avl_pegp.benchmarks._image_reading import named
from avl_pegp.benchmarks._text_lists import TextList, read_list, refuse_repeated
from avl_pegp.benchmarks.image_files import DataError, ImageFiles, require_folder

N_CLASSES = 345
_FORM = "clipart/aircraft_carrier/clipart_001_000001.jpg 0"
_LAYOUT = """clipart/CLASS/*.jpg  images of the domain, a folder for each class, and so for
                     infograph, painting, quickdraw, real and sketch
clipart_train.txt    official list of the training images, and so for the others
clipart_test.txt     official list of the test images, and so for the others
("cleaned version", http://ai.bu.edu/M3SDA/)"""
# The official lists have these gaps, as other loaders note: that of Dassl.pytorch the first, one
# that moves images to close them both.
_KNOWN_GAPS = {"painting_train.txt": {"t-shirt"}, "painting_test.txt": {"syringe"}}


@dataclass(frozen=True)
class DomainFiles:
    """The images that the lists name.

    Attributes:
        train: training images by domain.
        test: test images by domain.
        class_names: by label.
        facts: for the record: the sha256 of each list, and the classes that it lacks.
    """

    train: dict[str, ImageFiles]
    test: dict[str, ImageFiles]
    class_names: list[str]
    facts: dict[str, Any]


def read_domains(root: Path, domains: Sequence[str]) -> DomainFiles:
    """Read the lists of some domains. Whether the images exist is left to ``check_images``.

    Raises:
        DataError: data or a list is absent; a list has a line of another form, or lacks a class
            that the official one has.
    """
    root = require_folder(root, _LAYOUT)
    for domain in domains:
        require_folder(root / domain, f"CLASS/*.jpg  images of the domain: {domain}.zip, unpacked")
    lists = {
        part: {domain: _read_list(root, domain, part) for domain in domains}
        for part in ("train", "test")
    }
    every = [*lists["train"].values(), *lists["test"].values()]
    names = _class_names(every)
    facts = {
        "lists_sha256": {listed.path.name: listed.sha256 for listed in every},
        "lacking": _lacking(every, names),
    }
    train, test = (
        {domain: _files(root, listed) for domain, listed in of_part.items()}
        for of_part in lists.values()
    )
    return DomainFiles(train, test, names, facts)


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
    if labels != list(range(N_CLASSES)) or len(set(names)) != N_CLASSES:
        raise DataError(
            f"The lists in {lists[0].path.parent} have {len(set(labels))} labels up to "
            f"{max(labels, default=None)} for {len(set(names))} classes in {len(pairs)} "
            f"combinations; there must be one label from 0 to {N_CLASSES - 1} for each of "
            f"{N_CLASSES} classes. Download the lists again."
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
                f"{path} has no image of {len(unknown)} of {N_CLASSES} classes: {named(unknown)}. "
                "Download the list again."
            )
    return {path.name: lacking for path, lacking in found.items() if lacking}


def _files(root: Path, listed: TextList) -> ImageFiles:
    paths, labels = zip(*listed.lines, strict=True)
    return ImageFiles(root, paths, list(map(int, labels)), upright=False)


def _class_of(path: str) -> str:
    return path.split("/")[1]
