import pytest
import torch
from avalanche.benchmarks import NCScenario

from avl_pegp.benchmarks import (
    NAMED_GLYPH_DOMAINS,
    NAMED_GLYPHS,
    UNTOUCHED_CHARACTERS,
    named_glyphs,
)
from avl_pegp.benchmarks.named_characters import HELD_OUT_CHARACTERS, NAMES, PRETRAINING_CHARACTERS

SMALL = {"train_per_class": 2, "test_per_class": 2}


@pytest.fixture(scope="module")
def benchmark() -> NCScenario:
    return named_glyphs(**SMALL)


def pixels(dataset) -> torch.Tensor:
    return torch.stack([item[0] for item in dataset])


def test_every_experience_brings_five_new_characters(benchmark: NCScenario) -> None:
    assert len(NAMED_GLYPHS) == 50
    for stream in (benchmark.train_stream, benchmark.test_stream):
        classes = [sorted(experience.classes_in_this_experience) for experience in stream]
        assert classes == [list(range(5 * i, 5 * i + 5)) for i in range(10)]
        assert {len(experience.dataset) for experience in stream} == {10}


def test_names_are_words_by_label(benchmark: NCScenario) -> None:
    order = list(range(49, -1, -1))
    backwards = named_glyphs(class_order=order, **SMALL)
    assert benchmark.class_names == tuple(NAMES[character] for character in NAMED_GLYPHS)
    assert backwards.class_names == benchmark.class_names[::-1]
    assert backwards.template == benchmark.template == "a {}"


def test_learned_untouched_and_held_out_characters_are_apart() -> None:
    assert sorted((*NAMED_GLYPHS, *UNTOUCHED_CHARACTERS)) == sorted(PRETRAINING_CHARACTERS)
    assert not set(HELD_OUT_CHARACTERS) & set(PRETRAINING_CHARACTERS)


def test_untouched_data_is_what_no_experience_has(benchmark: NCScenario) -> None:
    names = {kind: names for kind, (_, names) in benchmark.untouched.items()}
    assert names["untouched_characters"] == tuple(NAMES[each] for each in UNTOUCHED_CHARACTERS)
    assert names["held_out_characters"] == tuple(NAMES[each] for each in HELD_OUT_CHARACTERS)
    assert names["other_domain"] == benchmark.class_names
    assert names["colours"][0] == "red character"
    learned = set(benchmark.class_names)
    assert not learned & {
        name for kind, own in names.items() if kind != "other_domain" for name in own
    }


def test_untouched_data_is_normalised_and_has_its_own_labels(benchmark: NCScenario) -> None:
    for data, names in benchmark.untouched.values():
        assert data.targets == [label for label in range(len(names)) for _ in range(2)]
        image, label = data[0]
        assert (image.shape, image.dtype, label) == ((3, 32, 32), torch.float32, 0)
        assert -1 <= image.min() < image.max() <= 1


def test_experiences_go_through_the_domains(benchmark: NCScenario) -> None:
    assert benchmark.domains == (*NAMED_GLYPH_DOMAINS, *NAMED_GLYPH_DOMAINS, "tilted", "pale")
    assert named_glyphs(n_experiences=2, **SMALL).domains == ("tilted", "pale")


def test_the_first_experience_is_tilted_the_second_pale_and_the_other_domain_out_of_focus() -> None:
    """Of the stem of a 1, of the median pixel, and of the differences between neighbours."""
    one = NAMED_GLYPHS.index("1")
    order = [one, *(c for c in range(50) if c != one)]
    many = named_glyphs(class_order=order, train_per_class=1, test_per_class=40)
    stream = pixels(many.test_stream[0].dataset)[:40]
    other = pixels(many.untouched["other_domain"][0])[one * 40 :][:40]
    assert leaning(stream) > 20 > 5 > leaning(other)
    assert pixels(many.test_stream[1].dataset).median() > stream.median() + 0.3
    sharp = pixels(many.untouched["untouched_characters"][0])
    assert (other.diff().abs().mean()) < 0.5 * sharp.diff().abs().mean()


def leaning(images: torch.Tensor) -> float:
    """How far the long axis of the ink leans to the left, in degrees, in the mean."""
    angles = []
    for image in images:
        light = (image - image.flatten(1).median(1).values[:, None, None]).abs().sum(0)
        ink = light > 0.6 * light.max()
        down, right = torch.cov(ink.nonzero().T.float())
        angles.append(0.5 * torch.atan2(2 * down[1], down[0] - right[1]))
    return float(torch.rad2deg(torch.stack(angles)).mean())


def test_the_seed_decides_the_pixels(benchmark: NCScenario) -> None:
    again, other = (named_glyphs(seed=seed, **SMALL) for seed in (0, 1))
    for stream in ("train_stream", "test_stream"):
        first = pixels(getattr(benchmark, stream)[3].dataset)
        assert torch.equal(first, pixels(getattr(again, stream)[3].dataset))
        assert not torch.equal(first, pixels(getattr(other, stream)[3].dataset))
    for kind, (data, _) in benchmark.untouched.items():
        assert torch.equal(pixels(data), pixels(again.untouched[kind][0]))
        assert not torch.equal(pixels(data), pixels(other.untouched[kind][0]))
