"""Checks of arguments that several layers share."""

from __future__ import annotations

from typing import Any


def require_positive(owner: object, **fields: Any) -> None:
    """Raise ValueError for the first field that is not a whole number of at least 1.

    Args:
        owner: whose class the message names.
        fields: values by name.

    Example:
        >>> require_positive(object(), every=100)
    """
    for name, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{type(owner).__name__}.{name}={value!r}: must be a whole number of at least 1"
            )
