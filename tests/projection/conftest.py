"""What the tests of this room start from."""

from __future__ import annotations

import pytest
import torch
from models import OPTIMIZERS, images, small_vit, tune

from avl_pegp.pet import LoRA, attach, pet_parameters
from avl_pegp.projection import PEGP


@pytest.fixture
def protected():
    """``protected(*pets, energy=1.0, **options)``: a model after one experience (classes 0 and 1), its
    PEGP, its optimizer and the old inputs."""

    def after_one_experience(*pets, energy=1.0, **options):
        model = small_vit()
        attach(model, *(pets or (LoRA(4),)))
        optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
        pegp, old = PEGP(model, energy=energy, **options), images(2, seed=1)
        pegp.begin({0, 1})
        tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=5)
        pegp.gather([old])
        pegp.extend()
        return model, pegp, optimizer, old

    return after_one_experience
