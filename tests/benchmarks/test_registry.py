"""What holds for every benchmark that is known by name."""

import inspect

import pytest
import torch

from avl_pegp.benchmarks import BENCHMARKS, create_benchmark
from avl_pegp.plugins.experience import classes_of

FEW = {"train_per_class": 3, "test_per_class": 1}


def build(name: str, **options):
    known = inspect.signature(BENCHMARKS[name]).parameters
    few = {field: count for field, count in FEW.items() if field in known}
    return create_benchmark(name, **few, **options)


def contents(benchmark) -> list:
    return [
        [(item[0].numpy().tobytes(), item[1]) for item in experience.dataset]
        for stream in (benchmark.train_stream, benchmark.test_stream)
        for experience in stream
    ]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_order_seed_draws_an_order_and_nothing_else_is_random(name: str) -> None:
    state = torch.get_rng_state()
    first, again, other = (build(name, order_seed=seed) for seed in (3, 3, 4))
    assert contents(first) == contents(again) != contents(other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_streams_go_together_and_classes_have_names(name: str) -> None:
    benchmark = build(name, order_seed=1)
    n_classes = len(benchmark.class_names)
    assert sorted(benchmark.class_order) == list(range(n_classes))
    assert len(benchmark.train_stream) == len(benchmark.test_stream)
    tested = set()
    for train, test in zip(benchmark.train_stream, benchmark.test_stream, strict=True):
        assert classes_of(train) == set(train.dataset.targets)
        assert classes_of(test) == set(test.dataset.targets)
        tested |= classes_of(test)
    assert tested == set(range(n_classes))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_item_is_a_normalised_image_and_a_label(name: str) -> None:
    for experience in build(name).test_stream:
        image, label = experience.dataset[0][:2]
        assert image.shape == (3, 32, 32)
        assert image.dtype == torch.float32
        assert -1 <= image.min() < image.max() <= 1
        assert isinstance(label, int)
