"""The programs of many runs on CLIP: what they ask for, and what they write of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import clip_incremental
import pytest
from runs import parts, resumable
from runs.methods import CLIP_METHODS
from runs.methods import CLIP_PETS as PETS
from studies import clip_results, clip_search

#: What is forgotten, lost on what is untouched, and hallucinated in these made-up runs.
COST = {"zero_shot": 0.1, "plain": 0.4, "plain_tuned": 0.2, "pegp": 0.15}
NAMES = (*clip_results.UNTOUCHED, "image_to_text", "text_to_image", "transfer", "average", "last")


@pytest.fixture
def asked(monkeypatch, tmp_path, record, launch):
    """Run a program that writes below ``tmp_path`` only, on made-up records; the jobs it asked for."""
    monkeypatch.setattr(clip_results, "PAGE", tmp_path / "clip_results.md")

    def made_of(job):
        cost = COST.get(job.method, 0.3)
        shares = {name: [0.9, 0.8 - cost] for name in NAMES}
        hallucination = dict.fromkeys(("hallucination", "hallucination_in_domains"), cost)
        names = {name: getattr(job, name) for name in ("setting", "benchmark", "head")}
        numbers = {"zero_shot": shares | hallucination, **names}
        made = record(job.pet, job.method, job.seed, 0.9 - cost, cost, **numbers)
        return replace(made, forgetting=cost)

    def run(program, *flags):
        found = []

        def made_up(jobs, recipes, folder, workers):
            found.extend(jobs)
            return [made_of(job) for job in jobs]

        monkeypatch.setattr(resumable, "complete", made_up)
        launch(program, tmp_path, *flags)
        return found

    return run


@pytest.mark.parametrize("program", [clip_results, clip_search], ids=lambda p: p.__name__)
def test_runs_are_well_formed_and_have_names_of_their_own(asked, program):
    jobs = asked(program, "--seeds", "1", "2")
    assert {job.seed for job in jobs} == {1, 2}
    assert max(Counter(job.label for job in jobs).values()) == 1
    for job in jobs:
        assert job.benchmark in clip_incremental.TEMPLATES
        assert (job.pet in PETS) if job.does.has_pet else (job.pet == "none")


def test_every_pet_stands_beside_its_controls(asked):
    jobs = asked(clip_results, "--seeds", "1")
    rows = {(job.benchmark, job.pet, job.method) for job in jobs}
    for benchmark, pet in {(benchmark, pet) for benchmark, pet, _ in rows if pet != "none"}:
        for method in ("plain", "plain_tuned", "first_session", "pegp"):
            assert (benchmark, pet, method) in rows
        assert (benchmark, "none", "zero_shot") in rows
    assert {pet for benchmark, pet, _ in rows if benchmark == "named_glyphs"} == {*PETS, "none"}


@pytest.mark.parametrize(("method", "share"), [("pegp_90", 0.9), ("pegp_75", 0.75)])
def test_soft_rows_take_their_share_of_a_step_with_every_pet_of_the_image_side(method, share):
    pets = [pet for pet in PETS if clip_results.softly_for(pet)]
    assert {*PETS} - {*pets} == {"text_lora", "context"}
    rows = [(pet, method) for pet in pets]
    for job in clip_results.SECTIONS[0].job.variants(rows, [0], CLIP_METHODS, pets=PETS):
        pegp = parts.pegp_of(job).pegp
        assert (pegp.protection.eta, pegp.protection.centred) == (share, True)


def test_losses_are_shares_of_what_each_plain_control_loses_beyond_zero_shot(asked, tmp_path):
    asked(clip_results, "--seeds", "1", "2")
    first, *_ = (tmp_path / "clip_results.md").read_text().split("\n## ")[1:]
    _, plain, tuned = first.split("What tuning costs")
    lost = "5.0 ± 0.0"
    for part, control, share in ((plain, "30.0 ± 0.0", "0.17"), (tuned, "10.0 ± 0.0", "0.50")):
        (line,) = (row for row in part.splitlines() if row.startswith("| lora | pegp |"))
        cells = [cell.strip() for cell in line.strip("|").split("|")][2:]
        assert cells[:3] == [lost, control, share]  # forgetting
        assert cells[6:12] == [lost, control, share] * 2  # untouched, and hallucination


def test_the_search_is_on_a_seed_that_is_not_reported(asked, capsys):
    jobs = asked(clip_search)
    assert {job.seed for job in jobs} == {0}
    assert {job.benchmark for job in jobs} == {"named_glyphs"}
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("plain x1 over all PETs: 60.0, plain x0.25 over all PETs: ")
