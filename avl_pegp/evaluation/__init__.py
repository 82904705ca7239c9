"""What came out: accuracy matrices, their numbers, records, tables and figures."""

from avl_pegp.evaluation.accuracy import AccuracyMatrices
from avl_pegp.evaluation.figures import accuracy_over_time, stability_plasticity
from avl_pegp.evaluation.metrics import (
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    new_task_accuracy,
)
from avl_pegp.evaluation.records import Record, prepare_folder, read_records, write_records
from avl_pegp.evaluation.tables import console_table, markdown, markdown_table, paired, spread

__all__ = [
    "AccuracyMatrices",
    "Record",
    "accuracy_over_time",
    "average_accuracy",
    "average_incremental_accuracy",
    "backward_transfer",
    "console_table",
    "forgetting",
    "forward_transfer",
    "markdown",
    "markdown_table",
    "new_task_accuracy",
    "paired",
    "prepare_folder",
    "read_records",
    "spread",
    "stability_plasticity",
    "write_records",
]
