"""How the energy of old features is spread over directions, and what of it a basis holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from avl_pegp.evaluation.site_numbers import captured_energy, energy_matrix
from avl_pegp.projection import PEGP
from avl_pegp.projection.memory import SiteMemory


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
    centred = pegp.settings.rule.centred
    return {site: _spectrum(memory, centred) for site, memory in pegp.memory.sites.items()}


def _spectrum(memory: SiteMemory, centred: bool) -> Spectrum:
    C = energy_matrix(memory, centred)
    energies = torch.linalg.eigvalsh(C).clamp_min(0).flatten().sort(descending=True).values
    held, total = captured_energy(memory, centred)
    return Spectrum(energies.tolist(), memory.rank, held / total if total > 0 else float("nan"))
