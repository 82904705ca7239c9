"""Spectra of sites against their features."""

from __future__ import annotations

import pytest
import torch
from models import images, small_vit

from avl_pegp.evaluation import spectra_of
from avl_pegp.pet import LoRA, Prefix, attach
from avl_pegp.projection import PEGP, Protection


def gathered(pet, energy, centred):
    """A model whose bases hold these images, and what one site saw of them."""
    model = small_vit()
    attach(model, pet)
    pegp = PEGP(model, energy=energy, protection=Protection(centred=centred))
    pegp.begin()
    pegp.gather([images(8, seed=1)])
    pegp.extend()
    return model, pegp


@pytest.mark.parametrize("centred", [False, True])
def test_energies_are_squared_singular_values_of_the_features(centred):
    model, pegp = gathered(LoRA(2), 0.9, centred)
    seen = []
    module = model.get_submodule("blocks.1.attn.qkv.A")
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        pegp.gather([images(8, seed=1)])
    hook.remove()
    rows = seen[0].flatten(0, 1)  # the last pass shows one sample, to try the calls
    rows = rows - rows.mean(0) if centred else rows
    expected = torch.linalg.svdvals(rows).square()
    spectrum = spectra_of(pegp)["blocks.1.attn.qkv.A"]
    found = torch.tensor(spectrum.energies, dtype=torch.float64)
    torch.testing.assert_close(found[: len(expected)], expected, rtol=1e-6, atol=1e-9)
    basis = pegp.memory.sites["blocks.1.attn.qkv.A"].bases[0].columns
    held = (rows @ basis).square().sum() / rows.square().sum()
    assert spectrum.captured == pytest.approx(float(held))
    assert spectrum.captured >= 0.9
    assert spectrum.rank == basis.shape[1]


def test_heads_stand_side_by_side_and_every_site_has_a_spectrum():
    _, pegp = gathered(Prefix(5), 1.0, False)
    spectra = spectra_of(pegp)
    assert spectra.keys() == pegp.ranks().keys()
    for site, (rank, dimension) in pegp.ranks().items():
        assert (spectra[site].rank, len(spectra[site].energies)) == (rank, dimension)
        assert spectra[site].captured == pytest.approx(1)
        assert list(spectra[site].energies) == sorted(spectra[site].energies, reverse=True)


def test_before_the_first_experience_there_is_none():
    model = small_vit()
    attach(model, LoRA(2))
    assert spectra_of(PEGP(model)) == {}
