"""The heads by the names that plugins, recipes and the command line know them by.

Another head is a file of its own, with a ``ClassStatistics`` that says what it makes of them, and a line
here. What stands outside this package can be added in place: ``HEADS["mine"] = Mine``.
"""

from __future__ import annotations

from typing import Any

from avl_pegp.heads.aligned import Aligned, AlignedCosine
from avl_pegp.heads.linear import LinearDiscriminant, NearestMean
from avl_pegp.heads.quadratic import QuadraticDiscriminant
from avl_pegp.heads.ranpac import RanPAC
from avl_pegp.heads.statistics import ClassStatistics

HEADS: dict[str, type[ClassStatistics]] = {
    "lda": LinearDiscriminant,
    "ncm": NearestMean,
    "qda": QuadraticDiscriminant,
    "ranpac": RanPAC,
    "aligned": Aligned,
    "aligned_cosine": AlignedCosine,
}


def create_head(name: str, classes: int, width: int, **options: Any) -> ClassStatistics:
    """The head of this name, without statistics.

    Args:
        name: a key of ``HEADS``.
        classes: rows of the logits.
        width: d, the features' width.
        options: of the head, such as ``shrinkage``.

    Raises:
        ValueError: an unknown name, or an option out of range.

    Example:
        >>> type(create_head("qda", classes=10, width=192, shrinkage=0.1)).__name__
        'QuadraticDiscriminant'
    """
    if name not in HEADS:
        raise ValueError(f"head={name!r}: must be one of {', '.join(HEADS)}")
    return HEADS[name](classes, width, **options)
