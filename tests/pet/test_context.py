"""Learned contexts: what stands where, what they begin as, and contexts that were settled."""

from __future__ import annotations

import pytest
import torch
from clip_forms import stirred
from clips import NAMES, pictures, small_clip
from open_clip import SimpleTokenizer
from torch import nn
from torch.nn import functional as F

from avl_pegp.backbones.clip import CLIPClassifier
from avl_pegp.pet import Context, attach, pet_parameters, trainable_tensors
from avl_pegp.pet.context import ContextEmbedding

IMAGES = pictures(2, seed=0)


def with_context(length=4, **options):
    model = small_clip(**options)
    attach(model, Context(length))
    return model, model._text.root.token_embedding


def trained(model, classes, steps=3):
    """The model after some steps on these classes."""
    optimizer = torch.optim.AdamW(pet_parameters(model), lr=0.1)
    targets = torch.tensor(list(classes)[:2])
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model.train()(IMAGES), targets).backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def features(model):
    return model.encode_classes()


@torch.no_grad()
def test_vectors_stand_between_the_start_and_the_name():
    model, embedding = with_context(3)
    seen = []
    model.clip.positional_embedding.zero_()
    hook = model.clip.transformer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.encode_classes([0, 1])
    hook.remove()
    for tokens, name in zip(seen[0], NAMES, strict=False):
        numbers = model.tokenizer.encode(name + ".")
        words = embedding.base(torch.tensor([49406, *numbers, 49407]))
        expected = torch.cat([words[:1], embedding.vectors.weight, words[1:]])
        assert torch.equal(tokens[: len(expected)], expected)


@pytest.mark.parametrize("custom_text", [False, True])
def test_it_begins_as_the_last_words_of_the_template(custom_text):
    for length in (1, 4, 6):
        _, embedding = with_context(length, custom_text=custom_text)
        words = embedding.base(torch.tensor(SimpleTokenizer().encode("a photo of a")))
        assert torch.equal(embedding.vectors.weight[-4:], words[-length:])
        drawn = embedding.vectors.weight[:-4]
        assert drawn.abs().max() < 0.2 if length > 4 else drawn.numel() == 0


@pytest.mark.parametrize(("template", "length"), [("{}", 2), ("{} in a photo", 1), ("a {}", 3)])
def test_templates_with_fewer_words_than_vectors_have_drawn_ones(template, length):
    model, embedding = with_context(length, template=template)
    assert embedding.vectors.weight.shape == (length, 48)
    assert model(IMAGES).isfinite().all()


def test_other_texts_are_not_touched():
    model, bare = with_context()[0], small_clip()
    with torch.no_grad():
        before = bare.requires_grad_(False).encode_text(["a red fox"])
        torch.testing.assert_close(stirred(model).encode_text(["a red fox"]), before)
        assert not torch.allclose(features(model), features(bare))


def test_settled_classes_keep_their_features_while_others_train():
    model, embedding = with_context()
    for t, classes in enumerate([(0, 1), (2, 3), (4, 5)]):
        before, start = features(model), embedding.start.clone()
        trained(model, classes)
        now, old = features(model), [c for c in range(6) if c < classes[0]]
        assert torch.equal(now[old], before[old])
        assert not torch.allclose(now[classes[0] :], before[classes[0] :])
        model.settle_context(classes)
        assert torch.equal(embedding.vectors.weight, start)
        assert torch.equal(features(model)[: classes[1] + 1], now[: classes[1] + 1])
        assert embedding.settled.shape == (t + 1, 4, 48)


def test_classes_that_recur_keep_their_context():
    model, embedding = with_context()
    trained(model, (0, 1))
    model.settle_context([0, 1])
    trained(model, (1, 2))
    before = features(model)
    model.settle_context({1, 2})
    assert embedding.owners.tolist() == [1, 1, 2]
    assert torch.equal(features(model)[:3], before[:3])
    model.settle_context([0, 2])  # none is new: nothing to keep
    assert len(embedding.settled) == 2


@pytest.mark.parametrize("length", [1, 3])
def test_fillers_count_down_through_the_owners_vectors(length):
    embedding = ContextEmbedding(nn.Embedding(9, 2), torch.zeros(length, 2))
    assert embedding.fillers([5, 0]).tolist() == [[-1 - j for j in range(length)]] * 2
    for k, classes in enumerate([[0], [4, 2]]):
        nn.init.constant_(embedding.vectors.weight, k + 1.0)
        embedding.settle(classes)
    nn.init.constant_(embedding.vectors.weight, 9.0)
    order = [7, 4, 0, 1, 2]
    vectors = embedding(embedding.fillers(order))
    assert vectors.shape == (5, length, 2)
    assert vectors[:, :, 0].mean(dim=1).tolist() == [9, 2, 1, 9, 2]
    assert torch.equal(embedding(torch.tensor([[3]])), embedding.base(torch.tensor([[3]])))


def test_nothing_but_the_vectors_is_trained():
    model, embedding = with_context()
    model.settle_context([0])
    (name,) = trainable_tensors(model)
    assert name == "clip.token_embedding.vectors.weight"
    model(IMAGES).square().sum().backward()
    assert embedding.vectors.weight.grad.norm() > 0


class TestBadInput:
    def test_a_length_below_one_is_refused(self):
        with pytest.raises(ValueError, match="Context.length=0: must be a whole number"):
            Context(0)

    def test_a_context_beside_which_a_name_has_no_room_is_refused(self):
        model = small_clip()  # 16 tokens; "capital omega." with start and end takes 5
        attach(model, Context(11)).detach()
        with pytest.raises(
            ValueError, match="length=12: beside the longest class name there is room for 11"
        ):
            attach(model, Context(12))

    def test_names_for_which_a_context_leaves_no_room_are_refused_and_change_nothing(self):
        model, _ = with_context(11)
        before = features(model)
        with pytest.raises(ValueError, match="'one two three four.' has 7 tokens .* at most 5"):
            model.set_classes(["fox", "one two three four"])
        assert model.class_names == NAMES
        assert torch.equal(features(model), before)

    @pytest.mark.parametrize("kind", ["tokenizer", "attention", "pool"])
    def test_a_text_tower_that_takes_none_is_refused(self, kind):
        text = {"attention": {"no_causal_mask": True}, "pool": {"pool_type": "last"}}.get(kind, {})
        model = small_clip(custom_text=True, **text)
        if kind == "tokenizer":
            own = model.tokenizer
            model = CLIPClassifier(model.clip, lambda texts: own(texts), NAMES, "a {}")
        with pytest.raises(TypeError, match="Context on a CLIPClassifier: it needs a text tower"):
            attach(model, Context(2))

    def test_settling_without_a_context_is_refused(self):
        with pytest.raises(TypeError, match=r"settle_context\(\) of a model without a Context"):
            small_clip().settle_context([0])

    @pytest.mark.parametrize("classes", [[], [6], [-1, 2]])
    def test_classes_without_a_name_are_refused(self, classes):
        with pytest.raises(ValueError, match="must be indices of the 6 class names"):
            with_context()[0].settle_context(classes)
