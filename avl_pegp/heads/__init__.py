"""Classifiers on class statistics: no sample is kept, and nothing is recomputed.

Which does what: docs/heads.md. Terms and where they stand: docs/glossary.md.
"""

from avl_pegp.heads.aligned import Aligned, AlignedCosine
from avl_pegp.heads.drift_map import chosen_ridge, kept_off, ridge_map
from avl_pegp.heads.gaussians import ClassGaussians
from avl_pegp.heads.linear import LinearDiscriminant, NearestMean
from avl_pegp.heads.quadratic import QuadraticDiscriminant
from avl_pegp.heads.ranpac import RanPAC
from avl_pegp.heads.registry import HEADS, create_head
from avl_pegp.heads.statistics import ClassStatistics

__all__ = [
    "HEADS",
    "Aligned",
    "AlignedCosine",
    "ClassGaussians",
    "ClassStatistics",
    "LinearDiscriminant",
    "NearestMean",
    "QuadraticDiscriminant",
    "RanPAC",
    "chosen_ridge",
    "create_head",
    "kept_off",
    "ridge_map",
]
