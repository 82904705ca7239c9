"""Accuracy matrices of streams trained in another order, in part, or twice: counted by hand."""

from __future__ import annotations

import pytest
from avalanche.benchmarks import (
    benchmark_from_datasets,
    nc_benchmark,
    ni_benchmark,
    split_online_stream,
)
from avalanche.training.supervised import JointTraining
from courses import LABELS, PER_CLASS, VIEWS, Course, OnlyTheLast, Right, data, four_tasks, part

from avl_pegp.benchmarks.domain_incremental import from_datasets
from avl_pegp.evaluation import AccuracyImage, AccuracyMatrices
from avl_pegp.evaluation import metrics as numbers


def numbers_of(matrix):
    return {
        "AverageAccuracy": numbers.average_accuracy(matrix),
        "Forgetting": numbers.forgetting(matrix),
        "BackwardTransfer": numbers.backward_transfer(matrix),
    }


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ((0, 1, 2, 3), (0, 1, 2, 3)),
        ((2, 1, 0, 3), (2, 1, 0, 3)),
        ((3, 0), (3, 0)),
        ((1, 2, 3), (1, 2, 3)),
        ((0, 0, 1), (0, 1)),  # the second time goes on with the first
        ((0, 1, 0), (1, 0)),  # learned anew, task 0 is the last one
        ((2, 0, 1, 0, 2, 2), (1, 0, 2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("ahead", [False, True])
def test_a_row_is_what_was_trained_then_and_a_column_its_test_experience(given, order, ahead):
    benchmark = four_tasks()
    course = Course(tasks=len(order))
    for k, task in enumerate(given):
        course.train(benchmark.train_stream[task])
        tests = range(4) if ahead else sorted({*given[: k + 1]})
        course.evaluate([benchmark.test_stream[j] for j in tests], row=task)
    for view, name in VIEWS.items():
        expected = course.expected(view, order, len(order))
        assert course.accuracy.result()[view] == expected
        for what, number in numbers_of(expected).items():
            assert course.stream_numbers()[f"{what}_{name}"] == pytest.approx(number)
        if ahead:
            rows = [[course.by_hand[view, i, j] for j in order] for i in order]
            assert course.accuracy.measured[view] == rows


def test_trained_backwards_a_model_that_knows_the_last_task_alone_has_transfer_minus_one():
    benchmark, course = four_tasks(), Course(3, OnlyTheLast())
    for task in (2, 1, 0):
        course.train(benchmark.train_stream[task], state=task)
        course.strategy.eval(benchmark.test_stream[task:3])
    for view in VIEWS.values():
        logged = course.stream_numbers()
        assert logged[f"BackwardTransfer_{view}"] == -1.0
        assert logged[f"Forgetting_{view}"] == 1.0
        assert logged[f"AverageAccuracy_{view}"] == pytest.approx(1 / 3)


def test_forward_transfer_is_of_the_order_of_training():
    benchmark, course, order = four_tasks(), Course(3), (3, 1, 2)
    course.evaluate(benchmark.test_stream, row="before")
    for task in order:
        course.train(benchmark.train_stream[task])
        course.evaluate(benchmark.test_stream, row=task)
    for view, name in VIEWS.items():
        before = [course.by_hand[view, "before", j] for j in order]
        ahead = [course.by_hand[view, i, j] for i, j in zip(("before", 3, 1), order, strict=True)]
        assert course.accuracy.initial[view] == before
        assert course.accuracy.ahead[view] == ahead
        number = course.stream_numbers()[f"ForwardTransfer_{name}"]
        assert number == pytest.approx((ahead[1] - before[1] + ahead[2] - before[2]) / 2)


def test_a_complete_test_set_is_counted_among_all_its_classes_and_is_no_tasks_own():
    benchmark, course = four_tasks(), Course(4, Right())
    complete = ni_benchmark(data(), data(), n_experiences=1).test_stream
    course.train(benchmark.train_stream[0])
    course.strategy.eval(complete)
    for name in VIEWS.values():
        assert course.logged.values[f"Top1_Acc_{name}/eval_phase/test_stream/Exp000"] == 1.0
    assert course.accuracy.result() == dict.fromkeys(VIEWS, [[None] * 4] * 4)
    assert course.stream_numbers() == {}


def test_a_complete_test_set_measured_before_training_gives_no_forward_transfer():
    benchmark, course = four_tasks(), Course(4)
    complete = ni_benchmark(data(), data(), n_experiences=1).test_stream
    course.strategy.eval(complete)
    course.train(benchmark.train_stream[0])
    assert course.accuracy.initial == course.accuracy.ahead == dict.fromkeys(VIEWS, [None] * 4)


@pytest.mark.parametrize("first", ["test", "valid"])
def test_a_validation_stream_has_matrices_of_its_own(first):
    benchmark = benchmark_from_datasets(
        **{
            name: [part(first, 2 * PER_CLASS, step) for first in range(0, 40, 2 * PER_CLASS)]
            for name, step in {"train": 1, "test": 2, "valid": 3}.items()
        }
    )
    streams = {"test": benchmark.test_stream, "valid": benchmark.valid_stream}
    courses = {name: Course(2) for name in streams}
    both = Course(2)
    for k, experience in enumerate(benchmark.train_stream[:2]):
        for name, course in courses.items():
            course.train(experience)
            course.evaluate(streams[name][: k + 1], row=k)
        both.train(experience)
        for name in (first, *streams.keys() - {first}):
            both.strategy.eval(streams[name][: k + 1])
    for name, course in courses.items():
        for view, short in VIEWS.items():
            expected = course.expected(view, (0, 1), 2)
            assert both.accuracy.of(name)[view] == expected
            average = both.stream_numbers(name)[f"AverageAccuracy_{short}"]
            assert average == pytest.approx(numbers.average_accuracy(expected))
    assert both.accuracy.result() == both.accuracy.of("test") != both.accuracy.of("valid")


def test_another_stream_may_fill_the_matrices_and_two_may_be_evaluated_at_once():
    benchmark, course = four_tasks(), Course(2)
    course.train(benchmark.train_stream[0])
    course.strategy.eval([*benchmark.train_stream[:1], *benchmark.test_stream[:1]])
    for stream in ("train", "test"):
        assert f"AverageAccuracy_TaskAware/eval_phase/{stream}_stream" in course.logged.values
    assert AccuracyMatrices(2, stream="valid").stream == "valid"


def test_no_image_of_the_test_stream_is_logged_as_that_of_another():
    benchmark, course = four_tasks(), Course(2, metrics=[AccuracyImage()])
    course.train(benchmark.train_stream[0])
    course.strategy.eval(benchmark.test_stream[:1])
    course.strategy.eval(benchmark.train_stream[1:2])
    assert "AccuracyMatrix/eval_phase/test_stream" in course.logged.values
    assert "AccuracyMatrix/eval_phase/train_stream" not in course.logged.values


def test_what_is_measured_half_way_through_a_task_is_in_no_matrix():
    """Plugins may finish a task after its last epoch: only what is measured then is of it."""
    benchmark = four_tasks()
    course = Course(2, train_epochs=2, eval_every=1)
    for k, experience in enumerate(benchmark.train_stream[:2]):
        course.logged.values.clear()
        course.train(experience, eval_streams=[benchmark.test_stream[: k + 1]])
        assert course.accuracy.task_aware[k] == [None, None]
        assert f"Top1_Acc_TaskAware/eval_phase/test_stream/Exp00{k}" in course.logged.values
        assert k or not course.stream_numbers()
        course.evaluate(benchmark.test_stream[: k + 1], row=k)
    for view in VIEWS:
        assert course.accuracy.result()[view] == course.expected(view, (0, 1), 2)


def test_what_is_measured_after_each_task_by_eval_every_0_is_in_the_matrices():
    benchmark = four_tasks()
    course = Course(2, train_epochs=2, eval_every=0)
    for k, experience in enumerate(benchmark.train_stream[:2]):
        course.train(experience, eval_streams=[benchmark.test_stream[: k + 1]], state=0)
    assert all(row is not None for row in course.accuracy.task_aware[1])


def test_a_gap_leaves_the_numbers_out_and_a_second_look_changes_nothing():
    benchmark, course = four_tasks(), Course(3)
    for k, experience in enumerate(benchmark.train_stream[:3]):
        course.train(experience)
        for _ in range(2):
            course.evaluate(benchmark.test_stream[k : k + 1], row=k)
    for view in VIEWS:
        expected = course.expected(view, (0, 1, 2), 3)
        assert course.accuracy.result()[view] == expected
        assert [row.count(None) for row in expected] == [2, 2, 2]
    assert course.stream_numbers()["AverageAccuracy_TaskAware"] == expected[0][0]  # of task 0 alone
    course.strategy.eval(benchmark.test_stream[:2])
    assert course.stream_numbers()["AverageAccuracy_TaskAware"] == expected[0][0]


@pytest.mark.parametrize("boundaries", [True, False])
def test_pieces_of_tasks_out_of_order(boundaries):
    benchmark, course, order = four_tasks(), Course(3), (2, 3, 0)
    for task in order:
        pieces = split_online_stream(
            benchmark.train_stream[task : task + 1], 3, access_task_boundaries=boundaries, seed=0
        )
        for piece in pieces:
            course.train(piece)
            course.evaluate(benchmark.test_stream, row=task)
    for view in VIEWS:
        assert course.accuracy.result()[view] == course.expected(view, order, 3)


def test_domains_of_equal_classes_out_of_order():
    benchmark, course, order = domains(), Course(3), (1, 2, 0)
    for k, task in enumerate(order):
        course.train(benchmark.train_stream[task])
        course.evaluate([benchmark.test_stream[j] for j in order[: k + 1]], row=task)
    for view in VIEWS:
        assert course.accuracy.result()[view] == course.expected(view, order, 3)


def domains():
    parts = [part(start, len(LABELS), PER_CLASS) for start in range(3)]
    transforms = {"train_transform": None, "eval_transform": None}
    return from_datasets(parts, parts, "abcdefgh", list(range(8)), **transforms)


def test_joint_training_has_all_classes_compete_and_belongs_to_no_single_task():
    benchmark, course = four_tasks(), Course(4, strategy=JointTraining)
    course.strategy.train(benchmark.train_stream, eval_streams=[])
    course.seen = set(range(8))
    course.strategy.eval(benchmark.test_stream)
    for view, name in VIEWS.items():
        for e in benchmark.test_stream:
            tag = f"Top1_Acc_{name}/eval_phase/test_stream/Exp00{e.current_experience}"
            assert course.logged.values[tag] == course.count(e, view)
    assert course.accuracy.result() == dict.fromkeys(VIEWS, [[None] * 4] * 4)
    assert course.stream_numbers() == {}


def test_an_experience_of_another_stream_is_refused():
    course = Course(4)
    course.train(four_tasks().train_stream[0])
    other = nc_benchmark(
        data(), data(), 4, task_labels=False, shuffle=False, fixed_class_order=list(range(8))[::-1]
    )
    with pytest.raises(ValueError, match=r"experience 0 has the classes \[6, 7\] and had \[0, 1\]"):
        course.train(other.train_stream[0])
