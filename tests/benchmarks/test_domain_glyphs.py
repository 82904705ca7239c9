import re

import pytest
import torch
from avalanche.benchmarks import GenericCLScenario
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from image_data import pixels
from torch import nn

from avl_pegp.benchmarks import (
    CORRUPTIONS,
    DOMAINS,
    FONTS,
    GLYPHS,
    domain_glyphs,
    join_domains,
    render_glyphs,
)
from avl_pegp.benchmarks.corruptions import corruption_generator
from avl_pegp.benchmarks.data import ImageDataset, normalise
from avl_pegp.benchmarks.glyphs import DARK_INK
from avl_pegp.evaluation import AccuracyMatrices
from avl_pegp.plugins.experience import classes_of

SMALL = {"n_classes": 6, "train_per_class": 3, "test_per_class": 2}


@pytest.fixture(scope="module")
def benchmark() -> GenericCLScenario:
    return domain_glyphs(**SMALL)


def test_every_experience_has_all_classes_of_one_domain(benchmark: GenericCLScenario) -> None:
    assert benchmark.domains == DOMAINS
    assert len(DOMAINS) == 8
    for stream, count in ((benchmark.train_stream, 3), (benchmark.test_stream, 2)):
        assert len(stream) == 8
        for experience in stream:
            assert sorted(experience.dataset.targets) == sorted(list(range(6)) * count)
            assert classes_of(experience) == set(experience.classes_in_this_experience)
            assert classes_of(experience) == set(range(6))


def test_names_are_by_label(benchmark: GenericCLScenario) -> None:
    assert benchmark.class_names == GLYPHS[:6]
    assert benchmark.class_order == list(range(6))


def test_no_two_domains_share_an_image_nor_training_and_test(benchmark: GenericCLScenario) -> None:
    """Not even under the corruption: undone, an inverted image is none of the sans ones."""
    at = {name: i for i, name in enumerate(DOMAINS)}
    sans, negative = (pixels(benchmark.train_stream[at[n]]) for n in ("sans", "inverted"))
    distance = torch.cdist(sans.flatten(1), -negative.flatten(1))
    assert distance.min() > 5
    test = pixels(benchmark.test_stream[at["sans"]])
    assert torch.cdist(sans.flatten(1), test.flatten(1)).min() > 5


def test_a_domain_is_the_same_whatever_others_there_are(benchmark: GenericCLScenario) -> None:
    chosen = domain_glyphs(("occluded", "serif"), **SMALL)
    assert chosen.domains == ("occluded", "serif")
    for experience, name in zip(chosen.train_stream, chosen.domains, strict=True):
        full = benchmark.train_stream[DOMAINS.index(name)]
        assert torch.equal(pixels(experience), pixels(full))


@pytest.mark.parametrize(
    ("name", "fonts", "corruption"),
    [
        ("sans", "DejaVuSans(-|$)", "plain"),
        ("serif", "DejaVuSerif", "plain"),
        ("mono", "DejaVuSansMono", "plain"),
        *((name, "DejaVuSans(-|$)", name) for name in DOMAINS[3:]),
    ],
)
def test_a_domain_is_a_family_of_fonts_under_a_corruption(
    name: str, fonts: str, corruption: str
) -> None:
    own = 8 * 2 + DOMAINS.index(name)  # every domain has a seed of its own
    family = [font for font in FONTS if re.match(fonts, font)]
    assert len(family) == 4
    letters, _ = render_glyphs(GLYPHS[:6], 2, 2 * own + 1, 32, family, DARK_INK)
    expected = CORRUPTIONS[corruption](letters, corruption_generator(2 * own + 1))
    test = domain_glyphs([name], seed=2, **SMALL).test_stream[0]
    assert torch.equal(pixels(test), normalise(expected))


def test_a_seed_draws_the_order_of_the_domains() -> None:
    options = {"n_classes": 1, "train_per_class": 1, "test_per_class": 1}
    first, again, other = (domain_glyphs(order_seed=seed, **options) for seed in (0, 0, 1))
    assert first.domains == again.domains != other.domains
    assert sorted(first.domains) == sorted(DOMAINS)
    assert sorted(domain_glyphs(["mono", "sans"], 0, **options).domains) == ["mono", "sans"]


def test_naive_learns_it_and_the_accuracies_are_gathered() -> None:
    benchmark = domain_glyphs(("sans", "inverted"), **SMALL)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 6))
    accuracy = AccuracyMatrices(2)
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=1e-2),
        train_mb_size=6,
        evaluator=EvaluationPlugin(
            accuracy, accuracy_metrics(experience=True), loggers=[BaseLogger()]
        ),
    )
    for i, experience in enumerate(benchmark.train_stream):
        strategy.train(experience)
        strategy.eval(benchmark.test_stream[: i + 1])
    assert accuracy.class_incremental == accuracy.task_aware
    assert accuracy.class_incremental[0][1] is None
    assert all(0 <= value <= 1 for value in accuracy.class_incremental[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domains": ("sans", "sketch")}, r"domains=.*'sketch'.* sans, serif, mono, blurred"),
        ({"domains": ()}, "one or more"),
        ({"domains": ("sans", "sans")}, "different"),
        ({"n_classes": 0}, "n_classes=0 must be from 1 to 70"),
        ({"n_classes": 71}, "n_classes=71"),
        ({"test_per_class": 0}, "test_per_class=0"),
    ],
)
def test_wrong_arguments_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        domain_glyphs(**options)


def labelled(*labels: int) -> ImageDataset:
    return ImageDataset(torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8), torch.tensor(labels))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ((0, 2), (0, 1, 2), "the training data of domain 'night' has no image of class 'dog'"),
        ((0, 1, 2), (0,), "the test data of domain 'night' has no image of class 'dog', 'fox'"),
        ((0, 1, 2, 3), (0, 1, 2), r"the training data of domain 'night' has labels \[3\]"),
    ],
)
def test_a_domain_with_other_classes_is_refused_by_name(train, test, message: str) -> None:
    whole = labelled(0, 1, 2)
    domains = {"day": (whole, whole), "night": (labelled(*train), labelled(*test))}
    with pytest.raises(ValueError, match=message):
        join_domains(
            domains, ["cat", "dog", "fox"], train_transform=normalise, eval_transform=normalise
        )


def test_transforms_are_of_their_mode() -> None:
    whole = labelled(0)
    benchmark = join_domains(
        {"day": (whole, whole)},
        ["cat"],
        train_transform=lambda image: image + 1,
        eval_transform=lambda image: image + 2,
    )
    dataset = benchmark.train_stream[0].dataset
    assert (dataset.train()[0][0] == 1).all()
    assert (dataset.eval()[0][0] == 2).all()
    assert (benchmark.test_stream[0].dataset[0][0] == 2).all()
