"""The commands that make a row of the report again."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace

import class_incremental
import clip_incremental
import online
import pytest
from reporting.settings import command_of
from runs.job import Job
from runs.older import YOUNGER

FLAGS = [
    (class_incremental, "--methods pegp --no-controls"),
    (class_incremental, "--benchmark shifted_glyphs --head ncm --seeds 1 2 --epochs 1 --lr 0.007"),
    (
        class_incremental,
        "--methods ewc l2 plain_tuned --pet adapter prompt --energy 0.9 --batch-size 8",
    ),
    (class_incremental, "--options train_per_class=3 test_per_class=2 --class-order-seed 4"),
    (online, "--benchmark blurry_glyphs --no-boundaries --every 5"),
    (class_incremental, "--methods pegp plain --correction moments"),
    (online, "--weights random"),
    (clip_incremental, "--methods zscl vr_lwf pegp_references --no-controls"),
]


@pytest.mark.parametrize(("program", "flags"), FLAGS, ids=[flags for _, flags in FLAGS])
@pytest.mark.long
def test_a_command_asks_for_the_same_runs_again(
    program, flags, record, tmp_path, launch, monkeypatch
):
    asked = []
    monkeypatch.setattr(program, "run_all", lambda jobs, *rest: asked.append(jobs))
    launch(program, tmp_path, *shlex.split(flags))
    for job in asked[0]:
        command = command_of([made_of(job, record)])
        python, script, *words = shlex.split(command)
        assert (python, script) == ("python", f"experiments/{program.__name__}.py")
        words = words[: words.index("--out")]
        launch(program, tmp_path / "again", *words)
        (again,) = asked[-1]
        assert again == job


def made_of(job, record):
    """The record of a run that was not done."""
    config = {"job": job.described(), "machine": asdict(job.machine)}
    if job.does.has_pet:
        config["lr"] = job.does.lr_factor * job.tuning.lr
    names = {name: getattr(job, name) for name in ("setting", "benchmark", "head")}
    made = record(job.pet, job.method, job.seed, 0.5, config=config, **names)
    return replace(made, backbone=job.backbone)


def test_runs_that_no_flags_can_say_have_no_command(record):
    base = class_incremental.Job("class_incremental", "split_glyphs", pet="lora", method="pegp")
    tuned = base.variants([("lora", "pegp")], [0])[0]
    assert command_of([made_of(tuned, record)])
    other = [
        replace(tuned, method="of_a_recipe"),
        replace(tuned, training=replace(tuned.training, optimizer="sgd")),
        replace(tuned, tuning=replace(tuned.tuning, pegp={"energy": 0.123})),
        replace(tuned, backbone_options={"img_size": 64}),
    ]
    assert [command_of([made_of(job, record)]) for job in other] == [""] * 4
    assert command_of([record("lora", "pegp", 1, 0.5)]) == ""  # an older version told no job


@pytest.mark.parametrize("row", [("none", "frozen"), ("lora", "pegp")], ids=" ".join)
@pytest.mark.parametrize("missing", sorted(Job("", "").described().keys() - YOUNGER.keys()))
def test_a_record_of_a_version_without_a_field_has_no_command(record, row, missing):
    (job,) = Job("class_incremental", "split_glyphs").variants([row], [0])
    made = made_of(job, record)
    assert command_of([made])
    del made.config["job"][missing]
    assert command_of([made]) == ""


@pytest.mark.parametrize("younger", YOUNGER)
def test_a_record_from_before_a_field_there_was_has_the_command_that_it_had(record, younger):
    (job,) = Job("class_incremental", "split_glyphs").variants([("lora", "pegp")], [0])
    made = made_of(job, record)
    command = command_of([made])
    del made.config["job"][younger]
    assert command_of([made]) == command != ""
