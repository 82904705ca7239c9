"""Avalanche plugins: thin shells over the layers below, and baselines to compare with.

Terms and where they stand: docs/glossary.md.
"""

from avl_pegp.plugins.class_statistics import ClassStatisticsPlugin
from avl_pegp.plugins.context_per_experience import ContextPerExperiencePlugin
from avl_pegp.plugins.distillation import LwFPlugin
from avl_pegp.plugins.drift_correction import (
    CORRECTIONS,
    DriftCorrection,
    MomentsCorrection,
    RidgeCorrection,
)
from avl_pegp.plugins.experience import classes_of, statistics_loader
from avl_pegp.plugins.feature_distillation import FeatureDistillationPlugin
from avl_pegp.plugins.last_task import LastTaskPlugin
from avl_pegp.plugins.masked_cross_entropy import MaskedCrossEntropy, masked_cross_entropy
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.plugins.progress import ProgressPlugin
from avl_pegp.plugins.regularization import EWCPlugin, L2Plugin
from avl_pegp.plugins.task_average import TaskAveragePlugin
from avl_pegp.plugins.vr_lwf import random_sentences, vr_lwf
from avl_pegp.plugins.zscl import ZSCLPlugin

__all__ = [
    "CORRECTIONS",
    "ClassStatisticsPlugin",
    "ContextPerExperiencePlugin",
    "DriftCorrection",
    "EWCPlugin",
    "FeatureDistillationPlugin",
    "L2Plugin",
    "LastTaskPlugin",
    "LwFPlugin",
    "MaskedCrossEntropy",
    "MomentsCorrection",
    "PEGPPlugin",
    "ProgressPlugin",
    "RidgeCorrection",
    "TaskAveragePlugin",
    "ZSCLPlugin",
    "classes_of",
    "masked_cross_entropy",
    "random_sentences",
    "statistics_loader",
    "vr_lwf",
]
