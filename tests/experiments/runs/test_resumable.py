"""Many runs: each done once, whatever happens in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fake_setting import run
from runs import resumable
from runs.job import Job
from runs.methods import PETS
from runs.training import Training

RECIPES = {"fake_setting": run}


def complete(jobs, folder, workers):
    return resumable.complete(jobs, RECIPES, folder, workers)


@pytest.fixture
def jobs(tmp_path):
    """Four runs, not in alphabetic order, of a setting that only takes notes."""
    options = {"notes": str(tmp_path), "train_per_class": 2}
    base = Job("fake_setting", "none", pet="lora", seed=1, options=options)
    return [replace(base, method=method) for method in ("z", "breaks", "a", "m")]


@pytest.fixture
def in_this_process(monkeypatch):
    """One worker that needs no process of its own, so that runs go one by one, in order."""

    def pool(workers, context):
        assert context.get_start_method() == "spawn"
        return ThreadPoolExecutor(workers)

    monkeypatch.setattr(resumable, "ProcessPoolExecutor", pool)


def done_in(folder):
    """The methods that were run, in order."""
    return [line.split("-")[1] for line in (folder / "runs.txt").read_text().split()]


@pytest.mark.long
def test_real_workers_keep_what_they_did_before_an_interruption(
    jobs, tmp_path, monkeypatch, request
):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (tmp_path / "breaks").touch()
    with pytest.raises(RuntimeError, match="lora-breaks-seed1 failed; what is done is kept"):
        complete(jobs, tmp_path / "out", workers=1)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert not (tmp_path / "out" / f"{jobs[1].label}.json").exists()
    done = done_in(tmp_path)
    assert done[:2] == ["z", "breaks"]

    (tmp_path / "breaks").unlink()
    request.getfixturevalue("in_this_process")
    records = complete(jobs, tmp_path / "out", workers=1)
    assert [r.method for r in records] == ["z", "breaks", "a", "m"]
    assert sorted(done_in(tmp_path)) == ["a", "breaks", "breaks", "m", "z"]
    by_worker = {r.method for r in records if r.config["process"] != os.getpid()}
    assert by_worker == {*done} - {"breaks"}
    assert {r.config["threads"] for r in records} == {"1"}


PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
import fake_setting
from runs.job import Job
from runs.resumable import complete

def run(job, logs):
    return fake_setting.run(job, logs)

if __name__ == "__main__":
    out = Path(sys.argv[3])
    job = Job("mine", "none", pet="lora", method="m", options={"notes": str(out.parent)})
    print(len(complete([job], {"mine": run}, out, workers=1)))
"""


@pytest.mark.long
def test_the_recipe_may_be_the_program_itself(tmp_path):
    (tmp_path / "mine.py").write_text(PROGRAM)
    folders = [str(Path(__file__).parents[i]) for i in (2, 3)]
    folders[1] += "/experiments"
    command = [sys.executable, str(tmp_path / "mine.py"), *folders, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
    assert done_in(tmp_path) == ["m"]


def test_records_come_in_the_order_of_jobs_and_runs_are_not_repeated(
    in_this_process, jobs, tmp_path
):
    first = complete(jobs, tmp_path / "out", workers=1)
    assert [r.method for r in first] == [job.method for job in jobs] == done_in(tmp_path)
    again = complete(jobs[::-1], tmp_path / "out", workers=1)
    assert again == first[::-1]
    assert len(done_in(tmp_path)) == 4
    assert complete([replace(jobs[0], seed=2), jobs[0]], tmp_path / "out", workers=1)[1] == first[0]
    assert len(done_in(tmp_path)) == 5


def test_each_run_has_a_file_and_a_folder_of_logs(in_this_process, jobs, tmp_path):
    out = tmp_path / "deep" / "out"
    records = complete(jobs, out, workers=1)
    assert {path.name for path in out.iterdir()} == {f"{job.label}.json" for job in jobs}
    for job, record in zip(jobs, records, strict=True):
        assert Path(record.config["logs"]) == out / "tensorboard" / job.label


def test_an_interruption_keeps_what_is_done(in_this_process, jobs, tmp_path):
    (tmp_path / "breaks").touch()
    with pytest.raises(RuntimeError, match="lora-breaks-seed1 failed; what is done is kept"):
        complete(jobs[:2], tmp_path / "out", workers=1)
    (tmp_path / "breaks").unlink()
    complete(jobs, tmp_path / "out", workers=1)
    assert done_in(tmp_path) == ["z", "breaks", "breaks", "a", "m"]


@pytest.mark.parametrize(
    ("field", "value", "then", "now"),
    [
        ("training", Training(epochs=9), "'epochs': 5", "'epochs': 9"),
        ("class_order", 7, "None", "7"),
        ("energy", 0.9, "None", "0.9"),
        ("backbone", "other", "'tiny_vit_32.latin'", "'other'"),
        ("options", {"train_per_class": 2, "split_file": "a"}, "{'notes'", "'split_file': 'a'"),
    ],
)
def test_a_folder_of_other_settings_is_refused(
    in_this_process, jobs, tmp_path, field, value, then, now
):
    complete(jobs[:1], tmp_path / "out", workers=1)
    other = [jobs[1], replace(jobs[0], **{field: value})]
    with pytest.raises(ValueError) as error:
        complete(other, tmp_path / "out", workers=1)
    before, after = str(error.value).split(", and ")
    assert before.startswith(f"{tmp_path / 'out' / jobs[0].label}.json was run with {field}=")
    assert then in before
    assert after.startswith(f"{field}=")
    assert now in after
    assert "give another folder, or remove that file" in after
    assert done_in(tmp_path) == ["z"]  # nothing was run


@pytest.mark.parametrize("spoil", ["[]", "twice", "no job", "job 5"])
def test_a_file_that_is_not_of_one_run_is_refused(in_this_process, jobs, tmp_path, spoil):
    complete(jobs[:1], tmp_path / "out", workers=1)
    path = tmp_path / "out" / f"{jobs[0].label}.json"
    (entry,) = json.loads(path.read_text())
    contents = {
        "[]": [],
        "twice": [entry, entry],
        "no job": [entry | {"config": {}}],
        "job 5": [entry | {"config": {"job": 5}}],
    }
    path.write_text(json.dumps(contents[spoil]))
    with pytest.raises(ValueError, match="does not hold the record of one run and its job: remove"):
        complete(jobs[:1], tmp_path / "out", workers=1)


def test_a_pet_that_was_tuned_otherwise_is_refused(in_this_process, jobs, tmp_path):
    complete(jobs[:1], tmp_path / "out", workers=1)
    other = replace(jobs[0], tuning=replace(PETS["lora"], lr=0.125))
    with pytest.raises(ValueError, match=r"was run with tuning=.*'lr': 0\.125.* is asked for"):
        complete([other], tmp_path / "out", workers=1)


def test_a_run_asked_for_twice_is_refused(in_this_process, jobs, tmp_path):
    with pytest.raises(ValueError, match="lora-z-seed1 is asked for twice: give each seed once"):
        complete([*jobs, jobs[0]], tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_options_compare_as_json_holds_them(in_this_process, jobs, tmp_path):
    job = replace(jobs[0], options={**jobs[0].options, "domains": ("sans", "mono")})
    assert complete([job], tmp_path / "out", 1) == complete([job], tmp_path / "out", 1)
    assert done_in(tmp_path) == ["z"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("setting", "online"),
        ("benchmark", "split_digits"),
        ("pet", "prefix"),
        ("method", "frozen"),
        ("seed", 2),
        ("head", "ncm"),
        ("boundaries", False),
        ("options", {"n_experiences": 20}),
    ],
)
def test_labels_tell_runs_apart(field, value):
    job = Job("class_incremental", "split_glyphs", "lora", "pegp", 1)
    assert job.label == "class_incremental-split_glyphs-lda-lora-pegp-seed1"
    assert replace(job, **{field: value}).label != job.label


def test_names_serve_as_files():
    assert Job("s", "b", "lora", "a/b, c x0.5", 1).name == "lora-a_b_c_x0.5-seed1"
