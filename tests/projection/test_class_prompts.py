"""Which class prompts feed the statistics of a model that trains on them."""

from __future__ import annotations

import pytest
import torch
from clips import NAMES, pictures, small_clip
from models import OPTIMIZERS, tune

from avl_pegp.pet import Context, LoRA, attach, pet_parameters
from avl_pegp.projection import PEGP

IMAGES, TARGETS = pictures(8, seed=1), torch.tensor([0, 1] * 4)
PASSES = 2 + 1  # two batches, and the first sample once more to try the layers' calls


def prepared(*pets, **options):
    model = small_clip()
    attach(model, *(pets or (LoRA(3, tower="text"),)))
    return model, PEGP(model, energy=1.0, **options)


def prompts_seen(model, pegp):
    """How many prompts each forward pass of gathering encodes."""
    counts = []
    hook = model.clip.transformer.register_forward_pre_hook(
        lambda _, args: counts.append(len(args[0]))
    )
    pegp.gather(IMAGES.split(4))
    hook.remove()
    return counts


@pytest.mark.parametrize(("classes", "count"), [([1, 3], 2), (None, 6)])
@pytest.mark.parametrize("evaluated", [True, False])
def test_those_of_the_experiences_classes_do_in_each_batch(classes, count, evaluated):
    model, pegp = prepared()
    pegp.begin(classes)
    if evaluated:  # features of all prompts are kept, but gathering must see them computed
        with torch.no_grad():
            model.eval()(IMAGES)
    assert prompts_seen(model, pegp) == [count] * PASSES
    pegp.extend()
    assert prompts_seen(model, pegp) == [6] * PASSES  # of no experience that was begun
    pegp.load_state_dict(pegp.state_dict())
    assert prompts_seen(model, pegp) == [6] * PASSES


def test_where_no_text_is_trained_none_is_encoded_for_it():
    model, pegp = prepared(LoRA(2))
    pegp.begin([0])
    with torch.no_grad():
        model(IMAGES)
    assert prompts_seen(model, pegp) == []


def test_a_class_without_a_name_is_refused():
    model, pegp = prepared()
    pegp.begin([5, 6])
    with pytest.raises(ValueError, match="must be indices of the 6 class names"):
        pegp.gather([IMAGES])
    assert model(IMAGES).isfinite().all()


def test_contexts_that_are_settled_are_no_edit_of_the_model():
    model, pegp = prepared(LoRA(3, tower="text"), Context(4), exclude="*.vectors.weight")
    optimizer = OPTIMIZERS["adamw_decay"](pet_parameters(model))
    with torch.no_grad():
        start = model.encode_classes()
    for t, classes in enumerate([(0, 1), (2, 3), (4, 5)]):
        with torch.no_grad():
            before = model.encode_classes()
        pegp.begin(classes)
        tune(model, optimizer, pegp, IMAGES, TARGETS + 2 * t, steps=5)
        pegp.gather([IMAGES])
        pegp.extend()
        model.settle_context(classes)
        with torch.no_grad():
            now = model.encode_classes()
        torch.testing.assert_close(now[: 2 * t], before[: 2 * t], rtol=0, atol=1e-9)
    assert (now - start).norm(dim=1).min() > 1e-3
    assert len(NAMES) == len(now)


def test_an_edited_backbone_is_still_noticed_beside_a_context():
    model, pegp = prepared(LoRA(3, tower="text"), Context(4), exclude="*.vectors.weight")
    pegp.begin([0])
    pegp.gather([IMAGES])
    pegp.extend()
    with torch.no_grad():
        model.clip.token_embedding.base.weight.add_(0.1)
    with pytest.raises(ValueError, match="edited backbone"):
        pegp.begin([1])
