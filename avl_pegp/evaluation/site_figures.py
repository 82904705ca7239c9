"""Figures of what happens at sites, block by block: bases, energy and drift, from plain numbers.

Each returns a figure, not shown and not saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from avl_pegp.evaluation import look
from avl_pegp.evaluation.site_numbers import Spectrum

_MARKED_UP_TO = 20  # experiences or extensions
_MOST_KINDS = 12
_LOWEST = 1e-4  # percent; on a logarithmic scale smaller shares are not drawn


def rank_growth(
    history: Sequence[Mapping[str, tuple[int, int]]],
    title: str,
    *,
    extensions: Sequence[int] | None = None,
) -> Figure:
    """Share of directions that are protected after each experience, by block and kind of site.

    One panel a kind of site, one line a block, dark to light from the first to the last. At 100 %
    nothing more can be learned there. A site without a direction is left out.

    Args:
        history: ``plugin.ranks()`` after each experience: by site, protected directions and all.
        title: above the panels.
        extensions: how many times bases had been extended by each entry of ``history``, where that is
            not once an experience, as in online streams without boundaries: the horizontal axis counts
            these.

    Raises:
        ValueError: no experience, no site in any of them, or not as many ``extensions`` as entries.

    Example:
        >>> history = [{"blocks.0.A": (2, 8)}, {"blocks.0.A": (4, 8)}]
        >>> rank_growth(history, "glyphs").axes[0].lines[0].get_ydata().tolist()
        [25.0, 50.0]
    """
    shares = [
        {name: rank / all_ for name, (rank, all_) in ranks.items() if all_} for ranks in history
    ]
    return _over_time(shares, title, extensions, "protected directions (%)", (-2, 102))


def drift_over_time(
    history: Sequence[Mapping[str, float | None]],
    title: str,
    *,
    extensions: Sequence[int] | None = None,
) -> Figure:
    """Relative squared change of each site's map on old features, after each experience.

    Panels, lines, arguments and errors as in ``rank_growth``, but ``history`` is of ``plugin.drift()``;
    the scale is logarithmic, and what is unknown or below 0.0001 % is left out. A panel without a line
    says so.
    """
    return _over_time(history, title, extensions, "drift (% of old output energy)", None)


def by_block(
    panels: Mapping[str, Mapping[str, float | None]], title: str, label: str, *, log: bool = False
) -> Figure:
    """A share of every site over the blocks, one panel a method, one line a kind of site.

    Of many kinds the first twelve are drawn, and the title says so. A panel without a line says why.

    Args:
        panels: for each method a share (0..1) by site; ``None`` or NaN leaves a gap.
        title: above the panels.
        label: what the shares are, without a unit.
        log: a logarithmic scale instead of 0 to 100 %.

    Raises:
        ValueError: no panel, or no site in any of them.

    Example:
        >>> by_block({"PEGP": {"blocks.0.A": 0.5}}, "glyphs", "drift").axes[0].get_ylabel()
        'drift (%)'
    """
    kinds, title = _shown_kinds((site for shares in panels.values() for site in shares), title)
    figure, axes = look.panels_of(len(panels), title)
    for axis, (name, shares) in zip(axes, panels.items(), strict=True):
        axis.sharex(axes[0])
        for i, (kind, sites) in enumerate(kinds.items()):
            values = [_percent(shares.get(site), log) for site in sites.values()]
            axis.plot([*sites], values, label=kind, ms=5, lw=1.2, **look.style_of(i))
        _say_where_empty(axis, _why_empty([*shares.values()], log))
        look.tidy(axis, name, counting="block")
    _scale(axes, None if log else (-2, 102))
    axes[0].set_ylabel(f"{label} (%)")
    look.legend_below(figure, axes, columns=2)
    return figure


def energy_spectrum(spectra: Mapping[str, Spectrum], energy: float, title: str) -> Figure:
    """How much energy the first k directions of each site's features leave, and the threshold.

    One panel a kind of site, one line a block; the dashed line is what ``energy`` may leave. A dot is
    the site's basis: how many directions it holds, and what it leaves. On the line it is as good as a
    basis of that size can be; to the right of it, bases added experience by experience hold more
    than one taken at once would.

    Args:
        spectra: by site.
        energy: share that was asked for, in (0, 1]; 1 leaves nothing and draws no line.
        title: above the panels.

    Raises:
        ValueError: no site.

    Example:
        >>> from avl_pegp.evaluation import Spectrum
        >>> spectra = {"blocks.0.A": Spectrum([3.0, 1.0], 1, 0.75)}
        >>> energy_spectrum(spectra, 0.9, "glyphs").axes[0].lines[0].get_ydata().tolist()
        [100.0, 25.0, nan]
    """
    if not 0 < energy <= 1:
        raise ValueError(f"energy={energy!r}: must be above 0 and at most 1, as PEGP was given it")
    figure, axes, places = _by_kind(spectra, title, "directions")
    for site, (axis, colour) in places.items():
        spectrum = spectra[site]
        beyond = np.append(np.cumsum(spectrum.energies[::-1])[::-1], 0.0)  # the first k directions
        left = 100 * beyond / (beyond[0] if beyond[0] > 0 else math.nan)
        axis.plot(np.where(left > _LOWEST, left, np.nan), color=colour, lw=1.4)
        rest = max(100 * (1 - spectrum.captured), _LOWEST)
        axis.plot(spectrum.rank, rest, "o", ms=7, mfc=colour, mec="white")
    _scale(axes, None)
    for axis in axes:
        if energy < 1:
            axis.axhline(100 * (1 - energy), color=look.CONTRAST, ls="--", lw=1.4)
        axis.set_ylim(_LOWEST / 2, 150)
    axes[0].set_ylabel("energy left (%)")
    return figure


def _over_time(
    history: Sequence[Mapping[str, float | None]],
    title: str,
    extensions: Sequence[int] | None,
    label: str,
    limits: tuple[float, float] | None,
) -> Figure:
    """Shares by site over experiences or extensions; ``limits`` of the scale, ``None``: logarithmic."""
    times = range(1, len(history) + 1) if extensions is None else extensions
    if len(times) != len(history):
        raise ValueError(
            f"extensions has {len(times)} numbers for {len(history)} entries of history: must be one "
            "each"
        )
    sites = [site for shares in history for site in shares]
    counting = "experiences learned" if extensions is None else "times that bases grew"
    figure, axes, places = _by_kind(sites, title, counting)
    marker = "o" if len(history) <= _MARKED_UP_TO else ""
    for site, (axis, colour) in places.items():
        values = [_percent(shares.get(site), limits is None) for shares in history]
        axis.plot(times, values, marker=marker, ms=4, lw=1.4, color=colour)
    _scale(axes, limits)
    for axis in axes:
        _say_where_empty(axis, f"nothing known above {_LOWEST:g} %")
    axes[0].set_ylabel(label)
    return figure


def _by_kind(
    sites: Iterable[str], title: str, counting: str
) -> tuple[Figure, list[Axes], dict[str, tuple[Axes, Any]]]:
    """One panel a kind of site; and where each site is to be drawn, in the colour of its block."""
    kinds, title = _shown_kinds(sites, title)
    blocks = sorted({block for sites in kinds.values() for block in sites})
    figure, axes = look.panels_of(len(kinds), title, columns=2 if len(kinds) <= 4 else 3)
    places: dict[str, tuple[Axes, Any]] = {}
    for axis, (kind, by_block) in zip(axes, kinds.items(), strict=True):
        look.tidy(axis, kind, counting=counting)
        for block, site in by_block.items():
            places[site] = axis, look.shade(blocks.index(block), len(blocks))
    shades = ListedColormap([look.shade(i, 256) for i in range(256)])
    scale = ScalarMappable(Normalize(blocks[0], max(blocks[-1], blocks[0] + 1)), shades)
    look.count_on(figure.colorbar(scale, ax=axes, label="block", shrink=0.8).ax.yaxis)
    return figure, axes, places


def _percent(share: float | None, log: bool) -> float:
    """NaN for what is not known, or has no place on a logarithmic scale."""
    return math.nan if share is None or (log and 100 * share < _LOWEST) else 100 * share


def _say_where_empty(axis: Axes, why: str) -> None:
    """Say why no point of any line is drawn, where none is."""
    if not any(np.isfinite(line.get_ydata()).any() for line in axis.lines):
        look.say_in(axis, why)


def _why_empty(shares: Sequence[float | None], log: bool) -> str:
    """Why nothing of a method's shares, at all its sites, could be drawn."""
    if any(math.isfinite(_percent(share, log)) for share in shares):
        return "all there is to draw is of kinds left out"
    if any(math.isfinite(_percent(share, False)) for share in shares):
        return f"below {_LOWEST:g} % at every site"
    return "no numbers"


def _scale(axes: Sequence[Axes], limits: tuple[float, float] | None) -> None:
    """One scale for all panels, once all is drawn: given, or decades about everything."""
    if limits is None:
        axes[0].set_yscale("log")  # of all: they share it
        axes[0].yaxis.set_major_formatter("{x:g}")
        axes[0].yaxis.set_minor_formatter(NullFormatter())
        low, high = np.log10(axes[0].get_ylim())
        limits = (10.0 ** math.floor(low), 10.0 ** math.ceil(high))
    axes[0].set_ylim(limits)


def _shown_kinds(sites: Iterable[str], title: str) -> tuple[dict[str, dict[int, str]], str]:
    """The kinds of sites that there is room for, and a title that says where some are left out.

    Of a site's path the first number is the block, the rest the kind; what all kinds begin with is
    left out of their names.

    Returns:
        By kind, block and site, blocks in their order; and the title.

    Raises:
        ValueError: no site.

    Example:
        >>> _shown_kinds(["blocks.1.attn.qkv.A", "blocks.0.attn.qkv.A"], "ranks")
        ({'attn.qkv.A': {0: 'blocks.0.attn.qkv.A', 1: 'blocks.1.attn.qkv.A'}}, 'ranks')
    """
    found: dict[str, dict[int, str]] = {}
    for site in dict.fromkeys(sites):
        parts = site.split(".")
        at = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
        if at is None:  # a kind of all that stand in no block, one after the other
            alone = found.setdefault("in no block", {})
            alone[len(alone)] = site
        else:
            kind = ".".join([*parts[:at], "*", *parts[at + 1 :]])
            found.setdefault(kind, {})[int(parts[at])] = site
    if not found:
        raise ValueError(
            "no site to draw: give what plugin.ranks() and the like return after training"
        )
    starts, _, ends = zip(*(kind.partition("*.") for kind in found), strict=True)
    names = ends if len({*starts}) == 1 and all(ends) else found
    blocks = (dict(sorted(by_block.items())) for by_block in found.values())
    kinds = dict(zip(names, blocks, strict=True))
    if len(kinds) > _MOST_KINDS:
        title = f"{title} ({_MOST_KINDS} of {len(kinds)} kinds)"
    return dict(list(kinds.items())[:_MOST_KINDS]), title
