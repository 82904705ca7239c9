"""What came out: accuracy matrices, their numbers, records, tables and figures."""

from avl_pegp.evaluation.accuracy import AccuracyMatrices
from avl_pegp.evaluation.encoding import (
    encoded_classes,
    encoded_images,
    encoded_texts,
    zero_shot_accuracy,
)
from avl_pegp.evaluation.figures import accuracy_over_time, stability_plasticity
from avl_pegp.evaluation.matching import matching
from avl_pegp.evaluation.metrics import (
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    new_task_accuracy,
)
from avl_pegp.evaluation.records import Record, prepare_folder, read_records, write_records
from avl_pegp.evaluation.retention import ZeroShotRetention
from avl_pegp.evaluation.tables import console_table, markdown, markdown_table, paired, spread
from avl_pegp.evaluation.zero_shot import (
    Recall,
    TransferAvgLast,
    fooled_images,
    hallucination_rate,
    recall_at_1,
    transfer_avg_last,
)

__all__ = [
    "AccuracyMatrices",
    "Recall",
    "Record",
    "TransferAvgLast",
    "ZeroShotRetention",
    "accuracy_over_time",
    "average_accuracy",
    "average_incremental_accuracy",
    "backward_transfer",
    "console_table",
    "encoded_classes",
    "encoded_images",
    "encoded_texts",
    "fooled_images",
    "forgetting",
    "forward_transfer",
    "hallucination_rate",
    "markdown",
    "markdown_table",
    "matching",
    "new_task_accuracy",
    "paired",
    "prepare_folder",
    "read_records",
    "recall_at_1",
    "spread",
    "stability_plasticity",
    "transfer_avg_last",
    "write_records",
    "zero_shot_accuracy",
]
