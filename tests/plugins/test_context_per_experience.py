"""Contexts that are settled when a task is over."""

from __future__ import annotations

import pytest
import torch
from avalanche.benchmarks import nc_benchmark, split_online_stream
from clip_streams import learner, train
from clips import pictures
from streams import by_loop, by_stream, naive
from torch.utils.data import TensorDataset

from avl_pegp.pet import Context, LoRA
from avl_pegp.plugins import ContextPerExperiencePlugin, PEGPPlugin

CONTEXT = (Context(4),)
PEGP_BESIDE = {"energy": 1.0, "progress": False, "exclude": ("*.vectors.weight",)}


def tasks(per_class=2):
    """Three experiences of two classes, of normalised images."""
    dataset = TensorDataset(
        pictures(6 * per_class, seed=3), torch.arange(6).repeat_interleave(per_class)
    )
    dataset.targets = dataset.tensors[1].tolist()
    options = {"task_labels": False, "shuffle": False, "fixed_class_order": list(range(6))}
    return nc_benchmark(dataset, dataset, n_experiences=3, **options).train_stream


def pieces(size, boundaries=True):
    """The same tasks, in pieces that are seen once."""
    return split_online_stream(tasks(6), size, access_task_boundaries=boundaries, seed=0)


def own_contexts(*pets, **options):
    options = {"criterion": torch.nn.CrossEntropyLoss(), **options}
    parts = learner(ContextPerExperiencePlugin(), *(pets or CONTEXT), **options)
    parts.embedding = parts.model.clip.token_embedding
    return parts


def by_task(parts):
    """The owners of contexts, how many there are."""
    embedding = parts.embedding
    if embedding.owners is None:
        return [], 0
    return embedding.owners.tolist(), len(embedding.settled)


@torch.no_grad()
def prompts(parts, classes):
    return parts.model.eval().encode_classes()[list(classes)]


def test_each_experience_leaves_a_context_of_its_own():
    parts = own_contexts()
    start = parts.embedding.start.clone()
    for t, experience in enumerate(tasks()):
        train(parts, [experience])
        owners = [1, 1, 2, 2, 3, 3][: 2 * t + 2]
        assert by_task(parts) == (owners, t + 1)
        assert torch.equal(parts.embedding.vectors.weight, start)
        assert not torch.allclose(parts.embedding.settled[t], start)
    assert not torch.allclose(parts.embedding.settled[0], parts.embedding.settled[1])


def test_old_prompts_stay_to_the_bit_and_without_the_plugin_they_do_not():
    changed = {}
    for plugin in (ContextPerExperiencePlugin(), None):
        parts = learner(plugin or ContextPerExperiencePlugin(), *CONTEXT)
        if plugin is None:
            parts.strategy.plugins.remove(parts.plugin)
        first, *others = tasks()
        train(parts, [first])
        before = prompts(parts, (0, 1))
        train(parts, others)
        changed[plugin is None] = not torch.equal(prompts(parts, (0, 1)), before)
    assert changed == {False: False, True: True}


def test_every_context_is_trained_as_if_it_were_the_first():
    """The optimizer remembers nothing of the context before."""
    both = []
    for experiences in (tasks()[:2], tasks()[1:2]):
        parts = own_contexts()
        train(parts, experiences[:-1])
        assert parts.embedding.vectors.weight not in parts.strategy.optimizer.state
        # From here on only the second task's own prompts compete: others differ by their context.
        torch.manual_seed(0)
        with parts.model.only([2, 3]):
            train(parts, experiences[-1:])
        both.append(parts.embedding.settled[-1])
    torch.testing.assert_close(*both)


@pytest.mark.parametrize("train_on", [by_stream, by_loop])
@pytest.mark.parametrize("size", [4, 5, 12])
def test_an_online_task_is_settled_with_its_last_piece(size, train_on):
    parts = own_contexts(train_epochs=1)
    seen = []
    settle = parts.model.settle_context
    parts.model.settle_context = lambda classes: (seen.append(set(classes)), settle(classes))
    train_on(parts.strategy, pieces(size))
    assert seen == [{0, 1}, {2, 3}, {4, 5}]
    assert by_task(parts) == ([1, 1, 2, 2, 3, 3], 3)


def test_an_online_task_that_stops_halfway_is_settled_when_another_begins():
    parts = own_contexts(train_epochs=1)
    first, _, _, other, *_ = pieces(4)
    by_loop(parts.strategy, [first])
    assert by_task(parts) == ([], 0)
    by_loop(parts.strategy, [other])
    assert by_task(parts) == ([1, 1], 1)


def test_classes_that_recur_keep_their_first_context():
    parts = own_contexts()
    first, second, _ = tasks()
    train(parts, [first, second])
    before = parts.embedding.settled.clone()
    train(parts, [first])
    assert by_task(parts) == ([1, 1, 2, 2], 2)
    assert torch.equal(parts.embedding.settled, before)


def test_beside_pegp_old_prompts_keep_their_features_though_the_text_tower_learns():
    pegp = PEGPPlugin(**PEGP_BESIDE)
    parts = own_contexts(*CONTEXT, LoRA(3, tower="text"))
    parts.strategy.plugins.insert(0, pegp)
    first, *others = tasks()
    train(parts, [first])
    before, lora = prompts(parts, (0, 1, 2)), parts.model.clip.transformer.resblocks[1].attn
    weight = lora.fused.qkv.A.weight.clone()
    train(parts, others)
    now = prompts(parts, (0, 1, 2))
    torch.testing.assert_close(now[:2], before[:2], rtol=0, atol=1e-9)
    assert not torch.allclose(now[2], before[2], atol=1e-6)
    assert not torch.allclose(lora.fused.qkv.A.weight, weight)
    assert not [site for site in pegp.ranks() if "vectors" in site]


class TestBadInput:
    @pytest.mark.parametrize("model", ["a CLIP", "a ViT"])
    def test_a_model_without_a_context_is_refused_before_training(self, model):
        plugin = ContextPerExperiencePlugin()
        parts = learner(plugin, LoRA(2)) if model == "a CLIP" else naive(plugin=plugin)
        with pytest.raises(TypeError, match=r"without a Context: attach\(model, Context"):
            train(parts, tasks()[:1])

    def test_an_online_stream_without_boundaries_is_refused(self):
        parts = own_contexts()
        with pytest.raises(ValueError, match="split it with access_task_boundaries=True"):
            by_stream(parts.strategy, pieces(4, boundaries=False))

    def test_an_empty_experience_is_refused(self):
        parts, experience = own_contexts(), tasks()[0]
        experience.dataset = experience.dataset.subset([])
        with pytest.raises(ValueError, match="has no samples"):
            train(parts, [experience])
