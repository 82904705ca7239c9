"""Folders that are parts of a data set, such as train and val, and no classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from avl_pegp.benchmarks.lists import DataError, named, printable

_TRAIN = frozenset({"train", "training", "trainset"})
_TEST = frozenset({"test", "testing", "tests", "testset"})
_VALIDATION = frozenset({"val", "valid", "validation", "valset", "dev", "eval", "evaluation"})
_OTHERS = frozenset(
    {"holdout", "query", "gallery", "probe", "source", "target", "labelled", "unlabelled"}
)
_OF_A_ROW = frozenset({"fold", "split", "part", "subset"})  # with a number behind
_FILLING = frozenset({"set", "data", "dataset", "images", "image", "imgs", "img"})


class Parts(NamedTuple):
    """The names of the folders to train on and to test on, and of those that are left alone."""

    train: str
    test: str
    unread: list[str]


def find_parts(root: Path, names: Sequence[str]) -> Parts | None:
    """Tell training and test images apart by the names of their folders; None where they do not say.

    Without a folder to test on the one to validate on takes its place.

    Args:
        root: holds the folders, for messages.
        names: of the folders.

    Raises:
        DataError: there are several to train on or to test on.

    Example:
        >>> find_parts(Path("pets"), ["Train", "val"])
        Parts(train='Train', test='val', unread=[])
        >>> find_parts(Path("pets"), ["cat", "test"]) is None
        True
    """
    train = [name for name in names if _core(name) in _TRAIN]
    test = [name for name in names if _core(name) in _TEST]
    test = test or [name for name in names if _core(name) in _VALIDATION]
    if not train or not test:
        return None
    for use, found in (("train", train), ("test", test)):
        if len(found) > 1:
            raise DataError(
                f"{printable(root)} has the folders {named(found)}, and it is not clear which is to "
                f"{use} on. Move the others away, or rename them."
            )
    return Parts(train[0], test[0], [name for name in names if name not in (*train, *test)])


def refuse_parts(folder: Path, classes: Mapping[str, Sequence[str]], advice: str) -> None:
    """Refuse folders that are no classes by what is in them.

    A class may be called "test": what counts is whether there is one to train on beside it, or only
    folders in it.

    Args:
        folder: holds the class folders.
        classes: the paths of each class, as ``class_folders`` gives them.
        advice: what to do about parts of a data set, in the message.

    Raises:
        DataError: they are parts of a data set, hold such parts or the folders of other classes, or
            the class folders are one level further down.
    """
    root = printable(folder)
    inner = {
        name: {path.split("/")[1] for path in paths if path.count("/") > 1}
        for name, paths in classes.items()
    }
    deep = [name for name, paths in classes.items() if all(p.count("/") > 1 for p in paths)]
    parts = _parts_among(list(classes), deep)
    if parts:
        raise DataError(f"{root} has folders {' and '.join(map(printable, parts))}, so {advice}")
    if len(classes) == 1 and deep:
        raise DataError(
            f"{root} holds one class folder, {deep[0]}, with folders in it and no image: are they "
            f"the classes? Then give {printable(folder / deep[0])}; else put the images of the class "
            "into its folder."
        )
    _refuse_inner(folder, inner, len(deep) == len(classes))


def _refuse_inner(folder: Path, inner: Mapping[str, set[str]], all_deep: bool) -> None:
    """Refuse folders in class folders, by class, that divide the class or are classes themselves."""
    root = printable(folder)
    split = [name for name in inner if find_parts(folder / name, sorted(inner[name]))]
    if split:
        raise DataError(
            f"{root} has {len(split)} of {len(inner)} class folders that are split into training "
            f"and test images themselves: {named(split)}. Put train/CLASS and test/CLASS there."
        )
    nested = [
        f"{other} in {name}"
        for name, folders in inner.items()
        for other in sorted(folders & inner.keys() - {name})
    ]
    if nested:
        raise DataError(
            f"{root} has {len(nested)} folders of one class in that of another: {named(nested)}. "
            "Move them to where they belong, or rename them."
        )
    shared = set.intersection(*inner.values()) if all_deep else set()
    if len(shared) >= max(2, len(inner)):
        raise DataError(
            f"{root} has {len(inner)} folders with the same {len(shared)} folders in each: "
            f"{named(sorted(shared))}. If these are the classes, and {named(list(inner))} are parts "
            "or domains, give one of them, or one folder with the classes; if they are not, put the "
            "images of each class into its folder."
        )


def _parts_among(names: Sequence[str], deep: Sequence[str]) -> list[str]:
    """Names that say parts of a data set; ``deep`` are those of folders that hold no image."""
    names = sorted(names, key=lambda name: not _TRAIN & set(_words(name)))  # to train on first
    exact = [name for name in names if _core(name) in _TRAIN | _TEST | _VALIDATION]
    uses = {_core(name) in _TRAIN for name in exact}
    if len(exact) == len(names) or len(uses) > 1 or set(exact) & set(deep):
        return exact
    loose = [name for name in names if _is_like_a_part(name)]
    words = {word for name in loose for word in _words(name)}
    if len(loose) == len(names) and words & _TRAIN and words & (_TEST | _VALIDATION):
        return loose
    loose = [name for name in loose if name in deep]
    return loose if len(loose) > 1 or len(loose) == len(names) else []


def _core(name: str) -> str:
    """The word that is left of a name: ``training_set`` is training, ``val2017`` is val."""
    words = [word for word in _words(name) if word not in _FILLING]
    return words[0] if len(words) == 1 else ""


def _is_like_a_part(name: str) -> bool:
    words = set(_words(name))
    row = words & _OF_A_ROW and re.search(r"\d", name)
    return bool(words & (_TRAIN | _TEST | _VALIDATION | _OTHERS) or row)


def _words(name: str) -> list[str]:
    """The words of a name, in lower case: ``SegTrain_1`` has seg and train."""
    return [word.casefold() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
