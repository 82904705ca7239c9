"""Records of runs that were not done."""

from __future__ import annotations

from avl_pegp.evaluation import Record

MATRIX = [[0.9, None], [0.5, 0.7]]


def record(**fields):
    """A record of LoRA under PEGP, but for these fields."""
    usual = {
        "accuracy_matrix": MATRIX,
        "task_aware_accuracy_matrix": fields.get("accuracy_matrix", MATRIX),
        "setting": "class_incremental",
        "benchmark": "split_digits",
        "backbone": "tiny",
        "pet": "lora",
        "method": "pegp",
        "head": "lda",
        "seed": 0,
        "trainable_parameters": 3,
        "train_seconds": 1.0,
        "ranks": {"a": (1, 2)},
        "drift": {"a": 0.5, "b": float("nan")},
        "config": {"energy": 0.97},
    }
    return Record.of(**(usual | fields))
