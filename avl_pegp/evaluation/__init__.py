"""What came out: accuracy matrices, their numbers, records, tables and figures."""

from avl_pegp.evaluation.accuracy import AccuracyMatrices
from avl_pegp.evaluation.figures import accuracy_over_time
from avl_pegp.evaluation.metrics import (
    average_accuracy,
    average_incremental_accuracy,
    forgetting,
)
from avl_pegp.evaluation.records import Record, prepare_folder, write_records
from avl_pegp.evaluation.tables import console_table, markdown_table

__all__ = [
    "AccuracyMatrices",
    "Record",
    "accuracy_over_time",
    "average_accuracy",
    "average_incremental_accuracy",
    "console_table",
    "forgetting",
    "markdown_table",
    "prepare_folder",
    "write_records",
]
