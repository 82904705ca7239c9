import pytest
import torch
from avalanche.benchmarks import GenericCLScenario
from image_data import pixels

from avl_pegp.benchmarks import NAMED_DATASETS, named_datasets
from avl_pegp.benchmarks.digits import load_parts
from avl_pegp.benchmarks.named_characters import NAMES, PRETRAINING_CHARACTERS

SMALL = {"train_per_class": 3, "test_per_class": 2}
#: Labels of each data set, and the name of its first class.
CLASSES = {
    "letters": (range(0, 10), "capital b"),
    "colours": (range(10, 18), "red character"),
    "greek": (range(18, 28), "capital delta"),
    "typefaces": (range(28, 31), "sans character"),
    "positions": (range(31, 36), "character on the left"),
    "cyrillic": (range(36, 46), "capital be"),
    "digits": (range(46, 56), "digit zero"),
}


@pytest.fixture(scope="module")
def benchmark() -> GenericCLScenario:
    return named_datasets(**SMALL)


def test_every_experience_is_a_data_set_with_classes_of_its_own(
    benchmark: GenericCLScenario,
) -> None:
    assert benchmark.datasets == NAMED_DATASETS == tuple(CLASSES)
    for stream, count in ((benchmark.train_stream, 3), (benchmark.test_stream, 2)):
        for experience, (labels, _) in zip(stream, CLASSES.values(), strict=True):
            assert list(experience.dataset.targets) == [i for i in labels for _ in range(count)]


def test_names_are_words_of_which_no_two_are_alike(benchmark: GenericCLScenario) -> None:
    assert len(set(benchmark.class_names)) == len(benchmark.class_names) == 56
    assert benchmark.class_order == list(range(56))
    for labels, first in CLASSES.values():
        assert benchmark.class_names[labels[0]] == first
    assert benchmark.template.format(benchmark.class_names[46]) == "a digit zero"


def test_letters_are_known_from_pretraining_but_the_cyrillic_ones(
    benchmark: GenericCLScenario,
) -> None:
    known = {NAMES[character] for character in PRETRAINING_CHARACTERS}
    for name in ("letters", "greek", "cyrillic"):
        names = {benchmark.class_names[label] for label in CLASSES[name][0]}
        assert len(names & known) == (0 if name == "cyrillic" else 10)


def test_scanned_digits_are_those_of_split_digits(benchmark: GenericCLScenario) -> None:
    for stream, whole in zip(
        (benchmark.train_stream, benchmark.test_stream), load_parts(), strict=True
    ):
        zeros = torch.tensor(whole.targets) == 0
        first = whole.images[zeros][0].float() / 127.5 - 1
        assert torch.equal(pixels(stream[6])[0], first)


def test_of_scanned_digits_there_are_no_more_than_there_are() -> None:
    _, test = load_parts()
    many = named_datasets(train_per_class=1, test_per_class=60)
    assert len(many.test_stream[6].dataset) == len(test) < 10 * 60


def test_an_order_takes_the_images_along(benchmark: GenericCLScenario) -> None:
    shuffled = named_datasets(order_seed=1, **SMALL)
    assert shuffled.datasets != benchmark.datasets
    for name, train, test in zip(
        shuffled.datasets, shuffled.train_stream, shuffled.test_stream, strict=True
    ):
        at = NAMED_DATASETS.index(name)
        assert torch.equal(pixels(train), pixels(benchmark.train_stream[at]))
        assert torch.equal(pixels(test), pixels(benchmark.test_stream[at]))


def test_the_seed_decides_the_pixels_of_what_is_rendered(benchmark: GenericCLScenario) -> None:
    other = named_datasets(seed=1, **SMALL)
    same = [
        torch.equal(pixels(mine), pixels(its))
        for mine, its in zip(benchmark.train_stream, other.train_stream, strict=True)
    ]
    assert same == [False] * 6 + [True]


@pytest.mark.parametrize("field", ["train_per_class", "test_per_class"])
def test_wrong_arguments_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}=0"):
        named_datasets(**{field: 0})
