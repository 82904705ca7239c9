"""Records that were spoiled after they were written."""

from __future__ import annotations

import json
import re

import pytest

from avl_pegp.evaluation import Record, read_records, write_records

MATRIX = [[0.9, None], [0.5, 0.7]]
NAN = float("nan")


@pytest.fixture
def file(tmp_path):
    """Of one record, with something in every field."""
    record = Record.of(
        accuracy_matrix=MATRIX,
        task_aware_accuracy_matrix=MATRIX,
        setting="class_incremental",
        benchmark="split_digits",
        backbone="tiny",
        pet="lora",
        method="pegp",
        head="lda",
        seed=3,
        trainable_parameters=3,
        train_seconds=1.0,
        forward_transfer=0.5,
        ranks={"a": (1, 2)},
        drift={"a": 0.5, "b": NAN},
        config={"energy": None},
        zero_shot={"accuracy": [0.8, 0.7], "transfer": 0.6},
    )
    path = tmp_path / "results.json"
    write_records([record], path)
    return path


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
    file.write_text(json.dumps([entry | changes]))
    assert read_records(file)[0].accuracy_matrix == [[1, 0], [0.5, 1]]
