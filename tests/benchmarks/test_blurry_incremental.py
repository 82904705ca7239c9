import pytest
import torch
from avalanche.benchmarks import GenericCLScenario

from avl_pegp.benchmarks import GLYPHS, blurry_digits, blurry_glyphs, render_glyphs, split_digits
from avl_pegp.benchmarks.glyphs import STREAM

SMALL = {"train_per_class": 10, "test_per_class": 2}


@pytest.fixture(scope="module")
def benchmark() -> GenericCLScenario:
    return blurry_glyphs(**SMALL)


def image_set(stream) -> list[bytes]:
    return sorted(item[0].numpy().tobytes() for exp in stream for item in exp.dataset)


def test_test_experiences_have_the_classes_that_are_owned(benchmark: GenericCLScenario) -> None:
    labels = [sorted(set(experience.dataset.targets)) for experience in benchmark.test_stream]
    assert [label for own in labels for label in own] == list(
        range(70)
    )  # labels count up over the owners
    for experience, own in zip(benchmark.test_stream, labels, strict=True):
        assert sorted(experience.classes_in_this_experience) == own
        assert len(experience.dataset) == 2 * len(own)


def test_training_experiences_tell_what_really_occurs(benchmark: GenericCLScenario) -> None:
    strays = 0
    for train, test in zip(benchmark.train_stream, benchmark.test_stream, strict=True):
        occurring = set(train.dataset.targets)
        assert set(train.classes_in_this_experience) == occurring
        strays += len(occurring - set(test.classes_in_this_experience))
    assert strays > 10


def test_every_image_is_there_once_under_its_label(benchmark: GenericCLScenario) -> None:
    images, labels = render_glyphs(GLYPHS, 10, seed=0, variation=STREAM)
    names = {
        (image.float() / 127.5 - 1).numpy().tobytes(): GLYPHS[label]
        for image, label in zip(images, labels.tolist(), strict=True)
    }
    seen = [item for experience in benchmark.train_stream for item in experience.dataset]
    assert len(seen) == len(names) == 700
    for image, label, *_ in seen:
        assert names.pop(image.numpy().tobytes()) == benchmark.class_names[label]


def test_the_order_of_learning_is_told(benchmark: GenericCLScenario) -> None:
    assert sorted(benchmark.class_order) == list(range(70))
    assert benchmark.class_names == tuple(GLYPHS[label] for label in benchmark.class_order)


def test_the_order_seed_draws_the_tasks_and_the_seed_the_pixels(
    benchmark: GenericCLScenario,
) -> None:
    zero, other = (blurry_glyphs(order_seed=seed, **SMALL) for seed in (0, 1))
    assert zero.class_order == benchmark.class_order != other.class_order
    assert image_set(zero.train_stream) == image_set(other.train_stream)
    pixels = blurry_glyphs(seed=1, **SMALL)
    assert pixels.class_order == benchmark.class_order
    assert image_set(pixels.train_stream) != image_set(benchmark.train_stream)


def test_digits_are_those_of_the_split_ones() -> None:
    benchmark, split = blurry_digits(), split_digits()
    for stream in ("train_stream", "test_stream"):
        assert image_set(getattr(benchmark, stream)) == image_set(getattr(split, stream))
    image, label = benchmark.test_stream[0].dataset[0][:2]
    name = benchmark.class_names[label]
    candidates = [
        item[0] for exp in split.test_stream for item in exp.dataset if str(item[1]) == name
    ]
    assert any(torch.equal(image, candidate) for candidate in candidates)


def test_without_blurry_classes_it_is_class_incremental() -> None:
    benchmark = blurry_digits(disjoint=1.0)
    for train, test in zip(benchmark.train_stream, benchmark.test_stream, strict=True):
        assert set(train.dataset.targets) == set(test.dataset.targets)


@pytest.mark.parametrize("build", [blurry_digits, blurry_glyphs])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_experiences": 71}, "n_experiences=71"),
        ({"disjoint": 2}, "disjoint=2"),
        ({"blurry": -1}, "blurry=-1"),
    ],
)
def test_wrong_arguments_are_refused(build, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)
