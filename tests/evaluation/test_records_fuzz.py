"""Files of records, spoiled at random: refused as a ValueError, or right in every number."""

from __future__ import annotations

import copy
import json
import random

import numpy as np
import pytest
from recorded import record

from avl_pegp.evaluation import Record, read_records, write_records

MATRIX = [[0.9, None, None], [0.5, 0.7, None], [0.25, 0.625, 0.75]]
TOLD = [[1.0, 0.5, 0.25], [0.75, 0.7, None], [0.5, 0.625, 0.875]]
ODD = (None, True, "", "0.5", -1, -0.5, 2, 1e9, 1e400, float("nan"), 10**30, 0, 1, [], {}, [0.5])


@pytest.fixture
def file(tmp_path):
    given = {
        "accuracy_matrix": MATRIX,
        "task_aware_accuracy_matrix": TOLD,
        "forward_transfer": 0.125,
        "ranks": {"a": (1, 2), "b": (0, 8)},
        "config": {"job": {"options": {"n": 3}, "training": {"epochs": 5}}, "lr": 0.5},
        "zero_shot": {"accuracy": [0.8, 0.7], "transfer": 0.6},
    }
    write_records([record(seed=seed, **given) for seed in (1, 2)], tmp_path / "results.json")
    return tmp_path / "results.json"


def read_or_refused(path):
    """The records, each held against numpy; none where they are refused."""
    try:
        records = read_records(path)
    except ValueError as error:
        assert str(path) in str(error)
        return []
    for found in records:
        require_right(found)
        require_right(Record(**json.loads(json.dumps(vars(found), allow_nan=False))))
    return records


def require_right(found):
    views = {"": found.accuracy_matrix, "task_aware_": found.task_aware_accuracy_matrix}
    for view, matrix in views.items():
        a = np.array(matrix, dtype=float)
        seen = np.tril(np.ones(a.shape, dtype=bool))
        assert ((a[seen] >= 0) & (a[seen] <= 1)).all()
        best = [a[j:-1, j].max() - a[-1, j] for j in range(len(a) - 1)] or [0.0]
        assert getattr(found, f"{view}average_accuracy") == pytest.approx(a[-1].mean(), abs=1e-9)
        assert getattr(found, f"{view}forgetting") == pytest.approx(np.mean(best), abs=1e-9)
    a = np.array(found.accuracy_matrix, dtype=float)
    moved = (a[-1] - a.diagonal())[:-1] if len(a) > 1 else np.zeros(1)
    assert found.backward_transfer == pytest.approx(moved.mean(), abs=1e-9)
    rows = [a[i, : i + 1].mean() for i in range(len(a))]
    assert found.average_incremental_accuracy == pytest.approx(np.mean(rows), abs=1e-9)
    assert 0 <= found.seed < 2**32
    assert found.trainable_parameters >= 0 <= found.train_seconds
    assert all(0 <= held <= of for held, of in found.ranks.values())
    assert all(d is None or d >= 0 for d in found.drift.values())


def places(value, path=()):
    """The path of everything in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    for name, part in enumerate(value) if isinstance(value, list) else inner:
        yield from places(part, (*path, name))


def test_every_value_in_turn_made_an_odd_one(file):
    entries, draw = json.loads(file.read_text())[:1], random.Random(0)
    refused = accepted = 0
    for path in [p for p in places(entries) if p]:
        for odd in draw.sample(ODD, 6):
            spoiled = copy.deepcopy(entries)
            inner = spoiled
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = odd
            file.write_text(json.dumps(spoiled))
            took = bool(read_or_refused(file))
            accepted, refused = accepted + took, refused + (not took)
    assert refused > 4 * accepted > 0


@pytest.mark.parametrize("seed", range(10))
def test_bytes_changed_at_random(file, seed):
    draw, whole = random.Random(seed), file.read_bytes()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 1, 2, 5))):
            at, size = draw.randrange(len(data)), draw.randrange(1, 30)
            change = draw.choice(("set", "cut", "double", "digits", "end"))
            if change == "set":
                data[at] = draw.randrange(256)
            elif change == "cut":
                del data[at : at + size]
            elif change == "double":
                data[at:at] = data[at : at + size]
            elif change == "digits":
                data[at : at + 1] = str(draw.randrange(10**size)).encode()
            else:
                del data[max(at, 1) :]
        file.write_bytes(data)
        read_or_refused(file)


def test_what_is_whole_is_read_as_it_was_written(file):
    records = read_or_refused(file)
    assert [r.seed for r in records] == [1, 2]
    assert records[0].task_aware_accuracy_matrix == TOLD
