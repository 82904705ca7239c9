from __future__ import annotations

import pytest
import torch

from avl_pegp.plugins.vr_lwf import random_sentences, vr_lwf

WORDS = ["red", "fox", "old"]


def test_it_is_taught_by_the_last_task_on_the_minibatch_alone():
    plugin = vr_lwf(random_sentences(WORDS, count=5), strength=2.0)
    assert (plugin.teacher, plugin.images) == ("previous", None)
    assert (plugin.strength, plugin.l2, plugin.ensemble_every) == (2.0, 0.0, None)
    assert plugin.references == tuple(random_sentences(WORDS, count=5))


def test_random_sentences_depend_on_words_and_seed_alone():
    state = torch.random.get_rng_state()
    sentences = random_sentences(WORDS, count=50, length=6, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert len(sentences) == 50 and len(set(sentences)) > 40
    assert all(len(s.split()) == 6 and set(s.split()) <= set(WORDS) for s in sentences)
    assert sentences == random_sentences(WORDS, count=50, length=6, seed=1)
    assert sentences != random_sentences(WORDS, count=50, length=6, seed=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": ["red", "red"]}, "words=.*two different ones"),
        ({"count": 0}, "count=0"),
        ({"length": -1}, "length=-1"),
    ],
)
def test_sentences_of_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        random_sentences(**{"words": WORDS, **options})
