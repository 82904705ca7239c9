"""Records, written, read back, and spoiled in between."""

from __future__ import annotations

import json
import os
import re

import pytest
from recorded import record

from avl_pegp.evaluation import read_records, write_records

NAN = float("nan")


@pytest.fixture
def file(tmp_path):
    """Of one record, with something in every field."""
    numbers = {"accuracy": [0.8, 0.7], "transfer": 0.6}
    path = tmp_path / "results.json"
    write_records([record(seed=3, forward_transfer=0.5, zero_shot=numbers)], path)
    return path


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
    assert second["drift"] == {"a": 0.5, "b": None}  # JSON has no NaN
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


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    write_records([record()], path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_records([record(accuracy_matrix=[[float("nan")]])], path)
    assert len(json.loads(path.read_text())) == 1
    assert os.listdir(tmp_path) == ["results.json"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("config", None, "config is None: must be an object"),
        ("pet", None, "pet is None: must be text"),
        ("seed", 0.5, "seed is 0.5: must be a whole number"),
        ("seed", True, "seed is True: must be a whole number"),
        ("forgetting", None, "forgetting is None: must be a finite number"),
        ("train_seconds", None, "train_seconds is None: must be a finite number"),
        ("average_accuracy", "0.5", "average_accuracy is '0.5': must be a finite number"),
        ("forward_transfer", NAN, "forward_transfer is nan: must be a finite number"),
        ("accuracy_matrix", 5, "accuracy_matrix is 5: must be a list"),
        ("accuracy_matrix", [], "accuracy_matrix is []: must be a row for each experience"),
        ("accuracy_matrix", [None, [1, 1]], "accuracy_matrix[0] is None: must be a list"),
        (
            "accuracy_matrix",
            [[0.5, None]],
            "accuracy_matrix[0] is [0.5, None]: must be of 1 number",
        ),
        ("accuracy_matrix", [[NAN]], "accuracy_matrix[0][0] is nan: must be a finite number"),
        (
            "task_aware_accuracy_matrix",
            [[0.9, None], [None, 0.7]],
            "task_aware_accuracy_matrix[1][0] is None: must be a number: by then",
        ),
        ("ranks", None, "ranks is None: must be an object"),
        ("ranks", {"a": [1]}, "ranks.a is [1]: must be a list of 2"),
        ("ranks", {"a": [0, 0]}, "ranks.a is [0, 0]: must be how many directions of how many"),
        ("ranks", {"a": [3, 2]}, "ranks.a is [3, 2]: must be how many directions of how many"),
        ("drift", {"a": "none"}, "drift.a is 'none': must be a finite number"),
        ("zero_shot", {"accuracy": []}, "zero_shot.accuracy is []: must be a number, or a list"),
        ("zero_shot", {"accuracy": [None]}, "zero_shot.accuracy[0] is None: must be a finite"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_named_with_its_file_and_run(file, field, value, message):
    (entry,) = json.loads(file.read_text())
    spoiled = entry | {field: value}
    file.write_text(json.dumps([spoiled]))
    run = f"{spoiled['pet']} pegp seed {spoiled['seed']}"
    with pytest.raises(ValueError, match=re.escape(f"{file}: of {run}, {message}") + ".*run it"):
        read_records(file)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[1]", b"{}", b"5", b"null", b"[null]"])
def test_a_file_that_is_no_list_of_records_is_named(file, content):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(file))} does not hold records of this"):
        read_records(file)


def test_numbers_may_be_whole_and_experiences_to_come_may_be_evaluated(file):
    (entry,) = json.loads(file.read_text())
    changes = {"accuracy_matrix": [[1, 0], [0.5, 1]], "train_seconds": 2, "forward_transfer": None}
    follows = {"average_accuracy": 0.75, "average_incremental_accuracy": 0.875}
    lost = {"forgetting": 0.5, "backward_transfer": -0.5}
    file.write_text(json.dumps([entry | changes | follows | lost]))
    assert read_records(file)[0].accuracy_matrix == [[1, 0], [0.5, 1]]


BIG = 10**399


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "accuracy_matrix",
            [[1e9, None], [0.5, 0.7]],
            "accuracy_matrix[0][0] is 1000000000.0: must",
        ),
        (
            "accuracy_matrix",
            [[0.9, 2], [0.5, 0.7]],
            "accuracy_matrix[0][1] is 2: must be from 0 to 1",
        ),
        (
            "accuracy_matrix",
            [[0.9, None], [-0.1, 0.7]],
            "accuracy_matrix[1][0] is -0.1: must be from",
        ),
        (
            "task_aware_accuracy_matrix",
            [[0.5]],
            "task_aware_accuracy_matrix is 'of 1 rows': must be",
        ),
        (
            "average_accuracy",
            0.61,
            "average_accuracy is 0.61: must be 0.6, as follows from accuracy_m",
        ),
        ("average_accuracy", 1e9, "average_accuracy is 1000000000.0: must be 0.6, as follows"),
        (
            "average_incremental_accuracy",
            0.6,
            "average_incremental_accuracy is 0.6: must be 0.75, as",
        ),
        ("forgetting", 0.0, "forgetting is 0.0: must be 0.4, as follows from accuracy_matrix"),
        (
            "backward_transfer",
            0.4,
            "backward_transfer is 0.4: must be -0.4, as follows from accuracy",
        ),
        ("task_aware_average_accuracy", 0.7, "task_aware_average_accuracy is 0.7: must be 0.6, as"),
        (
            "task_aware_forgetting",
            -0.4,
            "task_aware_forgetting is -0.4: must be 0.4, as follows from",
        ),
        ("forward_transfer", 1.5, "forward_transfer is 1.5: must be from -1 to 1"),
        ("seed", -1, "seed is -1: must be from 0 to 4294967295"),
        ("trainable_parameters", -3, "trainable_parameters is -3: must be from 0 to"),
        ("train_seconds", -0.5, "train_seconds is -0.5: must be from 0 to"),
        ("train_seconds", BIG, "train_seconds is 1000"),
        ("average_accuracy", -BIG, "average_accuracy is -1000"),
        ("ranks", {"a": [-1, 2]}, "ranks.a is [-1, 2]: must be how many directions of how many"),
        ("drift", {"a": -0.5}, "drift.a is -0.5: must be at least 0: it is a squared change"),
        ("drift", {"a": BIG}, "drift.a is 1000"),
        ("zero_shot", {"accuracy": 1.2}, "zero_shot.accuracy is 1.2: must be from 0 to 1"),
        (
            "zero_shot",
            {"accuracy": [0, -0.1]},
            "zero_shot.accuracy[1] is -0.1: must be from 0 to 1",
        ),
        ("config", {"lr": NAN}, "config.lr is nan: must be a finite number"),
        (
            "config",
            {"job": {"x": [float("inf")]}},
            "config.job.x[0] is inf: must be a finite number",
        ),
        ("config", {"job": {"class_order": BIG}}, "config.job.class_order is 1000"),
        ("versions", {"torch": 2.6}, "versions.torch is 2.6: must be text"),
    ],
    ids=str,
)
def test_a_number_that_cannot_be_is_named_with_its_file_and_run(file, field, value, message):
    test_a_value_that_cannot_be_is_named_with_its_file_and_run(file, field, value, message)


def test_rounding_is_no_error(file):
    (entry,) = json.loads(file.read_text())
    file.write_text(json.dumps([entry | {"average_accuracy": 0.6 + 1e-15, "drift": {"a": -1e-17}}]))
    assert read_records(file)[0].drift == {"a": -1e-17}


@pytest.mark.parametrize("depth", [40, 300, 990, 3000, 100_000])
@pytest.mark.parametrize("open_, close", ["[]", ('{"a":', "}")])
@pytest.mark.parametrize("field", ["config", "seed", "zero_shot", "accuracy_matrix", "whole"])
def test_what_is_nested_too_deeply_is_refused(file, depth, open_, close, field):
    nested = open_ * depth + "1" + close * depth
    (entry,) = json.loads(file.read_text())
    text = json.dumps([entry | {field: "HERE"}]).replace('"HERE"', nested)
    file.write_text(nested if field == "whole" else text)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        read_records(file)


def test_a_number_of_more_digits_than_python_reads_is_refused(file):
    file.write_text(file.read_text().replace('"seed": 3', f'"seed": {"9" * 10_000}'))
    with pytest.raises(ValueError, match=f"{re.escape(str(file))} does not hold records"):
        read_records(file)


def test_a_seed_of_hundreds_of_digits_is_refused_in_a_line(file):
    file.write_text(file.read_text().replace('"seed": 3', f'"seed": {BIG}'))
    with pytest.raises(ValueError, match=r"seed is 10{99}…: must be from 0 to") as error:
        read_records(file)
    assert len(str(error.value)) < 500


def test_a_field_that_stands_twice_is_refused(file):
    file.write_text(file.read_text().replace('"seed": 3', '"seed": 3, "seed": 4'))
    with pytest.raises(ValueError, match=r"results.json does not hold .*'seed' stands twice"):
        read_records(file)


def test_one_wrong_record_among_others_is_named(file):
    (entry,) = json.loads(file.read_text())
    file.write_text(json.dumps([entry, entry | {"seed": 4, "forgetting": 0.1}]))
    with pytest.raises(ValueError, match=r"of lora pegp seed 4, forgetting is 0.1: must be 0.4"):
        read_records(file)
    file.write_text(json.dumps([entry, entry | {"pet": ["lora"]}]))
    with pytest.raises(ValueError, match=r"of record 1, pet is \['lora'\]: must be text"):
        read_records(file)
