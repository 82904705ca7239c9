"""Avalanche plugins: thin shells over ``avl_pegp.projection`` and ``avl_pegp.backbones``, and rivals."""

from avl_pegp.plugins.class_statistics import ClassStatisticsPlugin
from avl_pegp.plugins.distillation import LwFPlugin
from avl_pegp.plugins.experience import classes_of, statistics_loader
from avl_pegp.plugins.masked_cross_entropy import MaskedCrossEntropy, masked_cross_entropy
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.plugins.progress import ProgressPlugin
from avl_pegp.plugins.regularization import EWCPlugin, L2Plugin

__all__ = [
    "ClassStatisticsPlugin",
    "EWCPlugin",
    "L2Plugin",
    "LwFPlugin",
    "MaskedCrossEntropy",
    "PEGPPlugin",
    "ProgressPlugin",
    "classes_of",
    "masked_cross_entropy",
    "statistics_loader",
]
