"""The programs as a user runs them, on a few images, and records made of nothing."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from functools import cache, partial

import pytest
import recorded

from avl_pegp.benchmarks import BENCHMARKS, DOMAINS
from avl_pegp.benchmarks.captioned_domains import caption_set
from avl_pegp.evaluation import Record, records

FEW = {"train_per_class": 2, "test_per_class": 1}
GLYPHS = ("split_glyphs", "shifted_glyphs", "blurry_glyphs")


@cache
def few_named_glyphs(make=BENCHMARKS["named_glyphs"], **options):
    """With captions of two characters only."""
    benchmark = make(**FEW, n_experiences=2, **options)
    benchmark.matching = caption_set("Aπ", 0)
    return benchmark


TINY = {  # rendered once
    **{name: cache(partial(BENCHMARKS[name], **FEW, n_experiences=2)) for name in GLYPHS},
    "domain_glyphs": cache(
        partial(BENCHMARKS["domain_glyphs"], **FEW, n_classes=3, domains=DOMAINS[:5])
    ),
    "named_glyphs": few_named_glyphs,
    "named_datasets": cache(partial(BENCHMARKS["named_datasets"], **FEW)),
    "captioned_domains": cache(
        partial(BENCHMARKS["captioned_domains"], ("pale", "noisy"), characters="AΩ")
    ),
}


@pytest.fixture
def tiny(monkeypatch):
    """Three images a class; two experiences of all glyphs, or five domains of three glyphs.

    With names: two experiences of all, the seven data sets, or the captions of two in two domains.
    """
    for name, benchmark in TINY.items():
        monkeypatch.setitem(BENCHMARKS, name, benchmark)


@pytest.fixture
def launch(monkeypatch):
    """Run a program with the given folder and flags."""

    def run(program, out, *flags):
        argv = [f"{program.__name__}.py", "--out", str(out), *flags]
        monkeypatch.setattr(sys, "argv", argv)
        program.main()

    return run


@pytest.fixture
def recipe(tiny, launch):
    """Run a setting with the given flags and return its records."""

    def run(setting, out, *flags):
        launch(importlib.import_module(setting), out, *flags)
        return [Record(**entry) for entry in json.loads((out / "results.json").read_text())]

    return run


@pytest.fixture
def refused(tiny, launch, tmp_path, capsys):
    """A program ends with this message at these flags, before anything is written."""

    def check(program, flags, message):
        with pytest.raises(SystemExit, match="2"):
            launch(program, tmp_path / "out", *flags)
        assert message in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "out").exists()

    return check


@pytest.fixture
def record(monkeypatch):
    """Make a record of a run that came to this accuracy, and forgot this much with tasks told."""
    monkeypatch.setattr(records, "versions", dict)  # looking them up takes its time

    def make(pet, method, seed, accuracy, forgetting=0.0, **fields):
        usual = {
            "benchmark": "split_glyphs",
            "backbone": "tiny_vit_32.latin",
            "accuracy_matrix": [[accuracy, None], [accuracy, accuracy]],
            "task_aware_accuracy_matrix": [[1.0, None], [1.0 - forgetting, 1.0]],
            "trainable_parameters": 1,
            "train_seconds": 0.0,
            **{name: {} for name in ("ranks", "drift", "config")},
        }
        return recorded.record(**{**usual, **fields}, pet=pet, method=method, seed=seed)

    return make


@pytest.fixture
def rows(record):
    """Frozen, plain, joint and PEGP on two seeds."""
    values = {"frozen": 0.5, "plain": 0.3, "pegp": 0.7, "joint": 0.9}
    ranks, drift = {"ranks": {"blocks.0.A": (3, 8)}}, {"drift": {"blocks.0.A": 0.02}}
    return [
        replace(
            record("none" if method == "frozen" else "lora", method, seed, accuracy + seed / 100),
            **(ranks | drift if method == "pegp" else {}),
        )
        for method, accuracy in values.items()
        for seed in (1, 2)
    ]
