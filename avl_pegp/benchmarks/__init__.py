"""Streams to learn from: ordinary Avalanche benchmarks, some of which need no download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from avalanche.benchmarks import CLScenario

from avl_pegp.benchmarks.blurry import BlurryTasks, si_blurry
from avl_pegp.benchmarks.blurry_streams import blurry_digits, blurry_glyphs
from avl_pegp.benchmarks.corruptions import CORRUPTIONS
from avl_pegp.benchmarks.digits import split_digits
from avl_pegp.benchmarks.domains import DOMAINS, domain_glyphs, join_domains
from avl_pegp.benchmarks.glyphs import GLYPHS, split_glyphs
from avl_pegp.benchmarks.online import OnlineStream, online_benchmark
from avl_pegp.benchmarks.rendering import FONTS, render_glyphs
from avl_pegp.benchmarks.shifted import STYLES, shifted_glyphs

__all__ = [
    "BENCHMARKS",
    "CORRUPTIONS",
    "DOMAINS",
    "FONTS",
    "GLYPHS",
    "STYLES",
    "BlurryTasks",
    "OnlineStream",
    "blurry_digits",
    "blurry_glyphs",
    "create_benchmark",
    "domain_glyphs",
    "join_domains",
    "online_benchmark",
    "render_glyphs",
    "shifted_glyphs",
    "si_blurry",
    "split_digits",
    "split_glyphs",
]

#: What ``create_benchmark`` knows; add a function of your own to use it by name. Each takes
#: ``order_seed``, and what it returns carries ``class_names`` and ``class_order``.
BENCHMARKS: dict[str, Callable[..., CLScenario[Any]]] = {
    "blurry_digits": blurry_digits,
    "blurry_glyphs": blurry_glyphs,
    "domain_glyphs": domain_glyphs,
    "shifted_glyphs": shifted_glyphs,
    "split_digits": split_digits,
    "split_glyphs": split_glyphs,
}


def create_benchmark(name: str, **options: Any) -> CLScenario[Any]:
    """Build a benchmark by the name of its function.

    Args:
        name: a key of ``BENCHMARKS``.
        options: passed on to that function.

    Raises:
        ValueError: the name is not known.

    Example:
        >>> len(create_benchmark("split_digits", n_experiences=2, order_seed=0).train_stream)
        2
    """
    if name not in BENCHMARKS:
        known = ", ".join(sorted(BENCHMARKS))
        raise ValueError(f"name={name!r} is not a known benchmark; choose one of {known}.")
    return BENCHMARKS[name](**options)
