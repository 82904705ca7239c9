"""PEGP with references: what the model answered before any training stays, too."""

from __future__ import annotations

import pytest
import torch
from clip_streams import learner, tasks, train
from clips import pictures
from models import images, relative_change
from streams import naive, stream

from avl_pegp.pet import Adapter, LinearAdapter, LoRA
from avl_pegp.plugins import PEGPPlugin

BATCHES = [
    pictures(2, seed=7),
    (pictures(1, seed=8), torch.tensor([0])),
]  # without targets, and with
UNSEEN = pictures(4, seed=9)


def answers_of(model, parts):
    with torch.no_grad():
        return torch.cat([model.eval()(x) for x in parts])


def changes(references, *pets):
    """How far the answers move over a stream: on the references, and on other images."""
    parts = learner(PEGPPlugin(energy=1.0, progress=False, references=references), *pets)
    shown = [b if torch.is_tensor(b) else b[0] for b in BATCHES]
    before = answers_of(parts.untouched, shown), answers_of(parts.untouched, [UNSEEN])
    train(parts, tasks())
    after = answers_of(parts.model, shown), answers_of(parts.model, [UNSEEN])
    return [relative_change(now, then) for now, then in zip(after, before, strict=True)]


@pytest.mark.parametrize("pets", [(LoRA(40), Adapter(40)), (LinearAdapter(40),)], ids=len)
def test_a_clip_answers_on_references_as_it_did_before_training(pets):
    kept, free = changes(BATCHES, *pets)
    assert kept <= 1e-9
    assert free > 1e-6


def test_without_references_these_answers_drift():
    kept, _ = changes(None, LoRA(8), Adapter(8))
    assert kept > 1e-3


def test_a_vit_keeps_its_features_on_references():
    references = images(2, seed=7)
    parts = naive(plugin=PEGPPlugin(energy=1.0, progress=False, references=[references]))
    with torch.no_grad():
        before = parts.model.eval().forward_features(references)
    parts.strategy.train(stream().train_stream, eval_streams=[])
    with torch.no_grad():
        after = parts.model.eval().forward_features(references)
    assert relative_change(after, before) <= 1e-9


def test_references_are_gathered_once_also_by_a_run_that_goes_on():
    class Counted(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

    batches = Counted(BATCHES)
    plugin = PEGPPlugin(energy=1.0, progress=False, references=batches)
    parts, (first, second, _) = learner(plugin, LoRA(8)), tasks()
    train(parts, [first])
    passes = batches.passes
    plugin.load_state_dict(plugin.state_dict())
    train(parts, [second])
    assert batches.passes == passes > 0
    assert plugin.pegp.memory.experiences == 3


def test_references_say_nothing_of_texts():
    parts = learner(PEGPPlugin(references=BATCHES, progress=False), LoRA(2, tower="text"))
    with pytest.raises(ValueError, match="references with a PET in the text tower"):
        train(parts, tasks()[:1])
