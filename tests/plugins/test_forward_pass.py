from __future__ import annotations

from contextlib import contextmanager

import pytest

from avl_pegp.plugins.experience import around_next_forward


class Strategy:
    """Writes down what happens, as the contexts do."""

    def __init__(self, fails=None):
        self.events, self.fails = [], fails

    def forward(self):
        self.events.append("forward")
        if self.fails:
            raise self.fails
        return "logits"

    @contextmanager
    def noted(self, name):
        self.events.append(f"{name} begins")
        try:
            yield
        finally:
            self.events.append(f"{name} ends")


def test_it_surrounds_one_forward_pass_alone():
    strategy = Strategy()
    around_next_forward(strategy, strategy.noted("a"))
    assert strategy.events == []
    assert strategy.forward() == strategy.forward() == "logits"
    assert strategy.events == ["a begins", "forward", "a ends", "forward"]


def test_several_go_around_each_other():
    strategy = Strategy()
    for name in "ab":
        around_next_forward(strategy, strategy.noted(name))
    strategy.forward()
    strategy.forward()
    inner = ["a begins", "forward", "a ends"]
    assert strategy.events == ["b begins", *inner, "b ends", "forward"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_it_ends_with_a_forward_pass_that_fails(error):
    strategy = Strategy(fails=error)
    context = strategy.noted("a")  # in a name, so that it can't end by being thrown away
    around_next_forward(strategy, context)
    for _ in range(2):
        with pytest.raises(error):
            strategy.forward()
    assert strategy.events == ["a begins", "forward", "a ends", "forward"]


def test_nothing_is_left_that_a_checkpoint_would_take_along():
    strategy, other = Strategy(), Strategy()
    for name in "ab":
        around_next_forward(strategy, strategy.noted(name))
    strategy.forward()
    vars(other).update(vars(strategy), events=[])  # as Avalanche restores
    other.forward()
    assert other.events == ["forward"]


def test_a_method_that_a_user_put_in_place_is_back_afterwards():
    strategy = Strategy()
    strategy.forward = mine = lambda: "mine"
    around_next_forward(strategy, strategy.noted("a"))
    assert strategy.forward() == "mine"
    assert strategy.forward is mine
