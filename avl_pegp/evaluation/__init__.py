"""Results: accuracy matrices, their numbers, records, tables and figures."""

from avl_pegp.evaluation.accuracy import AccuracyImage, AccuracyMatrices
from avl_pegp.evaluation.accuracy_figures import (
    accuracy_and_forgetting,
    accuracy_heat_map,
    accuracy_over_time,
    stability_plasticity,
)
from avl_pegp.evaluation.features import (
    attention_mass,
    classifier_features,
    feature_map,
    in_the_plane,
    token_mass,
)
from avl_pegp.evaluation.folders import alone_at, prepare_folder
from avl_pegp.evaluation.measured_drift import MeasuredDrift
from avl_pegp.evaluation.metrics import (
    TransferAvgLast,
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    new_task_accuracy,
    transfer_avg_last,
)
from avl_pegp.evaluation.records import Record, read_records, write_records
from avl_pegp.evaluation.site_figures import by_block, drift_over_time, energy_spectrum, rank_growth
from avl_pegp.evaluation.site_metrics import pegp_metrics
from avl_pegp.evaluation.site_numbers import Spectrum, spectra_of
from avl_pegp.evaluation.tables import console_table, markdown, markdown_table, paired, spread
from avl_pegp.evaluation.zero_shot import (
    Recall,
    ZeroShotRetention,
    encoded_classes,
    encoded_images,
    encoded_texts,
    hallucination_rate,
    matching,
    recall_at_1,
    zero_shot_accuracy,
)

__all__ = [
    "AccuracyImage",
    "AccuracyMatrices",
    "MeasuredDrift",
    "Recall",
    "Record",
    "Spectrum",
    "TransferAvgLast",
    "ZeroShotRetention",
    "accuracy_and_forgetting",
    "accuracy_heat_map",
    "accuracy_over_time",
    "alone_at",
    "attention_mass",
    "average_accuracy",
    "average_incremental_accuracy",
    "backward_transfer",
    "by_block",
    "classifier_features",
    "console_table",
    "drift_over_time",
    "encoded_classes",
    "encoded_images",
    "encoded_texts",
    "energy_spectrum",
    "feature_map",
    "forgetting",
    "forward_transfer",
    "hallucination_rate",
    "in_the_plane",
    "markdown",
    "markdown_table",
    "matching",
    "new_task_accuracy",
    "paired",
    "pegp_metrics",
    "prepare_folder",
    "rank_growth",
    "read_records",
    "recall_at_1",
    "spectra_of",
    "spread",
    "stability_plasticity",
    "token_mass",
    "transfer_avg_last",
    "write_records",
    "zero_shot_accuracy",
]
