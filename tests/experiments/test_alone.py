"""Every program with ``--out`` is alone there: a second ends at once, by name, and touches nothing."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import class_incremental
import pytest
from runs import command_line, resumable

from avl_pegp.evaluation import alone_at

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SETTINGS = "class_incremental task_incremental domain_incremental online clip_incremental".split()
MANY = tuple(
    f"studies.{name}"
    for name in (
        *("results", "clip_results", "ablation", "search", "clip_search", "sweep_energy"),
        *("photographs", "photo_search"),
    )
)
FILES = ("tiny_vit", "tiny_clip", "tiny_vit_photos", "report", "studies.photo_features")
FOLDERS = (*SETTINGS, *MANY, "reproduce", "studies.inspection", "screenshots")
PHOTOS = [f"--{name}=nowhere" for name in ("tiny-imagenet", "cifar100", "fashion-mnist")]
FIRST = {
    "reproduce": ["cifar100", "--weights", "random"],
    "report": ["nowhere"],
    "tiny_vit_photos": ["--data-root", "nowhere"],
    "studies.photo_features": PHOTOS,
    "studies.photographs": PHOTOS[1:],
    "studies.photo_search": PHOTOS[1:2],
    "screenshots": ["nowhere"],
}


def test_no_program_with_out_is_forgotten():
    shared = {"command_line": SETTINGS, "resumable": MANY, "program": FILES[:3]}
    named = {name.rpartition(".")[2] for name in (*FOLDERS, *FILES)}
    for file in EXPERIMENTS.rglob("*.py"):
        texts = [
            n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)
        ]
        if "--out" in texts and file != EXPERIMENTS / "reporting" / "settings.py":
            for name in shared.get(file.stem, (file.stem,)):
                assert name.rpartition(".")[2] in named, file


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_a_second_program_is_refused_before_anything_is_done(
    name, tmp_path, monkeypatch, capsys, forbidden
):
    program, out = importlib.import_module(name), tmp_path / "out"
    argv = [f"{name}.py", *FIRST.get(name, []), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", argv)
    with alone_at(out, file=name in FILES):
        with pytest.raises(SystemExit, match="2"):
            program.main()
        said = capsys.readouterr().err
        assert f"--out {out}: another program works there; wait until it ends" in said
        held = [path.name for path in (out if name in FOLDERS else tmp_path).iterdir()]
        assert [n for n in held if n != "cifar100"] == [".lock" if name in FOLDERS else ".out.lock"]


@pytest.fixture
def forbidden(monkeypatch):
    """Nothing may be run, nor looked for."""

    def never(*_, **__):
        pytest.fail("it was run though the place was taken")

    for setting in SETTINGS:
        monkeypatch.setattr(f"{setting}.run", never)
    monkeypatch.setattr(resumable, "complete", never)
    monkeypatch.setattr("reproduce.complete", never)
    monkeypatch.setattr("reproduce.stream_of", lambda job: SimpleNamespace(class_names=["a"]))
    monkeypatch.setattr("studies.inspection.trained", never)
    monkeypatch.setattr("screenshots.find_browser", lambda: "browser")
    for module in ("tiny_vit", "tiny_clip"):
        monkeypatch.setattr(f"{module}.pretrain", never)


def test_a_folder_that_was_filled_since_it_was_looked_at_is_refused(tmp_path, forbidden, capsys):
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(SystemExit, match="2"):
        command_line.run_all([None], class_incremental.run, tmp_path, quiet=True)
    assert "must be a new or an empty folder; it holds other files" in capsys.readouterr().err
    assert (tmp_path / "results.json").read_text() == "[]"


@pytest.mark.long
def test_two_real_programs_do_not_share_a_folder(tmp_path):
    """Both would end well, and the seeds of one would be lost."""

    def start(seed):
        flags = ["--out", "runs", "--quiet", "--seeds", seed]
        program = [sys.executable, "-W", "ignore", EXPERIMENTS / "class_incremental.py", *flags]
        with (tmp_path / f"said_{seed}").open("w") as said:
            return subprocess.Popen(program, cwd=tmp_path, stderr=said)

    both = {seed: start(seed) for seed in ("1", "2")}
    try:
        while all(process.poll() is None for process in both.values()):
            time.sleep(0.1)
        ((seed, refused),) = [(s, p) for s, p in both.items() if p.poll() is not None]
        assert refused.returncode == 2
        said = (tmp_path / f"said_{seed}").read_text()
        assert "--out runs: another program works there" in said
        assert any((tmp_path / "runs").iterdir())
    finally:
        for process in both.values():
            process.kill()
            process.wait()
