"""Gradient projection: second moments, bases, and the object that holds steps to them. Torch only."""

from avl_pegp.projection.bases import Projector, extend_basis
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.pegp import PEGP

__all__ = ["PEGP", "Moment", "Projector", "extend_basis"]
