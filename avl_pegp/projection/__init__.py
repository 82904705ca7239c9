"""Gradient projection: second moments, bases, and the object that holds steps to them. Torch only.

Terms, equations and where they stand: docs/glossary.md.
"""

from avl_pegp.projection.bases import Basis, Projector, Protection, extend_basis
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.pegp import PEGP
from avl_pegp.projection.rounding import RoundingWarning
from avl_pegp.projection.settings import Settings

__all__ = [
    "PEGP",
    "Basis",
    "Moment",
    "Projector",
    "Protection",
    "RoundingWarning",
    "Settings",
    "extend_basis",
]
