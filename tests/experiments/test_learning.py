"""What a method trains, for how long, and in which order its plugins are called."""

from __future__ import annotations

import pytest
import torch
from avalanche.training.templates import SupervisedTemplate
from job import Job
from learning import learn_experiences
from methods import METHODS
from training import Training

from avl_pegp import PEGPPlugin
from avl_pegp.benchmarks import create_benchmark
from avl_pegp.pet.trainable import trainable_tensors
from avl_pegp.plugins import ClassStatisticsPlugin, LwFPlugin


def learner(method, head="lda", epochs=3, lr=None, **changes):
    base = Job("", "", head=head, training=Training(epochs=epochs), **changes)
    (job,) = base.variants([("lora", method)], [0], lr=lr)
    return job.learner(["a class"] * 70)


def is_classifier_only(model):
    return set(trainable_tensors(model)) == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("method", "head", "offline", "online"),
    [
        ("plain", "lda", [3, 3, 3], [3, 3, 3]),
        ("pegp", "linear", [3, 3, 3], [3, 3, 3]),
        ("ewc", "ncm", [3, 3, 3], [3, 3, 3]),
        ("first_session", "lda", [3, 0, 0], [3, 3, 3]),
        ("first_session", "linear", [3, 3, 3], [3, 3, 3]),
        ("frozen", "lda", [0, 0, 0], [3, 3, 3]),
        ("frozen", "linear", [3, 3, 3], [3, 3, 3]),
        ("ncm", "linear", [0, 0, 0], [3, 3, 3]),  # its own head
        ("joint", "lda", [0, 0, 0], [3, 3, 3]),
        ("joint", "linear", [0, 0, 0], [0, 0, 0]),
    ],
)
def test_epochs_are_spent_only_where_something_is_to_be_learned(method, head, offline, online):
    for seen_once, epochs in ((False, offline), (True, online)):
        learns = learner(method, head)
        assert [learns.epochs_in(i, seen_once) for i in range(3)] == epochs


def test_first_session_leaves_the_classifier_alone_to_train_from_the_second_on():
    learns = learner("first_session")
    for i, only in enumerate((False, True, True)):
        learns.begin(i)
        assert is_classifier_only(learns.model) == only


@pytest.mark.parametrize("method", METHODS)
def test_a_method_without_a_pet_trains_the_classifier_alone(method):
    learns = learner(method)
    assert is_classifier_only(learns.model) != METHODS[method].has_pet
    tensors = trainable_tensors(learns.model).values()
    assert learns.trained_parameters == sum(tensor.numel() for tensor in tensors)


def test_pegp_comes_after_what_changes_gradients_and_the_head_last():
    kinds = {"pegp": [PEGPPlugin], "lwf": [LwFPlugin], "plain": []}
    for method, expected in kinds.items():
        plugins = learner(method).plugins()
        assert [type(plugin) for plugin in plugins] == [*expected, ClassStatisticsPlugin]
    assert learner("plain", "linear").plugins() == []


def test_flags_override_a_pets_own_settings_and_are_written_down():
    own, given = learner("pegp"), learner("pegp", lr=0.5, energy=0.25)
    assert given.pegp.pegp.settings.energy == 0.25 != own.pegp.pegp.settings.energy
    assert {group["lr"] for group in given.optimizer.param_groups} >= {0.5}
    assert given.settings["lr"] == 0.5 != own.settings["lr"]
    assert given.settings["pegp"]["energy"] == "0.25"
    assert own.settings["pegp"].keys() == given.settings["pegp"].keys()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_fresh_optimizer_remembers_nothing_of_the_experience_before(fresh):
    (job,) = Job("", "", training=Training(fresh_optimizer=fresh)).variants(
        [("lora", "plain")], [0]
    )
    learns = job.learner(["a class"] * 3)
    learns.model(torch.zeros(2, 3, 32, 32)).sum().backward()
    learns.optimizer.step()
    assert learns.optimizer.state
    learns.begin(1)
    assert bool(learns.optimizer.state) != fresh


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
    stream = create_benchmark("split_glyphs", order_seed=0)
    learns = learner(method, epochs=1)
    learn_experiences(learns, stream, title="", logs=tmp_path)
    assert moved == expected
