"""How far the condition on a learned context goes: what it holds, and what it only slows."""

from __future__ import annotations

import torch
from clips import pictures, small_clip
from models import OPTIMIZERS, relative_change, tune

from avl_pegp.pet import Context, attach, pet_parameters
from avl_pegp.projection import PEGP

OLD, NEW = [0, 1, 2], [3, 4, 5]
IMAGES = pictures(6, seed=1)


def after_one_experience(project="step"):
    """A CLIP whose context has learned the old classes, its PEGP and its optimizer."""
    model = small_clip()
    attach(model, Context(4))
    optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
    pegp = PEGP(model, energy=1.0, project=project)
    pegp.begin(OLD)
    tune(model, optimizer, pegp, IMAGES, torch.tensor(OLD * 2), steps=5)
    pegp.gather([IMAGES])
    pegp.extend()
    pegp.begin(NEW)
    return model, pegp, optimizer


@torch.no_grad()
def old_rows(model):
    """What the first block of the text tower gets for old class prompts, and their features."""
    rows = []
    block = model.clip.transformer.resblocks[0]
    hook = block.register_forward_pre_hook(lambda _, args: rows.append(args[0].flatten(0, 1)))
    features = model.eval().encode_classes(OLD)
    hook.remove()
    return rows[0], features


def test_a_step_is_orthogonal_to_the_rows_of_the_first_block_and_to_nothing_else():
    model, pegp, optimizer = after_one_experience()
    vectors = model.clip.token_embedding.vectors.weight
    rows, start = old_rows(model)[0], vectors.detach().clone()
    count, width = pegp.ranks()["clip.token_embedding.vectors"]
    assert (count, width) == (torch.linalg.matrix_rank(rows), rows.shape[1])
    assert count < width
    tune(model, optimizer, pegp, IMAGES, torch.tensor(NEW * 2), steps=5)
    step = vectors.detach() - start
    assert step.norm() > 0.1
    assert (rows @ step.T).norm() <= 1e-9 * rows.norm() * step.norm()


def test_old_class_prompts_drift_less_than_without_the_condition():
    drift = {}
    for project in ("step", "none"):
        model, pegp, optimizer = after_one_experience(project)
        _, before = old_rows(model)
        tune(model, optimizer, pegp, IMAGES, torch.tensor(NEW * 2), steps=5)
        drift[project] = relative_change(old_rows(model)[1], before)
    assert 1e-9 < drift["step"] < drift["none"]
