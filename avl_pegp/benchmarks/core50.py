"""CORe50: fifty things at hand, filmed in eleven surroundings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from avalanche.benchmarks import GenericCLScenario, NCScenario

from avl_pegp.benchmarks._image_reading import named
from avl_pegp.benchmarks._order import order_of
from avl_pegp.benchmarks.image_files import (
    DataError,
    ImageFiles,
    check_images,
    class_folders,
    require_folder,
)
from avl_pegp.benchmarks.image_streams import ImageTransform, join_images, split_images

__all__ = ["core50_classes", "core50_instances"]

#: Five objects of each, in the order of their numbers.
CATEGORIES: tuple[str, ...] = (
    "plug adapter",
    "mobile phone",
    "scissors",
    "light bulb",
    "can",
    "glass",
    "ball",
    "marker",
    "cup",
    "remote control",
)
_OBJECTS = tuple(f"o{number}" for number in range(1, 51))
_EACH = 5
_OBJECT_NAMES = tuple(f"{name} {i}" for name in CATEGORIES for i in range(1, _EACH + 1))
_NEW_OBJECTS = (10, *[5] * 8)  # in each experience of core50_classes
_TRAIN = (1, 2, 4, 5, 6, 8, 9, 11)
_TEST = (3, 7, 10)
_LAYOUT = """\
core50_128x128/s1/o1/C_01_01_000.png  frames of object 1 in session 1,
                                      so for sessions s1 to s11 and objects o1 to o50
(core50_128x128.zip unpacked)"""


def core50_instances(
    data_root: Path | str,
    categories: bool = False,
    order_seed: int | None = None,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> GenericCLScenario:
    """CORe50 with new instances: the same objects in every experience, in other surroundings.

    The eight training sessions 1, 2, 4, 5, 6, 8, 9 and 11 are one experience each. Sessions 3, 7
    and 10 are for testing, and no experience has surroundings like theirs. Their frames are dealt
    out in turn, class by class, to the eight test experiences, which therefore are alike: the mean
    of the accuracies on them is the accuracy on the whole test set, up to one frame's difference in
    their numbers.

    Args:
        data_root: the folder that holds ``core50_128x128``.
        categories: whether a label is one of 10 categories instead of one of 50 objects.
        order_seed: draws the order of the sessions; None keeps the order of their numbers.
        train_transform: of a PIL image, in training; None resizes to 224 pixels, see ``resized``.
        eval_transform: the same in evaluation.

    Returns:
        A benchmark with ``train_stream`` and ``test_stream`` of eight experiences, ``class_names``
        (by label), ``class_order`` (label order), ``domains`` (the sessions, by experience) and
        ``data`` (numbers of images).

    Raises:
        DataError: sessions, objects or images are absent or damaged.
        ValueError: an argument is out of range.

    Source: Lomonaco and Maltoni, CORe50: a New Dataset and Benchmark for Continuous Object
    Recognition, CoRL 2017, scenario NI.

    Example:
        >>> core50_instances("/no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        avl_pegp.benchmarks._image_reading.DataError: There is no data in ...
    """
    order = order_of(len(_TRAIN), None, order_seed)
    folder, frames = _frames(data_root)
    per_label = _EACH if categories else 1
    sessions = [_TRAIN[i] for i in order]
    train = [_dataset(folder, frames, [session], per_label) for session in sessions]
    whole = _dataset(folder, frames, _TEST, per_label)
    hands = [slice(first, None, len(_TRAIN)) for first in range(len(_TRAIN))]
    test = [
        ImageFiles(folder, whole.paths[hand], whole.targets[hand], upright=False) for hand in hands
    ]
    benchmark = join_images(
        train,
        test,
        CATEGORIES if categories else _OBJECT_NAMES,
        train_transform=train_transform,
        eval_transform=eval_transform,
    )
    benchmark.domains = tuple(f"s{session}" for session in sessions)
    benchmark.data.update(check_images(*train, whole))
    return benchmark


def core50_classes(
    data_root: Path | str,
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    task_labels: bool = False,
    train_transform: ImageTransform | None = None,
    eval_transform: ImageTransform | None = None,
) -> NCScenario:
    """CORe50 with new classes: ten objects, then five new ones in each of eight experiences.

    Training and test frames are from the same sessions as in ``core50_instances``.

    Args:
        data_root: the folder that holds ``core50_128x128``.
        class_order: labels in the order of learning, a label being one less than the number of an
            object; None keeps label order, in which experiences are whole categories. The labels
            of the benchmark count up in this order.
        order_seed: draws the class order; not together with ``class_order``.
        task_labels: whether experience t has Avalanche's task label t (task-incremental learning).
        train_transform: of a PIL image, in training; None resizes to 224 pixels, see ``resized``.
        eval_transform: the same in evaluation.

    Returns:
        A benchmark with ``train_stream`` and ``test_stream`` of nine experiences, ``class_names``
        (by label), ``class_order`` and ``data`` (numbers of images).

    Raises:
        DataError: sessions, objects or images are absent or damaged.
        ValueError: an argument is out of range.

    Source: Lomonaco and Maltoni, CORe50: a New Dataset and Benchmark for Continuous Object
    Recognition, CoRL 2017, scenario NC; the authors draw ten class orders, here any seed draws one.

    Example:
        >>> core50_classes("/no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        avl_pegp.benchmarks._image_reading.DataError: There is no data in ...
    """
    folder, frames = _frames(data_root)
    train, test = (_dataset(folder, frames, sessions, 1) for sessions in (_TRAIN, _TEST))
    benchmark = split_images(
        train,
        test,
        _OBJECT_NAMES,
        len(_NEW_OBJECTS),
        classes_per_experience=_NEW_OBJECTS,
        class_order=class_order,
        order_seed=order_seed,
        task_labels=task_labels,
        train_transform=train_transform,
        eval_transform=eval_transform,
    )
    benchmark.data.update(check_images(train, test))
    return benchmark


def _frames(data_root: Path | str) -> tuple[Path, dict[str, list[str]]]:
    """The folder, and by ``s1/o1`` and so on the frames of each object in each session."""
    folder = require_folder(Path(data_root) / "core50_128x128", _LAYOUT)
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in chain.from_iterable(class_folders(folder).values()):
        found[path.rpartition("/")[0]].append(path)
    needed = [f"s{session}/{name}" for session in sorted(_TRAIN + _TEST) for name in _OBJECTS]
    absent = [name for name in needed if name not in found]
    if absent:
        raise DataError(
            f"{folder} has no frames in {len(absent)} of {len(needed)} folders: {named(absent)}. "
            f"Put this there:\n{_LAYOUT}"
        )
    return folder, found


def _dataset(
    folder: Path, frames: Mapping[str, Sequence[str]], sessions: Sequence[int], per_label: int
) -> ImageFiles:
    """The frames of some sessions, sorted by object; so many objects in turn have one label."""
    labelled = [
        (path, number // per_label)
        for number, name in enumerate(_OBJECTS)
        for session in sessions
        for path in frames[f"s{session}/{name}"]
    ]
    paths, labels = [path for path, _ in labelled], [label for _, label in labelled]
    return ImageFiles(folder, paths, labels, upright=False)
