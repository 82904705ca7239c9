from collections import Counter

import pytest
import torch
from avalanche.benchmarks import NCScenario
from sklearn.datasets import load_digits

from avl_pegp.benchmarks import create_benchmark, split_digits


@pytest.fixture(scope="module")
def benchmark() -> NCScenario:
    return split_digits()


def images(stream) -> torch.Tensor:
    return torch.stack([item[0] for experience in stream for item in experience.dataset])


def test_there_are_five_experiences_of_two_digits(benchmark: NCScenario) -> None:
    for stream in (benchmark.train_stream, benchmark.test_stream):
        seen = [sorted(set(experience.dataset.targets)) for experience in stream]
        assert seen == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_no_digit_is_lost_and_a_quarter_of_each_class_is_held_out(benchmark: NCScenario) -> None:
    total = Counter(load_digits().target.tolist())
    held_out = Counter(
        label for experience in benchmark.test_stream for label in experience.dataset.targets
    )
    kept = Counter(
        label for experience in benchmark.train_stream for label in experience.dataset.targets
    )
    assert kept + held_out == total
    assert all(held_out[label] == total[label] // 4 for label in total)


def test_training_and_test_images_are_disjoint(benchmark: NCScenario) -> None:
    train = {image.numpy().tobytes() for image in images(benchmark.train_stream)}
    test = {image.numpy().tobytes() for image in images(benchmark.test_stream)}
    assert not train & test


def test_images_are_the_upsampled_digits(benchmark: NCScenario) -> None:
    image = benchmark.train_stream[0].dataset[0][0]
    assert image.shape == (3, 32, 32)
    assert torch.equal(image[0], image[2])
    assert image.min() == -1
    assert image.max() > 0.7  # interpolation takes something off the peaks
    shrunk = torch.nn.functional.avg_pool2d(image[:1], 4)[0]  # undoes it up to blur
    original = torch.from_numpy(load_digits().images[0]).float() / 8 - 1
    assert torch.corrcoef(torch.stack([shrunk.flatten(), original.flatten()]))[0, 1] > 0.95


def test_class_order_renumbers_labels_and_names() -> None:
    benchmark = split_digits(n_experiences=2, class_order=[9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    assert benchmark.class_names == tuple("9876543210")
    nines = sum(label == 0 for label in benchmark.train_stream[0].dataset.targets)
    nines += sum(label == 0 for label in benchmark.test_stream[0].dataset.targets)
    assert nines == (load_digits().target == 9).sum()


def test_task_labels_are_the_experiences_and_leave_class_labels_alone() -> None:
    benchmark = split_digits(task_labels=True, order_seed=0)
    for t, experience in enumerate(benchmark.train_stream):
        assert experience.task_labels == [t]
        assert {item[2] for item in experience.dataset} == {t}
        assert set(experience.dataset.targets) == {2 * t, 2 * t + 1}


def test_an_order_seed_is_a_class_order(benchmark: NCScenario) -> None:
    drawn = split_digits(order_seed=5)
    given = split_digits(class_order=drawn.class_order)
    assert drawn.class_order != benchmark.class_order == list(range(10))
    assert drawn.class_names == given.class_names
    assert torch.equal(images(drawn.train_stream), images(given.train_stream))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_experiences": 3}, "n_experiences=3 .* choose one of 1, 2, 5, 10"),
        ({"class_order": list(range(1, 11))}, "class_order=.* each of 0 to 9"),
        ({"class_order": list(range(10)), "order_seed": 0}, "order_seed=0 .* one of the two"),
    ],
)
def test_splits_that_do_not_work_out_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_benchmark("split_digits", **options)
