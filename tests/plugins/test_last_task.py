from __future__ import annotations

import pytest
import torch
from avalanche.training.supervised import Naive
from models import Growing, answers, relative_change
from streams import naive, online, stream

from avl_pegp.plugins import PEGPPlugin
from avl_pegp.plugins.distillation import LwFPlugin
from avl_pegp.plugins.last_task import LastTaskPlugin
from avl_pegp.plugins.regularization import EWCPlugin, L2Plugin

METHODS = {
    "l2": lambda strength: L2Plugin(strength),
    "ewc": lambda strength: EWCPlugin(strength, progress=False),
    "lwf": lambda strength: LwFPlugin(strength),
}
STRONG = {"l2": 5.0, "ewc": 1e4, "lwf": 3.0}
HELD_ON = {"l2": 0, "ewc": 0, "lwf": 1}  # the experience whose images a method is about


class Noted(LastTaskPlugin):
    """Writes down which classes had been learned when."""

    def __init__(self):
        super().__init__(1.0)
        self.ended, self.penalties = [], []

    def learn(self, strategy, task, **kwargs):
        self.ended.append(sorted(task.classes_in_this_experience))

    def penalty(self, strategy):
        self.penalties.append(len(self.ended))
        return torch.zeros(())


def images_of(experience):
    return torch.stack([item[0] for item in experience.dataset])


def test_an_ordinary_experience_is_a_task_that_ends_with_it():
    noted = Noted()
    parts = naive(plugin=noted, train_epochs=1)
    for t, experience in enumerate(stream().train_stream):
        parts.strategy.train(experience, eval_streams=[])
        assert noted.ended == [[0, 1], [2, 3], [4, 5]][: t + 1]
    assert noted.penalties == [1, 2]


@pytest.mark.parametrize("size", [4, 5, 12])  # 4 and 12 divide evenly: is_last_subexp is never true
@pytest.mark.parametrize("one_by_one", [False, True])
def test_an_online_task_ends_once_with_its_last_piece(size, one_by_one):
    noted = Noted()
    parts = naive(plugin=noted, train_epochs=1, train_mb_size=size)
    pieces = list(online(size))
    for part in [[piece] for piece in pieces] if one_by_one else [pieces]:
        parts.strategy.train(part, eval_streams=[])
    assert noted.ended == [[0, 1], [2, 3], [4, 5]]
    per_task = len(pieces) // 3
    assert noted.penalties == [1] * per_task + [2] * per_task


@pytest.mark.parametrize("after", ["a piece", "an experience"])
def test_an_online_task_that_stops_halfway_ends_when_another_begins(after):
    noted = Noted()
    parts = naive(plugin=noted, train_epochs=1)
    first, _, _, other, *_ = online(4)
    parts.strategy.train(first, eval_streams=[])
    assert noted.ended == []
    other = other if after == "a piece" else other.origin_experience
    parts.strategy.train(other, eval_streams=[])
    assert noted.ended == [[0, 1], [2, 3]][: 1 if after == "a piece" else 2]
    assert set(noted.penalties) == {1}


def test_a_task_that_broke_off_is_not_learned():
    noted = Noted()
    parts = naive(plugin=noted, train_epochs=1)
    first, second, _ = stream().train_stream
    fail = parts.model.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        parts.strategy.train(first, eval_streams=[])
    fail.remove()
    parts.strategy.train(second, eval_streams=[])
    assert noted.ended == [[2, 3]]


@pytest.mark.parametrize("method", METHODS)
def test_a_stream_without_boundaries_is_refused_before_any_step(method):
    parts = naive(plugin=METHODS[method](1.0))
    weights = {name: p.clone() for name, p in parts.model.state_dict().items()}
    name = type(parts.plugin).__name__
    with pytest.raises(ValueError, match=f"{name} must know.*access_task_boundaries=True"):
        parts.strategy.train(online(2, boundaries=False), eval_streams=[])
    assert all(torch.equal(weights[k], v) for k, v in parts.model.state_dict().items())


def old_answers(plugin, x):
    """Answers on the first classes after the first experience and after the second."""
    parts, seen = naive(plugin=plugin, optimizer="sgd_momentum", train_epochs=2), []
    for experience in list(stream().train_stream)[:2]:
        parts.strategy.train(experience, eval_streams=[])
        seen.append(answers(parts.model, x, 2))
    return seen


@pytest.mark.parametrize("method", METHODS)
def test_the_first_task_is_free_and_from_then_on_strength_lessens_the_movement(method):
    x = images_of(stream().train_stream[HELD_ON[method]])
    plain = old_answers(PEGPPlugin(project="none", progress=False), x)
    zero, strong = (old_answers(METHODS[method](s), x) for s in (0.0, STRONG[method]))
    assert torch.equal(strong[0], plain[0])
    torch.testing.assert_close(zero[1], plain[1])
    assert relative_change(*reversed(strong)) < 0.8 * relative_change(*reversed(plain)) != 0


@pytest.mark.parametrize("method", METHODS)
def test_pegp_after_it_keeps_old_answers(method):
    parts = naive(
        plugin=METHODS[method](STRONG[method]), plugins=[PEGPPlugin(energy=1.0, progress=False)]
    )
    benchmark, past = stream(), []
    for t, experience in enumerate(benchmark.train_stream):
        parts.strategy.train(experience, eval_streams=[])
        x = images_of(experience)
        past.append((x, answers(parts.model, x, 2 * t + 2)))
    for x, then in past:
        assert relative_change(answers(parts.model, x, then.shape[1]), then) <= 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_kept_for_frozen_tensors_and_modes_are_restored(method):
    parts = naive(plugin=METHODS[method](1.0), train_epochs=1)
    parts.strategy.train(list(stream().train_stream)[:2], eval_streams=[])
    trainable = {name for name, p in parts.model.named_parameters() if p.requires_grad}
    kept = [v for v in vars(parts.plugin).values() if isinstance(v, dict) and v]
    assert kept and all(set(tensors) == trainable for tensors in kept)
    assert not any(t.requires_grad for tensors in kept for t in tensors.values())
    assert parts.model.training and parts.model.head.training
    assert not parts.model.blocks[0].training


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.norm.requires_grad_(True), "no longer nothing, newly norm.bias, norm.weight"),
        (lambda m: m.head.requires_grad_(False), "no longer head.bias, head.weight, newly nothing"),
        (
            lambda m: setattr(m, "head", torch.nn.Linear(64, 5).double()),
            r"head.weight has shape \(5, 64\) and had \(6, 64\)",
        ),
        (
            lambda m: setattr(m, "head", torch.nn.Linear(63, 6).double()),
            r"head.weight has shape \(6, 63\) and had \(6, 64\)",
        ),
    ],
)
def test_a_model_that_trains_other_tensors_is_refused(method, change, message):
    parts, benchmark = naive(plugin=METHODS[method](1.0), train_epochs=1), stream()
    parts.strategy.train(benchmark.train_stream[0], eval_streams=[])
    change(parts.model)
    with pytest.raises(ValueError, match=message):
        parts.strategy.train(benchmark.train_stream[1], eval_streams=[])


@pytest.mark.parametrize("method", METHODS)
def test_a_classifier_may_gain_rows(method):
    model, plugin = Growing(), METHODS[method](1.0)
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        train_mb_size=4,
        plugins=[plugin],
    )
    rows = []
    for experience in stream().train_stream:
        strategy.train(experience, eval_streams=[])
        rows.append(len(plugin.anchor["classifier.classifier.weight"]))
    assert rows == [2, 4, 6]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_a_wrong_strength_is_refused(method, strength):
    with pytest.raises(ValueError, match=f"strength={strength}"):
        METHODS[method](strength)


@pytest.mark.parametrize("method", METHODS)
def test_a_rebase_beside_it_is_refused_before_training(method):
    baseline = METHODS[method](1.0)
    parts = naive(plugin=PEGPPlugin(rebase=True, progress=False), plugins=[baseline])
    with pytest.raises(ValueError, match=f"{type(baseline).__name__} beside PEGP with rebase=True"):
        parts.strategy.train(stream().train_stream[0])
