"""What holds for every head on class statistics, whatever it makes of them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avl_pegp.heads import HEADS, create_head

SMALL = {
    "ranpac": {"projection": 60},
    "aligned": {"samples": 40},
    "aligned_cosine": {"samples": 40},
}
every_head = pytest.mark.parametrize("name", HEADS)
WIDTH, CLASSES = 6, 4


def samples(n=80, seed=0, width=WIDTH, classes=CLASSES):
    """Classes that overlap, far from zero, each with a spread of its own."""
    g = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(9)
    y = torch.arange(n) % classes
    centres = 2 * torch.randn(classes, width, generator=fixed).double()
    mixes = torch.randn(classes, width, width, generator=fixed).double()
    noise = torch.randn(n, 1, width, generator=g).double() @ mixes[y]
    return 5 + centres[y] + noise[:, 0], y


def blank(name, classes=CLASSES, width=WIDTH, **options):
    return create_head(name, classes, width, **{**SMALL.get(name, {}), **options})


def learned(name, x, y, classes=CLASSES, **options):
    head = blank(name, classes, x.shape[1], **options)
    head.update(x, y)
    return head


def tensors(head):
    """All that a head has stored."""
    return {k: v.clone() for k, v in vars(head).items() if isinstance(v, torch.Tensor)}


def assert_same(ours, expected, tolerance=1e-6):
    """Logits, up to what counts beside their spread."""
    assert torch.equal(ours.isfinite(), expected.isfinite())
    ours, expected = (v[expected.isfinite()] for v in (ours, expected))
    assert (ours - expected).abs().max() <= tolerance * expected.std().clamp_min(1e-3)


@every_head
@settings(max_examples=10)
@given(data=st.data())
def test_neither_order_nor_batches_matter_and_classes_that_recur_are_merged(name, data):
    x, y = samples(40)
    order = torch.tensor(data.draw(st.permutations(range(40))))
    cuts = sorted(data.draw(st.lists(st.integers(0, 40), max_size=6)))
    head = blank(name)
    for piece in order.tensor_split(cuts):
        head.update(x[piece], y[piece])
    new = samples(20, seed=1)[0]
    assert_same(head.logits(new), learned(name, x, y).logits(new))


@every_head
def test_asking_in_between_changes_nothing(name):
    x, y = samples()
    asked, whole = blank(name), learned(name, x, y)
    for c in range(CLASSES):
        asked.update(x[y == c], y[y == c])
        logits = asked.logits(x)
        assert logits[:, : c + 1].isfinite().all()
        assert (logits[:, c + 1 :] == -torch.inf).all()
    assert_same(asked.logits(x), whole.logits(x))


@every_head
def test_a_logit_depends_on_its_sample_alone(name):
    x, y = samples()
    head = learned(name, x, y)
    one_by_one = torch.cat([head.logits(row[None]) for row in x])
    assert_same(one_by_one, head.logits(x), 1e-10)


@every_head
def test_classes_are_found_again(name):
    x, y = samples(400)
    new, truth = samples(400, seed=1)
    assert (learned(name, x, y).logits(new).argmax(1) == truth).double().mean() >= 0.75


@every_head
@pytest.mark.parametrize("per_class", [1, 2])
def test_few_samples_of_many_features_are_enough(name, per_class):
    x, y = samples(per_class * CLASSES, width=50)
    logits = learned(name, x, y).logits(x)
    assert logits.isfinite().all()
    assert (logits.argmax(1) == y).all()


@every_head
def test_a_lone_sample_beside_large_classes_is_a_class(name):
    x, y = samples()
    far = x[:1] + 50
    head = learned(name, torch.cat([x, far]), torch.cat([y, torch.tensor([4])]), classes=5)
    assert head.logits(far).argmax().item() == 4
    assert head.logits(x).isfinite().all()


@every_head
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_classes_that_cannot_be_told_apart_have_logits_all_the_same(name, value):
    x = torch.full((6, WIDTH), value).double()
    assert learned(name, x, torch.arange(6) % 3).logits(x)[:, :3].isfinite().all()
    assert learned(name, x, 0 * torch.arange(6)).logits(x)[:, 0].isfinite().all()


@every_head
def test_without_any_experience_no_class_is_chosen(name):
    assert (blank(name).logits(torch.zeros(2, WIDTH)) == -torch.inf).all()


@every_head
def test_a_classifier_that_grows_keeps_its_logits_and_learns_on(name):
    x, y = samples()
    head, roomy = blank(name, 2), blank(name, 7)
    old = y < 2
    head.update(x[old], y[old])
    before = head.logits(x)
    head.make_room(7)
    head.make_room(3)  # less than there is
    assert_same(head.logits(x)[:, :2], before, 1e-9)
    assert (head.logits(x)[:, 2:] == -torch.inf).all()
    head.update(x[~old], y[~old])
    for part in (old, ~old):
        roomy.update(x[part], y[part])
    assert_same(head.logits(x), roomy.logits(x), 1e-9)


@every_head
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_features_in_lower_precision_give_logits_in_float32(name, dtype):
    x, y = samples()
    x = x.to(dtype)
    logits = learned(name, x, y).logits(x)
    exact = learned(name, x.double(), y).logits(x.double())
    assert (logits.dtype, exact.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(logits.double(), exact, rtol=1e-6, atol=1e-6)


REFUSED = {
    "NaN": (torch.full((1, WIDTH), torch.nan), torch.tensor([0]), "NaN or infinite"),
    "infinite": (torch.full((1, WIDTH), torch.inf), torch.tensor([0]), "NaN or infinite"),
    "narrow": (torch.zeros(1, 2), torch.tensor([0]), r"shape \(1, 2\): must be \(B, 6\)"),
    "label": (torch.zeros(1, WIDTH), torch.tensor([4]), r"labels hold \[4\]: must be from 0 to 3"),
    "huge": (1e200 * torch.eye(2, WIDTH).double(), torch.tensor([0, 0]), "covariance is infinite"),
}


@every_head
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sample_is_refused_and_nothing_changes(name, case):
    features, labels, message = REFUSED[case]
    head = learned(name, *samples())
    kept, answers = tensors(head), head.logits(samples()[0])
    with pytest.raises(ValueError, match=message):
        head.update(features, labels)
    now = tensors(head)
    assert all(torch.equal(kept[key], now[key]) for key in kept)
    assert torch.equal(head.logits(samples()[0]), answers)


@every_head
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda head: pickle.loads(pickle.dumps(head))])
def test_a_copy_answers_and_learns_as_its_original(name, asked, copied):
    x, y = samples()
    head = learned(name, x[:40], y[:40])
    if asked:
        head.logits(x)
    twin = copied(head)
    assert torch.equal(twin.logits(x), head.logits(x))
    twin.update(x[40:], y[40:])
    assert head.counts.sum() == 40
    head.update(x[40:], y[40:])
    assert torch.equal(twin.logits(x), head.logits(x))


@every_head
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_equal_statistics_give_equal_heads_and_global_randomness_is_left_alone(name, mode):
    x, y = samples()
    state = torch.get_rng_state()
    answers = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        with mode():
            head = learned(name, x, y)
            answers.append(head.logits(x))
            head.move(2 * torch.eye(WIDTH))
            answers.append(head.logits(x))
        assert torch.equal(torch.get_rng_state(), before)
        assert not answers[-1].requires_grad
    torch.set_rng_state(state)
    assert torch.equal(answers[0], answers[2])
    assert torch.equal(answers[1], answers[3])


WRONG_MAPS = {
    "another shape": (torch.eye(3), r"linear_map has shape \(3, 3\): must be \(6, 6\)"),
    "NaN": (torch.full((WIDTH, WIDTH), torch.nan), "linear_map is NaN or infinite"),
    "huge": (1e300 * torch.eye(WIDTH).double(), "linear_map makes the statistics infinite"),
}


@every_head
@pytest.mark.parametrize("case", WRONG_MAPS)
def test_a_map_that_is_none_is_refused_and_nothing_changes(name, case):
    wrong, message = WRONG_MAPS[case]
    head = learned(name, *samples())
    kept = tensors(head)
    with pytest.raises(ValueError, match=message):
        head.move(wrong)
    now = tensors(head)
    assert all(torch.equal(kept[key], now[key]) for key in kept)


@every_head
def test_the_identity_changes_nothing_to_the_bit(name):
    x, y = samples()
    head = learned(name, x, y)
    kept, answers = tensors(head), head.logits(x)
    head.move(torch.eye(WIDTH))
    now = tensors(head)
    assert all(torch.equal(kept[key], now[key]) for key in kept)
    assert torch.equal(head.logits(x), answers)


def some_map(seed, width=WIDTH):
    g = torch.Generator().manual_seed(seed)
    return torch.eye(width).double() + 0.3 * torch.randn(width, width, generator=g).double()


@every_head
@given(seed=st.integers(0, 100))
@settings(max_examples=5)
def test_moved_statistics_are_those_of_mapped_features(name, seed):
    (x, y), W = samples(), some_map(seed)
    head, mapped = learned(name, x, y), learned(name, x @ W.mT, y)
    head.logits(x)
    head.move(W)
    for key in ("counts", "means", "scatters"):
        ours, theirs = getattr(head, key), getattr(mapped, key)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    if name != "ranpac":  # whose features are not linear
        assert_same(head.logits(x @ W.mT), mapped.logits(x @ W.mT))


@every_head
def test_a_moved_head_learns_on(name):
    (x, y), W = samples(400), some_map(3)
    old = y < 2
    head = learned(name, x[old], y[old])
    head.move(W)
    head.update(x[~old] @ W.mT, y[~old])
    new, truth = samples(400, seed=1)
    assert (head.logits(new @ W.mT).argmax(1) == truth).double().mean() >= 0.7
