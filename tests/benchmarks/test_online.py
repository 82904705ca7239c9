import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import nn

from avl_pegp.benchmarks import blurry_digits, online_benchmark, split_digits
from avl_pegp.plugins.experience import classes_of, is_online, origin_of, task_of


@pytest.fixture(scope="module")
def digits():
    return split_digits()


def labels(stream) -> list[list[int]]:
    return [list(piece.dataset.targets) for piece in stream]


@pytest.mark.parametrize("batch_size", [1, 7, 10, 10_000])
def test_the_length_is_the_number_of_pieces(batch_size: int) -> None:
    stream = online_benchmark(blurry_digits(), batch_size).train_stream
    assert len(stream) == sum(1 for _ in stream)


def test_every_sample_comes_once_in_its_experience_and_in_small_pieces(digits) -> None:
    stream = online_benchmark(digits, 32).train_stream
    seen = {}
    for i, piece in enumerate(stream):
        assert is_online(piece)
        assert piece.current_experience == i
        assert piece.origin_stream is stream
        task = origin_of(piece).current_experience
        seen.setdefault(task, []).append(piece.dataset.targets)
    assert list(seen) == list(range(5))
    for task, pieces in seen.items():
        assert {len(piece) for piece in pieces[:-1]} == {32}
        whole = sorted(digits.train_stream[task].dataset.targets)
        assert sorted(label for piece in pieces for label in piece) == whole


def test_each_pass_is_the_same_even_side_by_side_and_the_seed_decides(digits) -> None:
    first, other = (online_benchmark(digits, seed=seed).train_stream for seed in (0, 1))
    assert labels(first) == labels(first) != labels(other)
    pairs = zip(first, first, strict=True)
    assert all(torch.equal(a.dataset[0][0], b.dataset[0][0]) for a, b in pairs)


def test_pieces_are_those_of_avalanche(digits) -> None:
    theirs = split_online_stream(digits.train_stream, 10, seed=3)
    assert labels(online_benchmark(digits, seed=3).train_stream) == labels(theirs)


def test_samples_are_shuffled_without_the_global_random_state(digits) -> None:
    state = torch.get_rng_state()
    first = labels(online_benchmark(digits, 20).train_stream)[0]
    assert first != sorted(first)
    assert torch.equal(state, torch.get_rng_state())


def test_boundaries_are_known_only_when_asked_for(digits) -> None:
    known = next(iter(online_benchmark(digits).train_stream))
    assert classes_of(known) == classes_of(task_of(known)) == {0, 1}
    unknown = next(iter(online_benchmark(digits, boundaries=False).train_stream))
    assert task_of(unknown) is None
    assert classes_of(unknown) == set(unknown.dataset.targets)


def test_the_rest_is_that_of_the_given_benchmark(digits) -> None:
    online = online_benchmark(digits)
    assert online.test_stream is digits.test_stream
    assert (online.class_names, online.class_order) == (digits.class_names, digits.class_order)


def test_naive_learns_it_in_one_pass(digits) -> None:
    online = online_benchmark(digits, 50)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    metrics = EvaluationPlugin(accuracy_metrics(experience=True), loggers=[BaseLogger()])
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=1e-3),
        train_mb_size=50,
        evaluator=metrics,
    )
    strategy.train(online.train_stream, eval_streams=[])
    assert strategy.clock.train_iterations == len(online.train_stream)
    results = strategy.eval(online.test_stream)
    assert results["Top1_Acc_Exp/eval_phase/test_stream/Task000/Exp004"] > 0.5


@pytest.mark.parametrize("batch_size", [0, -1])
def test_an_empty_piece_is_refused(digits, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size={batch_size} must be at least 1"):
        online_benchmark(digits, batch_size)
