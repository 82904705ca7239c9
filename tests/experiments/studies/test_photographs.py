"""Heads and corrections side by side: each as if it had been the only one, and the page of all."""

from __future__ import annotations

import json
import re

import class_incremental
import pytest
from recorded import record
from runs.methods import METHODS, PETS
from runs.training import Training
from studies import photographs as study
from studies.sections import template
from studies.side_by_side import REFIT, STALE, SideBySide, told_apart

from avl_pegp import PEGPPlugin
from avl_pegp.heads import HEADS
from avl_pegp.plugins import CORRECTIONS


def job_of(method, **changes):
    base = template("class_incremental", "split_glyphs", training=Training(epochs=1), **changes)
    (job,) = base.variants([("lora", method)], [1], METHODS, pets=PETS)
    return job


def looked_on(method, folder, heads, corrections=()):
    meter = [PEGPPlugin(project="none", progress=False)] if corrections else []
    side = SideBySide(heads, corrections)
    made = class_incremental.run(job_of(method), folder, *meter, side)
    return made, side


@pytest.mark.usefixtures("tiny")
@pytest.mark.long
def test_each_head_answers_as_if_it_were_alone(tmp_path):
    made, side = looked_on("plain", tmp_path, ("lda", "ncm"))
    assert side.matrices["lda", STALE] == made.accuracy_matrix
    for pick, job in {
        ("ncm", STALE): job_of("plain", head="ncm"),
        ("lda", REFIT): job_of("plain_refit"),
    }.items():
        assert side.matrices[pick] == class_incremental.run(job, tmp_path / "alone").accuracy_matrix
    assert side.matrices["ncm", STALE] != side.matrices["lda", STALE]


@pytest.mark.usefixtures("tiny")
@pytest.mark.long
def test_each_correction_is_as_if_it_were_alone_and_is_told_what_it_explains(tmp_path):
    _, side = looked_on("plain", tmp_path, ("lda",), tuple(CORRECTIONS))
    for name in CORRECTIONS:
        alone = class_incremental.run(job_of("plain", correction=name), tmp_path / "alone")
        assert side.matrices["lda", name] == alone.accuracy_matrix
    explained = side.explained
    assert explained.pop(STALE) == 0
    assert explained.keys() == CORRECTIONS.keys()
    assert all(-10 < share < 1 and share != 0 for share in explained.values())


@pytest.mark.usefixtures("tiny")
@pytest.mark.long
def test_what_does_not_drift_is_as_good_as_new(tmp_path):
    _, side = looked_on("first_session", tmp_path, ("lda",))
    assert side.matrices["lda", STALE] == side.matrices["lda", REFIT]
    assert side.explained == {STALE: 0.0}


@pytest.mark.usefixtures("tiny")
@pytest.mark.long
def test_a_run_of_the_study_tells_all_heads_apart_again_from_its_file(tmp_path):
    from avl_pegp.evaluation import read_records, write_records

    (job,) = study.SECTIONS[0].jobs([1])[:1]
    plain = job_of("plain")
    made = study.run(plain, tmp_path / "logs")
    write_records([made], tmp_path / "results.json")
    (read,) = read_records(tmp_path / "results.json")
    told = told_apart(read)
    picks = {(head, name) for head in HEADS for name in (STALE, *CORRECTIONS, REFIT)}
    assert told.keys() == picks
    assert told["lda", STALE].average_accuracy == made.average_accuracy
    assert told["qda", STALE].head == "qda"
    assert job.class_order == 1


def told(job, accuracy):
    """A record of such a run, with made up numbers; PEGP is best with qda, corrected by a map."""
    matrices = {
        head: {
            name: [[accuracy + 0.02 * (head == "qda") + 0.01 * (name == "ridge"), None], [0.5, 0.5]]
            for name in (STALE, *CORRECTIONS, REFIT)
            if name in (STALE, REFIT) or job.does.tunes == "always"
        }
        for head in HEADS
    }
    for by_correction in matrices.values():
        for matrix in by_correction.values():
            matrix[1] = [matrix[0][0], matrix[0][0]]
    names = (STALE, *CORRECTIONS) if job.does.tunes == "always" else (STALE,)
    explained = {name: 0.25 * (name == "ridge") for name in names}
    return record(
        pet=job.pet,
        method=job.method,
        seed=job.seed,
        benchmark=job.benchmark,
        config={"side_by_side": {"matrices": matrices, "explained": explained}},
    )


def accuracy_of(job):
    return {"frozen": 0.5, "first_session": 0.6, "pegp": 0.7, "joint": 0.9}.get(job.method, 0.55)


@pytest.mark.parametrize("section", study.SECTIONS, ids=lambda section: section.benchmark)
def test_a_section_has_its_rows_heads_bounds_and_verdicts(section):
    jobs = section.jobs([1, 2, 3])
    text = study.written(section, [told(job, accuracy_of(job)) for job in jobs])
    assert text.startswith(f"\n## {section.title}")
    assert "{" not in text
    rows = [(job.pet, job.method) for job in section.jobs([1])]
    best = re.findall(r"^\| (\w+) \| ([\w. ]+) \| (\w+) \| (\w+) \| ([\d.]+) ±", text, re.M)
    assert [(pet, method) for pet, method, *_ in best] == rows
    for _, method, head, correction, final in best:
        drifts = method not in ("frozen", "first_session", "joint")
        assert (head, correction) == ("qda", "ridge" if drifts else STALE)
        if method == "pegp":
            assert final == "73.0"
    assert "`joint` ends at 92.0 ± 0.0" in text
    assert "The sequential bound is 72.0 ± 0.0: the features of lora pegp" in text
    assert "It lies +10.0 ± 0.0 above `first_session`." in text
    assert "PEGP with adapter, final accuracy, beyond one deviation: above `frozen`, " in text
    assert re.search(r"^\| pegp \| refit \| 70.0 ± 0.0 \| 70.0 ± 0.0 \| 70.0 ± 0.0 \|", text, re.M)
    assert "| lora | pegp | 25.0 ± 0.0 | 0.0 ± 0.0 |" in text


def test_a_stream_on_which_nothing_is_to_be_gained_is_called_so():
    section = study.SECTIONS[0]
    records = [told(job, 0.5) for job in section.jobs([1, 2])]
    assert "so that this stream shows stability only" in study.written(section, records)


def test_every_section_asks_for_all_rows_on_every_seed_in_an_order_of_its_own():
    jobs = study.jobs_of([1, 2])
    per_seed = sum(len(study.ROWS) + len(section.more) for section in study.SECTIONS)
    assert len(jobs) == 2 * per_seed
    assert {job.class_order for job in jobs} == {1, 2}
    assert all(job.backbone == "tiny_vit_32.photos" for job in jobs)
    for job in jobs:
        json.dumps(job.described())
