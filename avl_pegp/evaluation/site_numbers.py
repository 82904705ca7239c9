"""Numbers of PEGP's memory of a site: energy held, steps removed, leak, drift, spectra.

Each number is a share of a whole. A function gives both for one site, so that ``shares`` can tell the
share at each site and that of all sites taken together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from avl_pegp.projection import PEGP
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.site_memory import SiteMemory

Part = tuple[float, float]
"""A part, and the whole that it is taken of."""


def shares(parts: Mapping[str, Part]) -> dict[str, float]:
    """Part over whole for each site, and under ``""`` the sum of all parts over that of all wholes.

    Sites whose whole is zero or NaN have no share and are left out.

    Example:
        >>> shares({"a": (1.0, 2.0), "b": (1.0, 6.0), "idle": (0.0, 0.0)})
        {'': 0.25, 'a': 0.5, 'b': 0.16666666666666666}
    """
    there = {site: part for site, part in parts.items() if part[1] > 0}
    if not there:
        return {}
    total = (sum(part for part, _ in there.values()), sum(whole for _, whole in there.values()))
    return {site: part / whole for site, (part, whole) in {"": total, **there}.items()}


def roots(numbers: Mapping[str, float]) -> dict[str, float]:
    """Ratios of norms from ratios of squared norms.

    Example:
        >>> roots({"a": 0.25})
        {'a': 0.5}
    """
    return {site: math.sqrt(number) for site, number in numbers.items()}


def energy_matrix(memory: SiteMemory, centred: bool) -> Tensor:
    """``(G, d, d)``, the moment C of all old features whose trace is their energy.

    Args:
        memory: of the site.
        centred: take C about the mean, as ``Protection(centred=True)`` counts energy.
    """
    width, moment = memory.reference.shape[-1], memory.moment
    return moment.about_mean(width) if centred else moment.of_width(width)


def captured_energy(memory: SiteMemory, centred: bool) -> Part:
    """``tr(UᵀCU)`` of ``tr C``: what lies in the bases; C and arguments as in ``energy_matrix``."""
    C = energy_matrix(memory, centred)
    held = [(b.columns * (c @ b.columns)).sum() for b, c in zip(memory.bases, C, strict=True)]
    return float(sum(held)), float(C.diagonal(dim1=-2, dim2=-1).sum())


def removed(memory: SiteMemory, delta: Tensor) -> Tensor:
    """Squared norms of what projection takes from a step or gradient, and of all of it.

    Args:
        memory: of the site.
        delta: ``(G, out, d)``.

    Returns:
        ``(2,)``, where ``delta`` is: reading it out can wait until those of all sites are there.
    """
    along = delta - memory.project(delta)
    return torch.stack([along.square().sum(), delta.square().sum()])


def leak(memory: SiteMemory, weight: Tensor) -> Part:
    """``‖(W − R) U‖²`` of ``‖W − R‖²``, R the weight when the basis was last extended."""
    step = weight.to("cpu", torch.float64) - memory.reference
    along = [
        (s @ basis.columns).square().sum() for basis, s in zip(memory.bases, step, strict=True)
    ]
    return float(sum(along)), float(step.square().sum())


def drift(memory: SiteMemory, weight: Tensor) -> Part:
    """Squared change of the site's map on all old features, of its energy: see ``SiteMemory``."""
    return memory.drift(weight) * memory.output_energy, memory.output_energy


def log10_singular_values(moments: Mapping[str, tuple[Moment, int]]) -> dict[str, Tensor]:
    """The features' singular values as powers of ten, in all groups together, largest first.

    They are the roots of the eigenvalues of the second moment; those lost in its rounding are left
    out, and sites that have no others. A moment that several sites share is decomposed once.

    Args:
        moments: by site, each with the width that counts.

    Example:
        >>> moment = Moment.of(torch.tensor([[100.0, 0.0], [0.0, 1.0]]))
        >>> log10_singular_values({"0": (moment, 2)})
        {'0': tensor([2., 0.], dtype=torch.float64)}
    """
    found: dict[tuple[int, int], Tensor] = {}
    for moment, width in moments.values():
        if (id(moment), width) not in found:
            values = torch.linalg.eigvalsh(moment.of_width(width)).flatten()
            noise = width * torch.finfo(torch.float64).eps * values.max()
            logs = values[values > noise].sort(descending=True).values.log10() / 2
            found[id(moment), width] = logs
    spectra = {site: found[id(moment), width] for site, (moment, width) in moments.items()}
    return {site: spectrum for site, spectrum in spectra.items() if len(spectrum)}


class Spectrum(NamedTuple):
    """What a site's features hold, and what of it is protected.

    Attributes:
        energies: of all directions, largest first.
        rank: how many directions are protected.
        captured: the share (0..1) of the energy that lies in them; NaN where there is none.
    """

    energies: Sequence[float]
    rank: int
    captured: float


def spectra_of(pegp: PEGP) -> dict[str, Spectrum]:
    """The spectrum of every site's old features, all experiences together.

    Energies are eigenvalues of the second moment, of all groups (heads) side by side. Where the
    protection is centred they are about the mean, as ``energy`` counts them.

    Args:
        pegp: of a plugin, ``plugin.pegp``. Empty before the first experience is over.

    Example:
        >>> from torch import nn
        >>> pegp = PEGP(nn.Sequential(nn.Linear(2, 1, bias=False)), energy=0.9)
        >>> pegp.begin(), pegp.gather([torch.tensor([[2.0, 0.0], [0.0, 0.5]])]), pegp.extend()
        (None, None, None)
        >>> spectra_of(pegp)["0"].energies, spectra_of(pegp)["0"].rank
        ([4.0, 0.25], 1)
    """
    centred, spectra = pegp.settings.rule.centred, {}
    for site, memory in pegp.memory.sites.items():
        energies = torch.linalg.eigvalsh(energy_matrix(memory, centred)).clamp_min(0).flatten()
        held, total = captured_energy(memory, centred)
        share = held / total if total > 0 else math.nan
        spectra[site] = Spectrum(energies.sort(descending=True).values.tolist(), memory.rank, share)
    return spectra
