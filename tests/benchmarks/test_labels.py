"""Labels in every form that data sets have them in, and every image in exactly one experience."""

from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avl_pegp.benchmarks import (
    DataError,
    ImageFiles,
    join_domains,
    join_images,
    online_benchmark,
    si_blurry,
    split_digits,
    split_images,
)
from avl_pegp.benchmarks.labels import order_of


class Numbered:
    """Numbers in place of images, so that each can be told, with labels as they are given."""

    def __init__(self, targets: Any, labels: Any = None, first: int = 0) -> None:
        self.targets = targets
        self.labels = targets if labels is None else labels
        self.first = first

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return self.first + index, self.labels[index]


def tensor(number: int) -> torch.Tensor:
    return torch.tensor([number])


PLAIN = {"train_transform": tensor, "eval_transform": tensor}


def split(train: Any, names: list[str], **options: Any):
    """A stream of one class an experience; there is one test image of each."""
    test = Numbered(list(range(len(names))), first=1000)
    return split_images(train, test, names, len(names), **PLAIN, **options)


def join(train: Any, names: list[str]):
    return join_images([train, Numbered([0])], [Numbered([0])] * 2, names, **PLAIN)


def domains(train: Any, names: list[str]):
    return join_domains({"day": (train, Numbered(list(range(len(names)))))}, names, **PLAIN)


STREAMS: dict[str, Callable[..., Any]] = {"split": split, "join": join, "domains": domains}


def found_in(stream: Any) -> list[tuple[int, int]]:
    """All images and their labels, experience by experience."""
    return [(int(item[0]), item[1]) for experience in stream for item in experience.dataset]


FORMS: dict[str, Callable[[list[int]], Any]] = {
    "list": list,
    "tuple": tuple,
    "tensor": torch.tensor,
    "small tensor": lambda labels: torch.tensor(labels, dtype=torch.uint8),
    "list of tensors": lambda labels: [torch.tensor(label) for label in labels],
    "array": np.array,
    "small array": lambda labels: np.array(labels, dtype=np.uint8),
    "list of numpy's": lambda labels: list(np.array(labels)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stream", STREAMS)
def test_labels_of_every_form_are_read_alike(stream: str, form: str) -> None:
    labels = [0, 2, 1, 1, 0, 2, 2]
    benchmark = STREAMS[stream](Numbered(FORMS[form](labels)), ["a", "b", "c"])
    found = found_in(benchmark.train_stream)[: len(labels)]
    assert sorted(found) == list(enumerate(labels))
    assert {type(label) for _, label in found} == {int}


FAULTS: dict[str, tuple[Any, str]] = {
    "beyond the names": ([0, 1, 2, 3, 3], r"has labels \[3\] \(2 images\), but class_names names"),
    "far beyond": ([0, 1, 2, 10**12], r"has labels \[1000000000000\]"),
    "negative": ([0, 1, 2, -1], r"1 negative labels of 4: \[3\] is -1"),
    "negative tensor": (torch.tensor([0, 1, -100, 2]), r"\[2\] is -100"),
    "fractions": ([0, 1, 2.0], r"\[2\] is 2\.0 \(float\) and must be a whole number"),
    "tensor of fractions": (torch.tensor([0.0, 1.0, 2.0]), r"\[0\] is 0\.0"),
    "words": (["0", "1", "2"], r"\[0\] is '0' \(str\)"),
    "truth": ([0, 1, 2, True], r"\[3\] is True \(bool\)"),
    "tensor of truth": (torch.tensor([True, False]), r"\[0\] is True"),
    "numpy's truth": ([0, 1, 2, np.bool_(True)], r"\[3\] is .*\(bool"),
    "nothing": ([0, 1, 2, None], r"\[3\] is None"),
    "one-hot": (torch.eye(3, dtype=torch.long), r"has the shape \(3, 3\) and must have one axis"),
    "list of one-hot": ([0, 1, torch.tensor([0, 0])], r"\[2\] is tensor"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", STREAMS)
def test_labels_that_would_lose_an_image_are_refused(stream: str, fault: str) -> None:
    targets, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        STREAMS[stream](Numbered(targets), ["a", "b", "c"])


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"beyond the names", "far beyond"}))
def test_they_are_refused_before_there_are_names_too(fault: str) -> None:
    targets, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        ImageFiles(".", ["a.png"] * len(targets), targets)
    if "negative" not in fault:  # there a class is any number
        with pytest.raises(ValueError, match=message):
            si_blurry(targets, 1, generator=torch.Generator())


@pytest.mark.parametrize("part", ["training", "test"])
def test_the_fault_is_told_of_the_part_that_has_it(part: str) -> None:
    good, bad = Numbered([0, 1]), Numbered([0, 1, 2])
    pair = (bad, good) if part == "training" else (good, bad)
    with pytest.raises(ValueError, match=f"the {part} data has labels"):
        split_images(*pair, ["a", "b"], 2)
    with pytest.raises(ValueError, match=f"the {part} data of experience 1 has labels"):
        join_images([good, pair[0]], [good, pair[1]], ["a", "b"])


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 1, 2, 2, 2]])
def test_there_is_a_label_for_each_image(stream: str, labels: list[int]) -> None:
    with pytest.raises(ValueError, match=f"has {len(labels)} labels for 4 images"):
        STREAMS[stream](Numbered(labels, [0, 1, 2, 2]), ["a", "b", "c"])


@pytest.mark.parametrize("stream", STREAMS)
def test_an_image_whose_own_label_is_another_is_noticed_when_it_is_read(stream: str) -> None:
    benchmark = STREAMS[stream](Numbered([0, 1, 2], [0, 2, 1]), ["a", "b", "c"])
    with pytest.raises(ValueError, match="image 1 the label 2, and its targets say 1"):
        found_in(benchmark.train_stream)


@pytest.mark.parametrize("stream", STREAMS)
def test_two_classes_of_one_name_are_refused(stream: str) -> None:
    with pytest.raises(ValueError, match="class_names has b more than once"):
        STREAMS[stream](Numbered([0, 1, 2]), ["a", "b", "b"])


@pytest.mark.parametrize(
    "order", [[0, 1], [0, 1, 1], [0, 1, 3], [-1, 0, 1], [0, 1, 2, 2], [0.0, 1.0, 2.0], [True, 0, 2]]
)
def test_an_order_that_leaves_a_class_out_is_refused(order: list) -> None:
    with pytest.raises(ValueError, match="class_order"):
        split(Numbered([0, 1, 2]), ["a", "b", "c"], class_order=order)


@pytest.mark.parametrize("form", FORMS)
def test_an_order_of_every_form_is_one_of_ints(form: str) -> None:
    benchmark = split(Numbered([0, 1, 2]), ["a", "b", "c"], class_order=FORMS[form]([2, 0, 1]))
    assert benchmark.class_order == [2, 0, 1]
    assert {type(label) for label in benchmark.class_order} == {int}
    assert found_in(benchmark.train_stream) == [(2, 0), (0, 1), (1, 2)]


@pytest.mark.parametrize("counts", [[1.0, 2.0], [True, 2], ["1", "2"]])
def test_numbers_of_classes_are_whole(counts: list) -> None:
    three = Numbered([0, 1, 2])
    with pytest.raises(ValueError, match=r"classes_per_experience\[0\] is .* whole number"):
        split_images(three, three, ["a", "b", "c"], 2, classes_per_experience=counts)


@pytest.mark.parametrize(("train", "test"), [([], []), ([[0]], []), ([[0]], [[0], [0]])])
def test_data_sets_come_in_pairs(train: list, test: list) -> None:
    with pytest.raises(ValueError, match=f"train has {len(train)} data sets and test has"):
        join_images(list(map(Numbered, train)), list(map(Numbered, test)), ["a"])


def test_a_data_set_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"experiences \[1\] have no training or no test"):
        join_images([Numbered([0])] * 2, [Numbered([0]), Numbered([])], ["a"])
    with pytest.raises(DataError, match="1 of 2 classes have no test image: b"):
        split_images(Numbered([0, 1]), Numbered([0]), ["a", "b"], 2)


labels = st.lists(st.integers(0, 3), min_size=1, max_size=20)


@settings(max_examples=30)
@given(labels, st.permutations(range(4)), st.sampled_from([[1, 3], [2, 2], [1, 1, 2], [4]]))
def test_split_images_keeps_every_image_once(labels, order, counts) -> None:
    labels = [*labels, 0, 1, 2, 3]
    benchmark = split_images(
        Numbered(labels),
        Numbered([3, 2, 1, 0]),
        ["a", "b", "c", "d"],
        len(counts),
        classes_per_experience=counts,
        class_order=order,
        **PLAIN,
    )
    expected = [(i, order.index(label)) for i, label in enumerate(labels)]
    assert sorted(found_in(benchmark.train_stream)) == expected
    assert len(found_in(benchmark.test_stream)) == 4


@settings(max_examples=30)
@given(st.lists(labels, min_size=1, max_size=4))
def test_join_images_keeps_every_image_once(parts) -> None:
    train = [Numbered(part, first=100 * i) for i, part in enumerate(parts)]
    benchmark = join_images(train, train, ["a", "b", "c", "d"], **PLAIN)
    expected = [
        (100 * i + j, label) for i, part in enumerate(parts) for j, label in enumerate(part)
    ]
    assert found_in(benchmark.train_stream) == found_in(benchmark.test_stream) == expected


@settings(max_examples=30)
@given(labels, st.sampled_from(sorted(FORMS)), st.integers(0, 99))
def test_si_blurry_keeps_every_sample_once(labels, form: str, seed: int) -> None:
    n_classes = len(set(labels))
    tasks = si_blurry(
        FORMS[form](labels), n_classes, 0.3, 0.5, generator=torch.Generator().manual_seed(seed)
    )
    assert sorted(chain.from_iterable(tasks.indices)) == list(range(len(labels)))
    assert sorted(chain.from_iterable(tasks.classes)) == sorted(set(labels))


def test_online_pieces_keep_every_image_once() -> None:
    def count(stream: Any) -> Counter:
        return Counter(item[0].numpy().tobytes() for exp in stream for item in exp.dataset)

    digits = split_digits()
    assert count(online_benchmark(digits, 7).train_stream) == count(digits.train_stream)


def test_label_order_is_the_default_and_a_given_order_is_kept() -> None:
    assert order_of(3, None, None) == [0, 1, 2]
    assert order_of(3, (2, 0, 1), None) == [2, 0, 1]


def test_a_seed_draws_a_permutation_of_its_own() -> None:
    state = torch.get_rng_state()
    first, again, other = (order_of(50, None, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(first) == list(range(50)) != first
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("order", "order_seed", "message"),
    [
        ([0, 1, 2], 0, "order_seed=0 .*class_order=.* give one of the two"),
        ([0, 1], None, r"class_order=\[0, 1\] .* each of 0 to 2"),
        ([0, 1, 1], None, "not a permutation"),
    ],
)
def test_what_is_no_order_is_refused(order: list, order_seed: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        order_of(3, order, order_seed)
