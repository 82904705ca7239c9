from collections import Counter

import pytest
import torch

from avl_pegp.benchmarks import BlurryTasks, si_blurry

LABELS = [label for label in range(20) for _ in range(11 + label)]  # unequally many samples


def tasks_of(seed: int = 0, n_tasks: int = 5, labels=LABELS, **shares: float) -> BlurryTasks:
    generator = torch.Generator().manual_seed(seed)
    return si_blurry(labels, n_tasks, **shares, generator=generator)


def flat(lists: list[list[int]]) -> list[int]:
    return [item for items in lists for item in items]


def away(tasks: BlurryTasks) -> int:
    """How many samples are in a task that does not own their class."""
    return sum(
        LABELS[index] not in own
        for own, indices in zip(tasks.classes, tasks.indices, strict=True)
        for index in indices
    )


CASES = [
    {"seed": seed, "n_tasks": n_tasks, "disjoint": disjoint, "blurry": blurry}
    for seed in range(3)
    for n_tasks in (1, 3, 5, 20)
    for disjoint in (0.0, 0.33, 0.5, 1.0)
    for blurry in (0.0, 0.1, 1.0)
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_is_lost_and_no_task_goes_without(case: dict) -> None:
    tasks = tasks_of(**case)
    n_tasks = case["n_tasks"]
    assert len(tasks.indices) == len(tasks.disjoint) == len(tasks.blurry) == n_tasks
    assert sorted(flat(tasks.indices)) == list(range(len(LABELS)))
    assert sorted(flat(tasks.classes)) == list(range(20))
    assert all(tasks.classes)
    assert all(tasks.indices)
    assert len(flat(tasks.disjoint)) == round(20 * case["disjoint"])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_disjoint_class_is_in_one_task_alone_and_tasks_keep_their_size(case: dict) -> None:
    tasks = tasks_of(**case)
    sizes = Counter(LABELS)
    for own, main, indices in zip(tasks.disjoint, tasks.blurry, tasks.indices, strict=True):
        present = Counter(LABELS[index] for index in indices)
        assert all(present[label] == sizes[label] for label in own)
        others = set(flat(tasks.disjoint)) - set(own)
        assert not others & set(present)
        assert len(indices) == sum(sizes[label] for label in own + main)


def test_without_blur_or_without_blurry_classes_it_is_class_incremental() -> None:
    for shares in ({"blurry": 0.0}, {"disjoint": 1.0, "blurry": 1.0}):
        assert away(tasks_of(**shares)) == 0


def test_of_the_blurry_samples_at_most_the_share_strays() -> None:
    for blurry in (0.1, 0.5, 1.0):
        strayed = [away(tasks_of(seed, disjoint=0.0, blurry=blurry)) for seed in range(20)]
        assert max(strayed) <= round(blurry * len(LABELS))  # some are dealt to where they were
        assert sum(strayed) > 0.4 * 20 * blurry * len(LABELS)


def test_samples_that_stray_are_drawn_rather_than_the_first_ones() -> None:
    labels = [0] * 50 + [1] * 50
    strayed = Counter()
    for seed in range(60):
        tasks = tasks_of(seed, 2, labels, disjoint=0.0, blurry=0.3)
        own = tasks.classes[0]
        strayed.update(i for i in tasks.indices[0] if labels[i] not in own)
    places = [index % 50 for index in strayed.elements()]
    assert sum(places) / len(places) == pytest.approx(24.5, abs=3)


def test_tasks_are_unequal_and_shuffled() -> None:
    tasks = tasks_of()
    assert len({len(classes) for classes in tasks.classes}) > 1
    for indices in tasks.indices:
        assert indices != sorted(indices)
        stray = [i for i, index in enumerate(indices) if LABELS[index] not in flat(tasks.disjoint)]
        assert not stray or min(stray) < len(indices) / 2  # not behind the others


def test_the_generator_alone_decides() -> None:
    state = torch.get_rng_state()
    assert tasks_of(3) == tasks_of(3) != tasks_of(4)
    assert torch.equal(state, torch.get_rng_state())


def test_labels_need_not_count_up() -> None:
    tasks = tasks_of(n_tasks=2, labels=[7, 7, -3, -3, 40])
    assert sorted(flat(tasks.classes)) == [-3, 7, 40]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_tasks": 0}, "n_tasks=0 must be from 1 to 20"),
        ({"n_tasks": 21}, "n_tasks=21"),
        ({"disjoint": 1.1}, r"disjoint=1\.1 .* from 0 to 1"),
        ({"blurry": -0.1}, r"blurry=-0\.1"),
        ({"blurry": float("nan")}, "blurry=nan"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tasks_of(**options)
