from __future__ import annotations

import io
import json
import os

import pytest
from rich.console import Console

from avl_pegp.evaluation import (
    Record,
    console_table,
    markdown_table,
    prepare_folder,
    read_records,
    write_records,
)


def record(seed=0, last=0.5, method="pegp", **rest):
    matrix = [[0.9, None], [last, 0.7]]
    return Record.of(
        accuracy_matrix=matrix,
        task_aware_accuracy_matrix=matrix,
        setting="class_incremental",
        benchmark="split_digits",
        backbone="tiny",
        pet="lora",
        method=method,
        head="lda",
        seed=seed,
        trainable_parameters=3,
        train_seconds=1.0,
        ranks={"a": (1, 2)},
        drift={"a": float("nan")},
        config={"energy": 0.97},
        **rest,
    )


def test_records_of_another_version_are_refused(tmp_path):
    path = tmp_path / "results.json"
    write_records([record()], path)
    assert read_records(path)[0].average_accuracy == pytest.approx(0.6)
    older = json.loads(path.read_text())
    del older[0]["backward_transfer"]
    path.write_text(json.dumps(older))
    with pytest.raises(ValueError, match=r"results.json does not hold .*backward_transfer.*again"):
        read_records(path)
    path.write_text("[{")
    with pytest.raises(ValueError, match="does not hold records of this version"):
        read_records(path)


def test_a_record_is_read_back_with_all_its_fields(tmp_path):
    write_records([record(), record(seed=1)], tmp_path / "results.json")
    first, second = json.loads((tmp_path / "results.json").read_text())
    assert first["average_accuracy"] == pytest.approx(0.6)
    assert first["forgetting"] == pytest.approx(0.4)
    assert first["backward_transfer"] == pytest.approx(-0.4)
    assert first["forward_transfer"] is None
    assert first["accuracy_matrix"] == [[0.9, None], [0.5, 0.7]]
    assert first["versions"].keys() >= {"python", "torch", "avalanche-lib", "timm"}
    assert second["seed"] == 1
    assert second["drift"] == {"a": None}  # JSON has no NaN
    assert os.listdir(tmp_path) == ["results.json"]


def test_forward_transfer_is_recorded_where_it_was_evaluated():
    assert record(forward_transfer=0.25).forward_transfer == 0.25


def test_zero_shot_numbers_are_read_back_and_may_be_absent(tmp_path):
    path = tmp_path / "results.json"
    write_records([record(zero_shot={"accuracy": [0.8, 0.7], "transfer": 0.6}), record()], path)
    older = json.loads(path.read_text())
    assert older[1].pop("zero_shot") == {}
    path.write_text(json.dumps(older))
    with_them, without = read_records(path)
    assert with_them.zero_shot == {"accuracy": [0.8, 0.7], "transfer": 0.6}
    assert without.zero_shot == {}


def test_zero_shot_numbers_of_the_end_are_in_the_markdown_table_where_there_are_any():
    numbers = [{"accuracy": [0.8, end], "recall_at_1": [0.1, 0.2]} for end in (0.5, 0.7)]
    records = [*(record(s, zero_shot=n) for s, n in enumerate(numbers)), record(method="plain")]
    titles, _, pegp, plain = markdown_table(records).splitlines()
    assert titles.endswith("| zero-shot accuracy | zero-shot recall at 1 |")
    assert pegp.endswith("| 60.0 ± 14.1 | 20.0 ± 0.0 |")
    assert plain.endswith("| – | – |")
    assert "zero-shot" not in markdown_table([record()])


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    write_records([record()], path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_records([record(last=float("nan"))], path)
    assert len(json.loads(path.read_text())) == 1
    assert os.listdir(tmp_path) == ["results.json"]


def test_tables_show_mean_and_spread_over_seeds():
    records = [record(0, 0.5), record(1, 0.7), record(0, 0.3, "plain")]
    assert "| lora | pegp | 65.0 ± 7.1 |" in markdown_table(records)
    assert "| lora | plain | 50.0 |" in markdown_table(records)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(console_table(records))
    text = console.export_text()
    assert "65.0 ± 7.1" in text
    assert "…" not in text  # it fits a terminal of 80 columns


def test_an_empty_folder_is_accepted_and_a_new_one_made(tmp_path):
    assert prepare_folder(tmp_path) == tmp_path
    assert prepare_folder(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "results.json").touch()
    with pytest.raises(ValueError, match="it holds other files"):
        prepare_folder(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="can't be written"):
            prepare_folder(place)
