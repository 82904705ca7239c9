"""Avalanche plugins: thin shells over ``avl_pegp.projection`` and ``avl_pegp.backbones``."""

from avl_pegp.plugins.class_statistics import ClassStatisticsPlugin
from avl_pegp.plugins.experience import classes_of, statistics_loader
from avl_pegp.plugins.masked_cross_entropy import MaskedCrossEntropy, masked_cross_entropy
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.plugins.progress import ProgressPlugin

__all__ = [
    "ClassStatisticsPlugin",
    "MaskedCrossEntropy",
    "PEGPPlugin",
    "ProgressPlugin",
    "classes_of",
    "masked_cross_entropy",
    "statistics_loader",
]
