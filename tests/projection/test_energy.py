"""Energies as numbers, as schedules, and one a kind of site."""

from __future__ import annotations

import math

import pytest
from models import images, small_vit
from torch import nn

from avl_pegp.pet import LoRA, attach
from avl_pegp.projection import PEGP
from avl_pegp.projection.settings import energy_at, require_energy


@pytest.mark.parametrize("energy", [0, -0.1, 1.0001, math.nan, math.inf, True, "0.9", None])
def test_energy_outside_its_range_is_refused(energy):
    with pytest.raises(ValueError, match=r"energy=.*above 0 and at most 1"):
        require_energy(energy)


@pytest.mark.parametrize("energy", [1e-6, 0.97, 1, 1.0])
def test_energy_in_its_range_is_a_float(energy):
    assert require_energy(energy) == energy
    assert type(require_energy(energy)) is float


@pytest.mark.parametrize(
    ("energy", "site", "expected"),
    [
        (0.97, "a", 0.97),
        (1, "a", 1.0),
        (lambda t: t / 10, "a", 0.3),
        ({"blocks.0.*": 0.9, "*.A": 0.8, "*": 0.7}, "blocks.0.A", 0.9),
        ({"blocks.0.*": 0.9, "*.A": 0.8, "*": 0.7}, "blocks.1.A", 0.8),
        ({"blocks.0.*": 0.9, "*.A": 0.8, "*": 0.7}, "head", 0.7),
        ({"*": 0.7, "head": 0.9}, "head", 0.7),
        ({"head": lambda t: 0.2 + t / 10, "*": 0.7}, "head", 0.5),
    ],
)
def test_the_first_pattern_that_fits_decides(energy, site, expected):
    assert energy_at(energy, site, experience=3) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        ({"*.A": 0.9, "*.B": 0.8}, r"energy has patterns \*\.A, \*\.B, none .* fits site head"),
        (lambda t: 1.2, r"energy=1\.2"),
        ({"*.A": 0.9, "*": lambda t: 0}, "energy=0"),
        ({"blok.*": 1.0, "*": 0.5}, r"energy has pattern 'blok\.\*', which fits no site"),
    ],
)
def test_what_only_a_site_or_an_experience_shows_is_refused_when_it_begins(energy, message):
    model = small_vit()
    attach(model, LoRA(2))
    pegp = PEGP(model, energy=energy)
    with pytest.raises(ValueError, match=message):
        pegp.begin()
    with pytest.raises(RuntimeError, match="call begin"):
        pegp.project_step()


@pytest.mark.parametrize("energy", [0.0, -1, 1.5, math.nan, "0.9", {"*": 1.5}, {"a": 1, "*": 0}])
def test_what_is_wrong_in_itself_is_refused_at_once(energy):
    with pytest.raises(ValueError, match="energy="):
        PEGP(nn.Identity(), energy=energy)


def test_a_mapping_without_patterns_is_refused_at_once():
    with pytest.raises(ValueError, match="energy={}: name at least one pattern"):
        PEGP(nn.Identity(), energy={})


def test_every_site_and_the_classifier_have_the_energy_of_their_pattern(protected):
    def ranks(energy):
        _, pegp, _, _ = protected(LoRA(8), energy=energy)
        return {**pegp.ranks(), "head": pegp.memory.heads["head"].basis.rank}

    low, full = ranks(0.6), ranks(1.0)
    assert all(low[name] < full[name] for name in full)
    for pattern in ("*.A", "blocks.1.*", "head"):
        mixed = ranks({pattern: 0.6, "*": 1.0})
        inside = {name for name in full if mixed[name] == low[name]}
        assert (
            inside and {name for name in full if mixed[name] == full[name]} == full.keys() - inside
        )
    assert inside == {"head"}


def test_a_schedule_is_asked_for_the_experience_by_its_index():
    asked = []

    def schedule(experience):
        asked.append(experience)
        return 0.9

    pegp = PEGP(nn.Sequential(nn.Linear(3, 2)).double(), energy=schedule)
    for t in range(3):
        pegp.begin()
        pegp.gather([images(1, seed=t)[0, :, :3, 0]])
        pegp.extend()
        assert set(asked) == {t}
        asked.clear()


def test_a_schedule_that_leaves_its_range_later_is_refused_before_anything_changes(protected):
    model, pegp, _, old = protected(energy=lambda t: 1.0 + t)
    ranks = pegp.ranks()
    pegp.gather([old])
    for call in (pegp.begin, pegp.extend):
        with pytest.raises(ValueError, match=r"energy=2\.0"):
            call()
    assert pegp.ranks() == ranks
