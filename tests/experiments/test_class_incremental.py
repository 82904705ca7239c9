"""The recipe as a user runs it, on a few images."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import partial
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avl_pegp.benchmarks import BENCHMARKS, split_glyphs

RECIPE = Path(__file__).parents[2] / "experiments" / "class_incremental.py"
FIELDS = set(
    """setting benchmark backbone pet method head seed accuracy_matrix average_accuracy
    average_incremental_accuracy forgetting task_aware_average_accuracy task_aware_forgetting
    trainable_parameters train_seconds versions config""".split()
)


@pytest.fixture
def recipe(monkeypatch):
    """Run the recipe with the given flags and return its records."""
    spec = importlib.util.spec_from_file_location("class_incremental", RECIPE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "class_incremental", module)
    spec.loader.exec_module(module)
    few = partial(split_glyphs, train_per_class=2, test_per_class=1)
    monkeypatch.setitem(BENCHMARKS, "split_glyphs", few)

    def run(out, *flags):
        monkeypatch.setattr(sys, "argv", ["class_incremental.py", "--out", str(out), *flags])
        module.main()
        return json.loads((out / "results.json").read_text())

    return run


def test_all_pets_and_the_controls_leave_records_figures_and_logs(recipe, tmp_path, capsys):
    pets = ["lora", "adapter", "prefix", "prompt"]
    records = recipe(tmp_path, "--pet", *pets, "--epochs", "1")
    rows = {(r["pet"], r["method"]) for r in records}
    assert rows == {("none", "frozen")} | {
        (pet, method) for pet in pets for method in ("plain", "first_session", "pegp")
    }
    for record in records:
        assert record.keys() >= FIELDS
        matrix = record["accuracy_matrix"]
        assert len(matrix) == 10
        assert all(
            (a is None) == (j > i) for i, row in enumerate(matrix) for j, a in enumerate(row)
        )
    for pet in pets:
        assert (tmp_path / f"accuracy_{pet}.png").stat().st_size > 10_000
    events = EventAccumulator(str(tmp_path / "tensorboard" / "lora-pegp-seed0")).Reload()
    tags = events.Tags()["scalars"]
    assert "Top1_Acc_ClassIncremental/eval_phase/test_stream/Exp009" in tags
    assert "task-aware" in capsys.readouterr().out


@pytest.mark.parametrize("head", ["ncm", "linear"])
def test_heads_are_chosen_and_named_in_the_record(recipe, tmp_path, head):
    records = recipe(
        tmp_path, "--head", head, "--epochs", "1", "--no-controls", "--seeds", "3", "4"
    )
    assert [(r["method"], r["head"], r["seed"]) for r in records] == [
        ("pegp", head, 3),
        ("pegp", head, 4),
    ]
    assert records[0]["config"]["class_order"] != records[1]["config"]["class_order"]


def test_digits_run_and_the_same_seed_gives_the_same_numbers(recipe, tmp_path):
    flags = ("--benchmark", "split_digits", "--epochs", "1", "--no-controls")
    first = recipe(tmp_path / "a", *flags)[0]
    again = recipe(tmp_path / "b", *flags)[0]
    assert first["accuracy_matrix"] == again["accuracy_matrix"]
    assert first["average_accuracy"] > 0.5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--pet", "bitfit"), r"invalid choice: 'bitfit' .*lora.*adapter.*prefix.*prompt"),
        (("--benchmark", "split_mnist"), r"invalid choice: 'split_mnist' .*split_digits"),
        (("--methods", "ewc"), r"invalid choice: 'ewc' .*pegp"),
        (("--backbone", "vit_tiny_patch61_224"), "vit_tiny_patch16_224"),
        (("--energy", "0"), r"energy=0\.0: must be a number above 0"),
        (("--epochs", "0"), "--epochs 0: must be at least 1"),
        (("--lr", "-1"), "--lr -1.0: must be above 0"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_written(
    recipe, tmp_path, capsys, flags, message
):
    with pytest.raises(SystemExit, match="2"):
        recipe(tmp_path / "out", *flags)
    import re

    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_results_is_refused(recipe, tmp_path, capsys):
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(SystemExit, match="2"):
        recipe(tmp_path)
    assert "must be a new or an empty folder" in capsys.readouterr().err
    assert (tmp_path / "results.json").read_text() == "[]"
