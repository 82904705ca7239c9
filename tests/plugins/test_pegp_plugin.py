"""PEGP inside Avalanche's own loop, and the traps of that loop."""

from __future__ import annotations

import copy

import pytest
import torch
from avalanche.training.plugins import ReplayPlugin, SupervisedPlugin
from avalanche.training.supervised import Naive
from models import OPTIMIZERS, Growing, answers, images, relative_change, small_vit
from streams import naive, stream, to_noise

from avl_pegp.pet import Adapter, LoRA, Prefix, Prompt
from avl_pegp.plugins import PEGPPlugin


def inputs_of(experience):
    return torch.stack([item[0] for item in experience.dataset.eval()])


def drift_over_a_stream(parts, benchmark=None, **train_options):
    """The largest relative change of old answers after each later experience."""
    benchmark, worst, past = benchmark or stream(), 0.0, []
    for t, experience in enumerate(benchmark.train_stream):
        parts.strategy.train(experience, eval_streams=[], **train_options)
        x = inputs_of(experience)
        past.append((x, answers(parts.model, x, 2 * t + 2)))
        for x, then in past:
            worst = max(worst, relative_change(answers(parts.model, x, then.shape[1]), then))
    return worst


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_old_answers_stay_though_avalanche_keeps_the_optimizers_state(optimizer):
    assert drift_over_a_stream(naive(optimizer=optimizer)) <= 1e-9


@pytest.mark.parametrize(
    "pets", [(Adapter(8),), (Prefix(40),), (Prompt(40),), (LoRA(8), Prefix(9))]
)
def test_old_answers_stay_for_every_pet(pets):
    assert drift_over_a_stream(naive(*pets)) <= 1e-9


def test_old_answers_drift_without_the_step_projection():
    for project in ("gradient", "none"):
        plugin = PEGPPlugin(energy=1.0, project=project, progress=False)
        assert drift_over_a_stream(naive(plugin=plugin)) > 1e-3


def test_two_parameter_groups_are_accepted():
    assert drift_over_a_stream(naive(head_lr=0.05)) <= 1e-9


def test_replayed_samples_and_inner_evaluation_do_no_harm():
    parts = naive(plugins=[ReplayPlugin(mem_size=4)], criterion=torch.nn.CrossEntropyLoss())
    benchmark = stream()
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[benchmark.test_stream[:1]])
    moments = parts.plugin.pegp.memory.sites["blocks.0.attn.qkv.A"].moment
    parts.strategy.train(benchmark.train_stream[1], eval_streams=[benchmark.test_stream[:2]])
    total = parts.plugin.pegp.memory.sites["blocks.0.attn.qkv.A"].moment
    rows = (total.matrix - moments.matrix)[0, -1, -1]
    assert rows == 2 * 5  # two images of five tokens: what was replayed is not counted


def test_statistics_see_the_evaluation_transform():
    seen = {}
    for name, transform in (("augmented", to_noise), ("plain", None)):
        parts = naive(train_epochs=0)
        parts.strategy.train(stream(train_transform=transform).train_stream[0], eval_streams=[])
        seen[name] = parts.plugin.pegp.memory.sites["blocks.0.attn.qkv.A"].moment.matrix
    torch.testing.assert_close(seen["augmented"], seen["plain"])


def test_a_sample_count_draws_from_all_classes_by_its_own_generator():
    parts = naive(plugin=PEGPPlugin(energy=1.0, samples=6, progress=False), train_epochs=0)
    benchmark = stream(per_class=20)
    seen = []
    parts.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    state = torch.get_rng_state()
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    assert torch.equal(torch.get_rng_state(), state)
    images = inputs_of(benchmark.train_stream[0])
    drawn = [int((images == x).flatten(1).all(1).nonzero()) for x in torch.cat(seen)]
    assert len(set(drawn)) == 6
    assert {index // 20 for index in drawn} == {0, 1}


def test_training_leaves_no_hook_and_modes_as_they_were():
    parts = naive()
    parts.strategy.train(stream().train_stream[0], eval_streams=[])
    hooked = [m for m in parts.model.modules() if m._forward_pre_hooks or m._forward_hooks]
    assert hooked == []
    assert parts.model.training
    assert not parts.model.blocks[0].training


def test_ranks_and_drift_are_at_hand_at_any_time():
    parts = naive()
    assert parts.plugin.ranks() == parts.plugin.drift() == {}
    parts.strategy.train(stream().train_stream[0], eval_streams=[])
    rank, dimension = parts.plugin.ranks()["blocks.0.attn.qkv.A"]
    assert (0 < rank < dimension) and dimension == 64
    assert all(isinstance(value, float) for value in parts.plugin.drift().values())


def test_a_state_goes_into_another_strategy_and_is_checked_when_training_starts(tmp_path):
    first, second = naive(), naive()
    benchmark = stream()
    first.strategy.train(benchmark.train_stream[0], eval_streams=[])
    x = inputs_of(benchmark.train_stream[0])
    torch.save(first.plugin.state_dict(), tmp_path / "pegp.pt")
    state = torch.load(tmp_path / "pegp.pt", weights_only=True)

    second.plugin.load_state_dict(state)
    with pytest.raises(ValueError, match="load the model's weights before the state"):
        second.strategy.train(benchmark.train_stream[1], eval_streams=[])
    second.model.load_state_dict(first.model.state_dict())
    before = answers(second.model, x, 2)
    second.strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert relative_change(answers(second.model, x, 2), before) <= 1e-9


def test_a_strategy_can_be_copied():
    parts = naive()
    parts.strategy.train(stream().train_stream[0], eval_streams=[])
    twin = copy.deepcopy(parts.strategy)
    twin.train(stream().train_stream[1], eval_streams=[])
    assert twin.plugins[0].pegp.memory.experiences == 2
    assert parts.plugin.pegp.memory.experiences == 1


def test_a_plugin_whose_model_has_other_frozen_weights_is_refused():
    parts = naive()
    parts.strategy.train(stream().train_stream[0], eval_streams=[])
    with torch.no_grad():
        parts.model.norm.weight.mul_(2)
    with pytest.raises(ValueError, match="frozen weights are not those"):
        parts.strategy.train(stream().train_stream[1], eval_streams=[])


def test_what_cannot_be_protected_is_refused_before_the_first_step():
    parts = naive()
    parts.model.norm.requires_grad_(True)
    weights = copy.deepcopy(parts.model.state_dict())
    with pytest.raises(ValueError, match="norm.weight, norm.bias"):
        parts.strategy.train(stream().train_stream[0], eval_streams=[])
    assert all(torch.equal(weights[k], v) for k, v in parts.model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energy": 0.0}, "energy=0.0"),
        ({"project": "all"}, "project='all'"),
        ({"samples": 0}, "samples=0"),
        ({"samples": 2.5}, "samples=2.5"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        PEGPPlugin(**options)


def test_a_peft_lora_is_protected_as_ours_is():
    peft = pytest.importorskip("peft", reason="an optional extra; the dev extra has it")
    from avalanche.training.supervised import Naive

    from avl_pegp.plugins import MaskedCrossEntropy

    config = peft.LoraConfig(r=16, target_modules=["qkv"], modules_to_save=["head"])
    model = peft.get_peft_model(small_vit(), config)
    plugin = PEGPPlugin(energy=1.0, progress=False)
    strategy = Naive(
        model=model,
        optimizer=OPTIMIZERS["adamw_decay"](p for p in model.parameters() if p.requires_grad),
        criterion=MaskedCrossEntropy(),
        train_mb_size=4,
        train_epochs=8,
        plugins=[plugin],
    )
    benchmark = stream()
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    x, new = inputs_of(benchmark.train_stream[0]), images(4, seed=9)
    before, moved = answers(model, x, 2), answers(model, new, 2)
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert relative_change(answers(model, x, 2), before) <= 1e-9
    assert relative_change(answers(model, new, 2), moved) > 1e-3
    assert any("lora_A" in name for name in plugin.ranks())
    assert not any("head" in name for name in plugin.ranks())


def test_avalanches_growing_head_is_served_by_name():
    torch.manual_seed(0)
    model = Growing()
    plugin = PEGPPlugin(energy=1.0, classifier="classifier", progress=False)
    strategy = Naive(
        model=model,
        optimizer=OPTIMIZERS["adamw_decay"](model.parameters()),
        train_mb_size=4,
        train_epochs=5,
        plugins=[plugin],
    )
    benchmark = stream()
    x = inputs_of(benchmark.train_stream[0])
    for t, experience in enumerate(benchmark.train_stream):
        strategy.train(experience, eval_streams=[])
        if t == 0:
            before = answers(model, x, 2)
        assert relative_change(answers(model, x, 2), before) <= 1e-4
    assert set(plugin.ranks()) == {"features"}


def test_the_optimizer_forgets_branches_that_start_anew():
    plugin = PEGPPlugin(energy=1.0, rebase=True, progress=False)
    parts = naive(LoRA(4), plugin=plugin, train_epochs=2)
    remembered = []

    class Look(SupervisedPlugin):
        def before_training_epoch(self, strategy, **kwargs):
            state = strategy.optimizer.state
            branch = [p for n, p in parts.model.named_parameters() if ".A." in n or ".B." in n]
            remembered.append((sum(p in state for p in branch), parts.model.head.weight in state))

    parts.strategy.plugins.append(Look())
    for experience in stream().train_stream[:2]:
        parts.strategy.train(experience)
    assert remembered == [(0, False), (6, True), (0, True), (6, True)]
