import pytest
import torch

from avl_pegp.benchmarks._order import order_of


def test_label_order_is_the_default_and_a_given_order_is_kept() -> None:
    assert order_of(3, None, None) == [0, 1, 2]
    assert order_of(3, (2, 0, 1), None) == [2, 0, 1]


def test_a_seed_draws_a_permutation_of_its_own() -> None:
    state = torch.get_rng_state()
    first, again, other = (order_of(50, None, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(first) == list(range(50)) != first
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("order", "order_seed", "message"),
    [
        ([0, 1, 2], 0, "order_seed=0 .*class_order=.* give one of the two"),
        ([0, 1], None, r"class_order=\[0, 1\] .* each of 0 to 2"),
        ([0, 1, 1], None, "not a permutation"),
    ],
)
def test_what_is_no_order_is_refused(order: list, order_seed: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        order_of(3, order, order_seed)
