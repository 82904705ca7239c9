from __future__ import annotations

import math
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from avalanche.training.plugins import SupervisedPlugin
from clip_streams import BOTH, TEXTS, learner, tasks, tensors_of, train
from clips import pictures
from streams import naive, stream

from avl_pegp.pet import Adapter, Context, LinearAdapter, LoRA, Prefix, Prompt
from avl_pegp.pet.trainable import trainable_tensors
from avl_pegp.plugins import ZSCLPlugin, masked_cross_entropy

UNLABELED = pictures(7, seed=5)


def divergence_by_hand(student, teacher, temperature):
    """T² KL of the softened rows, one by one."""
    total = 0.0
    for now, then in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = ([math.exp(v / temperature) for v in row] for row in (now, then))
        q, p = [v / sum(q) for v in q], [v / sum(p) for v in p]
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


class Compared(ZSCLPlugin):
    """Holds the teacher and the loss against a whole copy of the model that teaches."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.losses = []

    def after_training_exp(self, strategy, **kwargs):
        super().after_training_exp(strategy, **kwargs)
        self.last = deepcopy(strategy.model).eval()

    def penalty(self, strategy):
        modes = [module.training for module in strategy.model.modules()]
        loss, model = super().penalty(strategy), strategy.model
        assert modes == [module.training for module in model.modules()]
        assert self.taught(model, lambda m: m.encode_text(TEXTS)).requires_grad is False

        x = self._images_of(strategy)
        known = self.untouched if self.teacher == "zero_shot" or not self._tasks else self.last
        with torch.no_grad():
            texts = known.encode_text(self.references)
            taught = known.logits(known.encode_image(x), texts)
            learned = model.logits(model.encode_image(x), texts)
        by_hand = divergence_by_hand(learned, taught, self.temperature)
        by_hand += divergence_by_hand(learned.T, taught.T, self.temperature)
        assert loss.item() == pytest.approx(by_hand, rel=1e-6, abs=1e-12)
        self.losses.append(loss.item())
        return loss


@pytest.mark.parametrize("teacher", ["zero_shot", "previous"])
@pytest.mark.parametrize(
    ("pets", "unlabeled"),
    [
        (BOTH, None),
        ((Adapter(4), Prefix(3), Prompt(3)), UNLABELED),
        ((LinearAdapter(4), Context(2)), UNLABELED),
    ],
)
def test_the_loss_holds_to_what_the_teacher_says_for_every_pet(pets, unlabeled, teacher):
    plugin = Compared(TEXTS, unlabeled, teacher=teacher, temperature=3.0, ensemble_every=2)
    parts = learner(plugin, *pets)
    plugin.untouched = parts.untouched
    train(parts, tasks()[:2])
    assert len(plugin.losses) == 6 and plugin.losses[-1] > 1e-9
    starts_there = teacher == "previous"
    assert (plugin.losses[3] < 1e-12) is starts_there  # nothing moved since the last task


class Moves(SupervisedPlugin):
    """Moves the trainable tensors once a task has begun, as steps would."""

    def before_training_epoch(self, strategy, **kwargs):
        with torch.no_grad():
            for p in trainable_tensors(strategy.model).values():
                p += 0.01


@pytest.mark.parametrize("teacher", ["zero_shot", "previous"])
def test_the_gradient_is_that_of_all_three_terms_and_reaches_pets_only(teacher):
    plugin = ZSCLPlugin(TEXTS, teacher=teacher, strength=0.7, l2=0.3, ensemble_every=None)
    parts, first, second = learner(plugin, train_epochs=1), *tasks()[:2]
    frozen = {n: p.clone() for n, p in parts.model.named_parameters() if not p.requires_grad}
    train(parts, [first])
    start, model = tensors_of(parts.model), deepcopy(parts.model)
    known = parts.untouched if teacher == "zero_shot" else deepcopy(model)
    with torch.no_grad():
        for p in trainable_tensors(model).values():
            p += 0.01
    x = torch.stack([item[0] for item in second.dataset])
    loss = masked_cross_entropy(model(x), torch.tensor([2, 2, 3, 3]), {2, 3})
    with torch.no_grad():
        texts = known.encode_text(TEXTS)
        taught = known.logits(known.encode_image(x), texts)
    learned = model.logits(model.encode_image(x), texts)
    for student, then in ((learned, taught), (learned.T, taught.T)):
        p = (then / 2).softmax(dim=1)
        loss = loss - 0.7 * 4 * (p * (student / 2).log_softmax(dim=1)).sum() / len(p)
    now = trainable_tensors(model)
    loss = loss + 0.3 * sum(((now[name] - start[name]) ** 2).sum() for name in start)
    model.zero_grad()
    loss.backward()

    parts.strategy.plugins.append(Moves())
    train(parts, [second])  # one step, the batch in any order: gradients stay
    for name, p in now.items():
        torch.testing.assert_close(parts.model.get_parameter(name).grad, p.grad)
    for name, before in frozen.items():
        p = parts.model.get_parameter(name)
        assert p.grad is None and torch.equal(p, before)


def matching(model):
    with torch.no_grad():
        model.eval()
        logits = model.logits(model.encode_image(UNLABELED), model.encode_text(TEXTS))
    return (logits / 2).softmax(dim=1)


def test_a_strong_teacher_keeps_the_matching_of_what_is_not_trained():
    moved = []
    for strength in (0.0, 10.0):
        plugin = ZSCLPlugin(TEXTS, UNLABELED, strength=strength, l2=0.0, ensemble_every=None)
        parts = learner(plugin, LoRA(4), train_epochs=10)
        before = matching(parts.untouched)
        train(parts, tasks()[:1])
        moved.append((matching(parts.model) - before).norm().item())
    assert moved[1] < 0.5 * moved[0]


@pytest.mark.parametrize("count", [3, 4, 7])
def test_reference_images_come_round_one_after_another(count):
    plugin = ZSCLPlugin(TEXTS, UNLABELED[:count])
    seen = []
    for i in range(count):
        strategy = SimpleNamespace(
            mb_x=torch.zeros(4, 3, 32, 32), clock=SimpleNamespace(train_iterations=i)
        )
        batch = plugin._images_of(strategy)
        assert len(batch) == min(4, count) and batch.dtype == torch.float32
        seen += batch.tolist()
    times = [seen.count(image) for image in UNLABELED[:count].float().tolist()]
    assert sum(times) == len(seen) and max(times) - min(times) <= (count < 4)


def test_many_references_are_encoded_in_parts():
    words = ("red", "fox", "old", "key", "sky", "big", "cars")
    many = [f"{a} {b} {c}" for a in words for b in words for c in words]
    plugin = ZSCLPlugin(many, ensemble_every=None)
    parts = learner(plugin, train_epochs=1)
    train(parts, tasks()[:1])
    with torch.no_grad():
        torch.testing.assert_close(plugin._texts, parts.untouched.encode_text(many))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"references": "a red key"}, "references='a red key': must be a list"),
        ({"references": ["a red key"]}, "at least two texts"),
        ({"images": torch.zeros(3, 32, 32)}, r"images has shape \(3, 32, 32\)"),
        ({"images": torch.zeros(0, 3, 32, 32)}, "n at least 1"),
        ({"teacher": "student"}, "teacher='student': must be one of zero_shot, previous"),
        ({"strength": -1.0}, "strength=-1.0"),
        ({"l2": float("nan")}, "l2=nan"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"ensemble_every": 0}, "ensemble_every=0"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ZSCLPlugin(**{"references": TEXTS, **options})


def test_a_model_without_texts_or_without_pets_is_refused_before_training():
    with pytest.raises(TypeError, match="VisionTransformer, which encodes no texts"):
        naive(plugin=ZSCLPlugin(TEXTS)).strategy.train(stream().train_stream[0])
    parts = learner(ZSCLPlugin(TEXTS))
    parts.model.pet_attachment.detach()
    with pytest.raises(ValueError, match=r"without PETs.*attach\(model"):
        train(parts, tasks()[:1])
