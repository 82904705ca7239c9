"""Streams to learn from: ordinary Avalanche benchmarks, some of which need no download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from avalanche.benchmarks import NCScenario

from avl_pegp.benchmarks.digits import split_digits
from avl_pegp.benchmarks.glyphs import GLYPHS, split_glyphs
from avl_pegp.benchmarks.rendering import FONTS, render_glyphs

__all__ = [
    "BENCHMARKS",
    "FONTS",
    "GLYPHS",
    "create_benchmark",
    "render_glyphs",
    "split_digits",
    "split_glyphs",
]

#: What ``create_benchmark`` knows; add a function of your own to use it by name.
BENCHMARKS: dict[str, Callable[..., NCScenario]] = {
    "split_digits": split_digits,
    "split_glyphs": split_glyphs,
}


def create_benchmark(name: str, **options: Any) -> NCScenario:
    """Build a benchmark by the name of its function.

    Args:
        name: a key of ``BENCHMARKS``.
        options: passed on to that function.

    Raises:
        ValueError: the name is not known.

    Example:
        >>> create_benchmark("split_digits", n_experiences=2).n_experiences
        2
    """
    if name not in BENCHMARKS:
        known = ", ".join(sorted(BENCHMARKS))
        raise ValueError(f"name={name!r} is not a known benchmark; choose one of {known}.")
    return BENCHMARKS[name](**options)
