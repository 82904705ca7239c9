"""The recipe as a user runs it, on a few images."""

from __future__ import annotations

import json
import re

import class_incremental
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

FIELDS = set(
    """setting benchmark backbone pet method head seed accuracy_matrix average_accuracy
    average_incremental_accuracy forgetting backward_transfer task_aware_average_accuracy
    task_aware_forgetting trainable_parameters train_seconds versions config""".split()
)


@pytest.fixture
def recipe(tiny, launch):
    """Run the recipe with the given flags and return its records."""

    def run(out, *flags):
        launch(class_incremental, out, *flags)
        return json.loads((out / "results.json").read_text())

    return run


@pytest.mark.long
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
        assert len(matrix) == 2
        assert all(
            (a is None) == (j > i) for i, row in enumerate(matrix) for j, a in enumerate(row)
        )
    for pet in pets:
        assert (tmp_path / f"accuracy_{pet}.png").stat().st_size > 10_000
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + len(records)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "lora-pegp-seed0")).Reload()
    tags = events.Tags()["scalars"]
    assert "Top1_Acc_ClassIncremental/eval_phase/test_stream/Exp001" in tags
    assert "AverageAccuracy_TaskAware/eval_phase/test_stream" in tags
    assert "task-aware" in capsys.readouterr().out


@pytest.mark.parametrize("head", ["ncm", "linear"])
@pytest.mark.long
def test_heads_are_chosen_and_named_in_the_record(recipe, tmp_path, head):
    flags = ("--head", head, "--epochs", "1", "--no-controls", "--seeds", "3", "4")
    records = recipe(tmp_path, *flags)
    assert [(r["method"], r["head"], r["seed"]) for r in records] == [
        ("pegp", head, 3),
        ("pegp", head, 4),
    ]
    assert records[0]["config"]["class_order"] != records[1]["config"]["class_order"]


def test_digits_are_learned(recipe, tmp_path):
    flags = ("--benchmark", "split_digits", "--epochs", "1", "--no-controls")
    assert recipe(tmp_path, *flags)[0]["average_accuracy"] > 0.5


@pytest.mark.long
def test_the_same_seed_gives_the_same_numbers(recipe, tmp_path):
    flags = ("--epochs", "1", "--no-controls")
    (first,), (again,), (other,) = (
        recipe(tmp_path / name, *flags, "--seeds", seed)
        for name, seed in (("first", "1"), ("again", "1"), ("other", "2"))
    )
    assert first["accuracy_matrix"] == again["accuracy_matrix"] != other["accuracy_matrix"]
    assert first["drift"] == again["drift"]


@pytest.mark.long
def test_energy_learning_rate_and_epochs_reach_the_run_and_its_record(recipe, tmp_path):
    flags = ("--energy", "0.5", "--lr", "0.002", "--epochs", "2", "--no-controls")
    loose = recipe(tmp_path / "a", *flags)[0]
    strict = recipe(tmp_path / "b", "--energy", "1", "--epochs", "1", "--no-controls")[0]
    assert loose["config"]["job"]["energy"] == 0.5
    assert (loose["config"]["lr"], loose["config"]["job"]["training"]["epochs"]) == (0.002, 2)
    assert strict["ranks"].keys() == loose["ranks"].keys()
    ranks = [sum(rank for rank, _ in run["ranks"].values()) for run in (loose, strict)]
    assert ranks[0] < ranks[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--pet", "bitfit"), r"invalid choice: 'bitfit' .*lora.*adapter.*prefix.*prompt"),
        (("--benchmark", "split_mnist"), r"invalid choice: 'split_mnist' .*split_digits"),
        (("--methods", "si"), r"invalid choice: 'si' .*ewc.*pegp"),
        (("--backbone", "vit_tiny_patch61_224"), "vit_tiny_patch16_224"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(recipe, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit, match="2"):
        recipe(tmp_path / "out", *flags)
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_results_is_refused(recipe, tmp_path, capsys):
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(SystemExit, match="2"):
        recipe(tmp_path)
    assert "must be a new or an empty folder" in capsys.readouterr().err
    assert (tmp_path / "results.json").read_text() == "[]"
