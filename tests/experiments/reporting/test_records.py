"""Folders of records that a report can be made of, and those that it can't."""

from __future__ import annotations

import json
import re
import sys

import pytest
import report
from reporting import template
from reporting.records import read_folder

from avl_pegp.evaluation import write_records


def test_a_folder_of_a_program_of_many_runs_is_read(tmp_path, rows):
    for i, row in enumerate(rows):
        write_records([row], tmp_path / f"{i}.json")
    assert len(read_folder(tmp_path)) == len(rows)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: None, "holds no records; give a folder with results.json"),
        (lambda folder: (folder / "results.json").write_text("[]"), "holds no records"),
        (lambda folder: folder.rmdir(), "is no folder"),
        (lambda folder: (folder / "results.json").write_text("[{}]"), "results.json does not hold"),
    ],
    ids=["empty", "no run", "absent", "older"],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, spoil, message, monkeypatch, capsys):
    folder = tmp_path / "runs"
    folder.mkdir()
    spoil(folder)
    monkeypatch.setattr(sys, "argv", ["report.py", str(folder), "--out", str(tmp_path / "p.html")])
    with pytest.raises(SystemExit):
        report.main()
    said = " ".join(capsys.readouterr().err.split())
    assert str(folder) in said
    assert message in said
    assert not (tmp_path / "p.html").exists()


def test_a_record_of_an_older_version_is_named_with_what_to_do(tmp_path, rows):
    write_records(rows, tmp_path / "results.json")
    older = json.loads((tmp_path / "results.json").read_text())
    del older[0]["ranks"]
    (tmp_path / "results.json").write_text(json.dumps(older))
    with pytest.raises(ValueError, match="results.json does not hold .*'ranks'.*run it again"):
        read_folder(tmp_path)


def test_a_folder_in_which_settings_are_mixed_is_refused(tmp_path, rows):
    write_records([*rows, rows[0]], tmp_path / "results.json")
    with pytest.raises(
        ValueError, match="holds none frozen seed 1 2 times on split_glyphs: runs of"
    ):
        template.parts_of([tmp_path])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"job": None}, "config.job is None"),
        ({"job": {"options": 5}}, "config.job.options is 5"),
        ({"job": {"training": []}}, "config.job.training is []"),
        ({"machine": "cpu"}, "config.machine is 'cpu'"),
        ({"lr": "fast"}, "config.lr is 'fast'"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_looked_into_are_refused(tmp_path, record, config, message):
    write_records([record("lora", "pegp", 1, 0.5, config=config)], tmp_path / "results.json")
    said = f"{tmp_path / 'results.json'}: of lora pegp seed 1, {message}: Input should be a valid "
    with pytest.raises(ValueError, match=re.escape(said) + ".*; run it again"):
        read_folder(tmp_path)


def test_runs_of_other_settings_are_not_averaged(tmp_path, record):
    def run(seed, **job):
        return record("lora", "pegp", seed, 0.5, config={"job": {"seed": seed, **job}})

    runs = [run(1, training={"epochs": 5}), run(2, training={"epochs": 1}, energy=0.5)]
    write_records(runs, tmp_path / "results.json")
    said = (
        f"{tmp_path}: runs of lora pegp on split_glyphs differ in more than their seed: of seeds "
        "1 and 2 energy is not set and 0.5, training.epochs is 5 and 1; put each set of "
        "settings into a folder of its own"
    )
    with pytest.raises(ValueError, match=re.escape(said)):
        template.parts_of([tmp_path])


def test_runs_of_other_seeds_on_other_machines_are_averaged(tmp_path, record):
    runs = [
        record("lora", "pegp", seed, 0.5, config={"job": {"seed": seed}, "machine": {"device": on}})
        for seed, on in enumerate(("cpu", "cuda"))
    ]
    write_records(runs, tmp_path / "results.json")
    (part,) = template.parts_of([tmp_path])
    assert [row.seeds for row in part.rows] == [[0, 1]]
