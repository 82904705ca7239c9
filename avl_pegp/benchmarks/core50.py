"""CORe50: fifty things at hand, filmed in eleven surroundings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from avalanche.benchmarks import GenericCLScenario, NCScenario
from typing_extensions import Unpack

from avl_pegp.benchmarks.class_folders import class_folders, require_folder
from avl_pegp.benchmarks.class_incremental import ByClass, class_incremental
from avl_pegp.benchmarks.data import ImageData, Transforms
from avl_pegp.benchmarks.domain_incremental import domain_incremental
from avl_pegp.benchmarks.image_files import ImageFiles
from avl_pegp.benchmarks.labels import order_of
from avl_pegp.benchmarks.lists import DataError, named

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


def read_core50(
    data_root: Path | str, categories: bool = False, session_seed: int | None = None
) -> ImageData:
    """CORe50: 128x128 frames of 50 objects, five of each of ten categories, in eleven sessions.

    The domains are the eight training sessions 1, 2, 4, 5, 6, 8, 9 and 11. Sessions 3, 7 and 10 are
    for testing, and no domain has surroundings like theirs. Their frames are dealt out in turn, class
    by class, to the eight domains, whose test images therefore are alike: the mean of the accuracies
    on them is the accuracy on the whole test set, up to one frame's difference in their numbers.

    Args:
        data_root: the folder that holds ``core50_128x128``.
        categories: whether a label is one of 10 categories instead of one of 50 objects, for which it
            is one less than the object's number.
        session_seed: draws the order of the sessions; None keeps the order of their numbers.

    Raises:
        DataError: sessions or objects are absent.

    Source: Lomonaco and Maltoni, CORe50: a New Dataset and Benchmark for Continuous Object
    Recognition, CoRL 2017.
    """
    sessions = [_TRAIN[i] for i in order_of(len(_TRAIN), None, session_seed)]
    folder, frames = _frames(data_root)
    per_label = _EACH if categories else 1
    train, test = (_dataset(folder, frames, part, per_label) for part in (_TRAIN, _TEST))
    parts = {}
    for hand, session in enumerate(sessions):
        dealt = slice(hand, None, len(sessions))
        own = ImageFiles(folder, test.paths[dealt], test.targets[dealt], upright=False)
        parts[f"s{session}"] = _dataset(folder, frames, [session], per_label), own
    names = CATEGORIES if categories else _OBJECT_NAMES
    return ImageData.of_files(train, test, names, parts=parts)


def core50_instances(
    data_root: Path | str,
    categories: bool = False,
    order_seed: int | None = None,
    **options: Unpack[Transforms],
) -> GenericCLScenario:
    """``domain_incremental`` of ``read_core50``: the same objects, new instances (scenario NI).

    Test images of experience i are the same whatever the order of the sessions.
    """
    return domain_incremental(read_core50(data_root, categories, order_seed), **options)


def core50_classes(data_root: Path | str, **options: Unpack[ByClass]) -> NCScenario:
    """``class_incremental`` of ``read_core50``: ten objects, then eight times five (scenario NC).

    In label order experiences are whole categories. The authors draw ten class orders, here any seed
    draws one.
    """
    options.setdefault("classes_per_experience", _NEW_OBJECTS)
    return class_incremental(read_core50(data_root), len(_NEW_OBJECTS), **options)


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
    pairs = [
        (path, number // per_label)
        for number, name in enumerate(_OBJECTS)
        for session in sessions
        for path in frames[f"s{session}/{name}"]
    ]
    return ImageFiles.of_pairs(folder, pairs)
