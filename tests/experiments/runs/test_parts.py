"""What a method trains, for how long, and in which order its plugins are called."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import class_incremental
import pytest
import torch
from avalanche.training.templates import SupervisedTemplate
from runs import parts
from runs.job import Job
from runs.methods import METHODS
from runs.training import Training

from avl_pegp.heads import HEADS
from avl_pegp.pet import trainable_tensors


def job_of(method, head="lda", epochs=3, lr=None, **changes):
    base = Job("class_incremental", "split_glyphs", head=head, **changes)
    base = replace(base, training=replace(base.training, epochs=epochs))
    (job,) = base.variants([("lora", method)], [0], lr=lr)
    return job


def model_of(job):
    """For seventy classes."""
    return parts.tuned_model(job, ["a class"] * 70)


def strategy_of(job):
    """As far as an experience's beginning is concerned."""
    model = model_of(job)
    return SimpleNamespace(model=model, optimizer=parts.optimizer_of(job, model), train_epochs=1)


def is_classifier_only(model):
    return set(trainable_tensors(model)) == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("method", "head", "offline", "online"),
    [
        ("plain", "lda", [3, 3, 3], [3, 3, 3]),
        ("pegp", "linear", [3, 3, 3], [3, 3, 3]),
        ("ewc", "ncm", [3, 3, 3], [3, 3, 3]),
        *(("frozen", head, [0, 0, 0], [3, 3, 3]) for head in HEADS),
        ("first_session", "lda", [3, 0, 0], [3, 3, 3]),
        ("first_session", "linear", [3, 3, 3], [3, 3, 3]),
        ("frozen", "linear", [3, 3, 3], [3, 3, 3]),
        ("ncm", "linear", [0, 0, 0], [3, 3, 3]),  # its own head
        ("joint", "lda", [0, 0, 0], [3, 3, 3]),
        ("joint", "linear", [0, 0, 0], [0, 0, 0]),
    ],
)
def test_epochs_are_spent_only_where_something_is_to_be_learned(method, head, offline, online):
    job = job_of(method, head)
    for seen_once, epochs in ((False, offline), (True, online)):
        assert [parts.epochs_in(job, i, seen_once=seen_once) for i in range(3)] == epochs


def test_first_session_leaves_the_classifier_alone_to_train_from_the_second_on():
    job = job_of("first_session")
    strategy = strategy_of(job)
    for i, only in enumerate((False, True, True)):
        parts.begin_experience(job, strategy, i)
        assert is_classifier_only(strategy.model) == only


@pytest.mark.parametrize("method", METHODS)
def test_a_method_without_a_pet_trains_the_classifier_alone(method):
    job = job_of(method)
    model = model_of(job)
    assert is_classifier_only(model) != METHODS[method].has_pet
    stepped = {p for group in parts.optimizer_of(job, model).param_groups for p in group["params"]}
    assert {p for p in stepped if p.requires_grad} == {*trainable_tensors(model).values()}


@pytest.mark.parametrize(
    ("method", "head", "expected"),
    [
        ("pegp", "lda", ["PEGPPlugin", "ClassStatisticsPlugin"]),
        ("lwf", "aligned", ["LwFPlugin", "ClassStatisticsPlugin"]),
        ("plain", "linear", []),
    ],
)
def test_pegp_comes_after_what_changes_gradients_and_the_head_last(
    tiny, tmp_path, monkeypatch, method, head, expected
):
    found = []

    def noted(strategy, *_, **__):
        found.extend(type(plugin).__name__ for plugin in strategy.plugins)
        raise KeyboardInterrupt

    monkeypatch.setattr(SupervisedTemplate, "train", noted)
    with pytest.raises(KeyboardInterrupt):
        class_incremental.run(job_of(method, head), tmp_path)
    known = ("PEGPPlugin", "LwFPlugin", "ClassStatisticsPlugin")
    assert [name for name in found if name in known] == expected


def test_flags_override_a_pets_own_settings_and_are_written_down():
    own, given = job_of("pegp"), job_of("pegp", lr=0.5, energy=0.25)
    assert (
        parts.pegp_of(given).pegp.settings.energy == 0.25 != parts.pegp_of(own).pegp.settings.energy
    )
    assert {group["lr"] for group in strategy_of(given).optimizer.param_groups} >= {0.5}
    assert parts.lr_of(given) == 0.5 != parts.lr_of(own)
    assert parts.pegp_values(given)["energy"] == 0.25
    assert parts.pegp_values(own).keys() == parts.pegp_values(given).keys()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_fresh_optimizer_remembers_nothing_of_the_experience_before(fresh):
    job = job_of("plain", training=Training(fresh_optimizer=fresh))
    strategy = strategy_of(job)
    strategy.model(torch.zeros(2, 3, 32, 32)).sum().backward()
    strategy.optimizer.step()
    assert strategy.optimizer.state
    parts.begin_experience(job, strategy, 1)
    assert bool(strategy.optimizer.state) != fresh


@pytest.fixture
def moved(monkeypatch):
    """Whether any tensor below the classifier moved, in each call of ``strategy.train`` so far."""
    calls = []
    train = SupervisedTemplate.train

    def watched(strategy, *args, **kwargs):
        before = below(strategy.model)
        train(strategy, *args, **kwargs)
        after = below(strategy.model)
        calls.append(any(not torch.equal(before[name], after[name]) for name in before))

    monkeypatch.setattr(SupervisedTemplate, "train", watched)
    return calls


def below(model):
    state = model.state_dict()
    return {name: t.clone() for name, t in state.items() if not name.startswith("head.")}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("frozen", [False, False]),
        ("plain", [True, True]),
        ("first_session", [True, False]),
        ("joint", [True, False, False]),  # first on all at once
    ],
)
def test_features_move_when_the_method_says_so(method, expected, moved, tiny, tmp_path):
    class_incremental.run(job_of(method, epochs=1), tmp_path)
    assert moved == expected
