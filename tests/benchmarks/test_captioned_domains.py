import pytest
import torch
from avalanche.benchmarks import GenericCLScenario
from image_data import pixels

from avl_pegp.benchmarks import CAPTION_DOMAINS, SCENE_DOMAINS, captioned_domains
from avl_pegp.benchmarks.named_characters import NAMES
from avl_pegp.benchmarks.scenes import COLOURS, POSITIONS, TYPEFACES

#: The words by which a caption's four attributes are told.
WORDS = {
    "character": list(NAMES.values()),
    "colour": list(COLOURS),
    "typeface": list(TYPEFACES),
    "position": [f" the {position}" for position in POSITIONS],
}


@pytest.fixture(scope="module")
def benchmark() -> GenericCLScenario:
    return captioned_domains(characters="AB3")


def said(caption: str) -> dict[str, str]:
    """What a caption says, read from its words."""
    return {
        attribute: next(word for word in words if word in caption)
        for attribute, words in WORDS.items()
    }


def test_every_experience_has_every_caption_in_a_domain(benchmark: GenericCLScenario) -> None:
    assert benchmark.domains == CAPTION_DOMAINS
    assert set(SCENE_DOMAINS) - set(CAPTION_DOMAINS) == {"plain"}
    for stream in (benchmark.train_stream, benchmark.test_stream):
        assert [list(experience.dataset.targets) for experience in stream] == [list(range(360))] * 5


def test_captions_are_different_and_not_too_many() -> None:
    names = captioned_domains(("pale",)).class_names
    assert len(set(names)) == len(names) == 960


def test_a_foil_is_wrong_about_one_thing_and_says_something_else_of_it(
    benchmark: GenericCLScenario,
) -> None:
    assert benchmark.foil_attributes == tuple(WORDS)
    for experience, foils in zip(benchmark.test_stream, benchmark.foils, strict=True):
        labels = experience.dataset.targets
        assert (foils.dtype, foils.shape) == (torch.int64, (len(labels), 4))
        for label, row in zip(labels, foils.tolist(), strict=True):
            true = said(benchmark.class_names[label])
            for attribute, foil in zip(WORDS, row, strict=True):
                false = said(benchmark.class_names[foil])
                assert [key for key in WORDS if true[key] != false[key]] == [attribute]


def test_foils_of_a_colour_are_all_others(benchmark: GenericCLScenario) -> None:
    colours = torch.arange(360) // 15 % 8
    foils = torch.cat([foils[:, 1] // 15 % 8 for foils in benchmark.foils])
    true = colours.repeat(5)
    drawn = {(a, b) for a, b in zip(true.tolist(), foils.tolist(), strict=True)}
    assert drawn == {(a, b) for a in range(8) for b in range(8) if a != b}


def test_a_domain_is_the_same_whatever_others_there_are(benchmark: GenericCLScenario) -> None:
    chosen = captioned_domains(("blurred", "pale"), order_seed=0, characters="AB3")
    assert sorted(chosen.domains) == ["blurred", "pale"]
    for i, name in enumerate(chosen.domains):
        at = CAPTION_DOMAINS.index(name)
        assert torch.equal(pixels(chosen.test_stream[i]), pixels(benchmark.test_stream[at]))
        assert torch.equal(chosen.foils[i], benchmark.foils[at])


def test_domains_share_no_image_nor_do_training_and_test(benchmark: GenericCLScenario) -> None:
    images = [
        pixels(experience).flatten(1)
        for stream in (benchmark.train_stream, benchmark.test_stream)
        for experience in stream
    ]
    for i, one in enumerate(images):
        for other in images[:i]:
            assert (one - other).norm(dim=1).min() > 2


def test_the_seed_decides_pixels_and_foils(benchmark: GenericCLScenario) -> None:
    again, other = (captioned_domains(characters="AB3", seed=seed) for seed in (0, 1))
    for i in range(5):
        assert torch.equal(pixels(benchmark.test_stream[i]), pixels(again.test_stream[i]))
        assert torch.equal(benchmark.foils[i], again.foils[i])
        assert not torch.equal(pixels(benchmark.test_stream[i]), pixels(other.test_stream[i]))
        assert not torch.equal(benchmark.foils[i], other.foils[i])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domains": ()}, "one or more"),
        ({"domains": ("pale", "pale")}, "different"),
        ({"domains": ("plain",)}, "domains=.* tilted, pale, noisy"),
        ({"characters": "A"}, "characters='A' must be two or more"),
        ({"characters": "AA"}, "different"),
        ({"characters": "Ao"}, "character='o'"),
        ({"test_per_class": 0}, "test_per_class=0"),
    ],
)
def test_wrong_arguments_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        captioned_domains(**options)
