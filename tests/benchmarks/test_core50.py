from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from image_data import AS_THEY_ARE, facts
from PIL import Image

from avl_pegp.benchmarks import DataError, core50_classes, core50_instances

TRAIN, TEST = (1, 2, 4, 5, 6, 8, 9, 11), (3, 7, 10)


def contents(experience) -> Counter:
    """The pixels and the label of each frame."""
    return Counter((image.tobytes(), int(label)) for image, label, *_ in experience.dataset)


def frames(root: Path, sessions, per_label: int = 1) -> Counter:
    """What the frames of some sessions show, and their labels, as file names tell."""
    found = Counter()
    for session in sessions:
        for file in (root / "core50_128x128" / f"s{session}").glob("*/*.png"):
            label = (int(file.name.split("_")[2]) - 1) // per_label
            found[Image.open(file).tobytes(), label] += 1
    return found


@pytest.fixture
def core(miniature: Callable[[str], Path], tmp_path: Path) -> Path:
    """A data set to break, by taking files away or putting others into their place."""
    shutil.copytree(miniature("core50"), tmp_path, copy_function=os.link, dirs_exist_ok=True)
    return tmp_path / "core50_128x128"


@pytest.mark.parametrize(("categories", "per_label"), [(False, 1), (True, 5)])
def test_an_experience_is_a_session(
    miniature: Callable[[str], Path], categories: bool, per_label: int
) -> None:
    root = miniature("core50")
    benchmark = core50_instances(root, categories, **AS_THEY_ARE)
    assert benchmark.domains == tuple(f"s{session}" for session in TRAIN)
    for experience, session in zip(benchmark.train_stream, TRAIN, strict=True):
        assert contents(experience) == frames(root, [session], per_label)
    assert benchmark.data == facts(1200, 450)


@pytest.mark.parametrize(("categories", "per_label"), [(False, 1), (True, 5)])
def test_test_frames_are_dealt_out_evenly_and_none_is_lost(
    miniature: Callable[[str], Path], categories: bool, per_label: int
) -> None:
    root = miniature("core50")
    hands = [contents(e) for e in core50_instances(root, categories, **AS_THEY_ARE).test_stream]
    assert sum(hands, Counter()) == frames(root, TEST, per_label)
    by_class = [Counter(label for _, label in hand.elements()) for hand in hands]
    assert {sum(counts.values()) for counts in by_class} == {56, 57}
    for label in range(50 // per_label):
        counts = [found[label] for found in by_class]
        assert min(counts) >= 1
        assert max(counts) - min(counts) <= 1


def test_names_are_of_objects_or_categories(miniature: Callable[[str], Path]) -> None:
    root = miniature("core50")
    objects, categories = (core50_instances(root, c).class_names for c in (False, True))
    assert objects[0] == "plug adapter 1"
    assert objects[49] == "remote control 5"
    assert tuple(name[:-2] for name in objects[::5]) == categories
    assert len(set(objects)) == 50


def test_a_seed_draws_the_order_of_the_sessions(miniature: Callable[[str], Path]) -> None:
    root = miniature("core50")
    drawn = core50_instances(root, order_seed=1, **AS_THEY_ARE)
    assert sorted(drawn.domains) == sorted(f"s{session}" for session in TRAIN)
    assert drawn.domains != tuple(f"s{session}" for session in TRAIN)
    for experience, domain in zip(drawn.train_stream, drawn.domains, strict=True):
        assert contents(experience) == frames(root, [int(domain[1:])])


def test_new_classes_are_ten_objects_and_then_five_each(miniature: Callable[[str], Path]) -> None:
    root = miniature("core50")
    benchmark = core50_classes(root, **AS_THEY_ARE)
    bounds = [0, *range(10, 51, 5)]
    for stream, sessions in ((benchmark.train_stream, TRAIN), (benchmark.test_stream, TEST)):
        seen = [sorted(set(experience.dataset.targets)) for experience in stream]
        assert seen == [list(range(*pair)) for pair in pairwise(bounds)]
        assert sum(map(contents, stream), Counter()) == frames(root, sessions)


def test_new_classes_come_in_a_drawn_or_given_order(miniature: Callable[[str], Path]) -> None:
    root = miniature("core50")
    drawn = core50_classes(root, order_seed=4, task_labels=True)
    given = core50_classes(root, class_order=drawn.class_order)
    assert drawn.class_order != sorted(drawn.class_order) == list(range(50))
    assert drawn.class_names == given.class_names
    plain = core50_classes(root).class_names
    assert drawn.class_names[0] == plain[drawn.class_order[0]]
    assert [experience.task_labels for experience in drawn.test_stream] == [[t] for t in range(9)]


@pytest.mark.parametrize("benchmark", [core50_instances, core50_classes])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s4", r"no frames in 50 of 550 folders: s4/o1, .*45 more.*core50_128x128/s1/o1/C_01"),
        ("s10/o7", "no frames in 1 of 550 folders: s10/o7"),
    ],
)
def test_every_session_and_object_is_required(
    core: Path, benchmark: Callable, path: str, message: str
) -> None:
    shutil.rmtree(core / path)
    with pytest.raises(DataError, match=f"(?s){message}"):
        benchmark(core.parent)


@pytest.mark.parametrize("benchmark", [core50_instances, core50_classes])
@pytest.mark.parametrize("frame", ["s3/o50/C_03_50_000.png", "s11/o1/C_11_01_002.png"])
def test_a_damaged_frame_is_named(core: Path, benchmark: Callable, frame: str) -> None:
    (core / frame).unlink()
    (core / frame).write_bytes(b"no image")
    with pytest.raises(DataError, match=f"1 of 1650 image files are .*{frame}"):
        benchmark(core.parent)
