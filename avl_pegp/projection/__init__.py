"""Gradient projection: second moments, bases, and the object that holds steps to them. Torch only."""

from avl_pegp.projection.bases import Basis, Projector, extend_basis
from avl_pegp.projection.energy import LinearRise
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.pegp import PEGP
from avl_pegp.projection.protection import Protection
from avl_pegp.projection.rounding import RoundingWarning

__all__ = [
    "PEGP",
    "Basis",
    "LinearRise",
    "Moment",
    "Projector",
    "Protection",
    "RoundingWarning",
    "extend_basis",
]
