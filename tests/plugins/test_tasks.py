from __future__ import annotations

import pytest
from streams import naive, online, stream

from avl_pegp.plugins.experience import task_of
from avl_pegp.plugins.tasks import Pieces


def course(pieces: Pieces, experiences) -> list[tuple[bool, bool]]:
    """For each experience: whether it begins another task, and whether it ends one."""
    return [(pieces.begin(task_of(e)), pieces.end(e)) for e in experiences]


def test_an_ordinary_experience_is_a_whole_task():
    assert course(Pieces(), stream().train_stream) == [(True, True)] * 3


@pytest.mark.parametrize("size", [4, 5])  # 12 samples: is_last_subexp is never true for 4
def test_a_task_begins_with_its_first_piece_and_ends_with_its_last(size):
    task = [(True, False), (False, False), (False, True)]
    assert course(Pieces(), online(size)) == 3 * task


def test_a_second_pass_over_a_task_is_counted_anew():
    pieces, first = Pieces(), list(online(6))[:2]
    assert course(pieces, first) == course(pieces, first) == [(True, False), (False, True)]


def test_a_task_that_stops_halfway_gives_way_to_the_next():
    pieces, (first, _, _, *second) = Pieces(), list(online(4))[:6]
    assert course(pieces, [first, *second])[1:] == [(True, False), (False, False), (False, True)]


def test_what_must_not_be_known_neither_begins_nor_ends():
    pieces = Pieces()
    assert course(pieces, online(4, boundaries=False)) == [(False, False)] * 9
    assert pieces.task is None


def test_no_task_is_held_on_to_when_it_is_over():
    pieces = Pieces()
    course(pieces, online(4))
    assert (pieces.task, pieces.count) == (None, 0)


def test_an_ordinary_experience_after_an_unfinished_online_task_ends_it_by_its_own_features():
    parts = naive(train_epochs=1)
    parts.strategy.train(next(iter(online(4))), eval_streams=[])
    assert parts.plugin.pegp.memory.experiences == 0
    parts.strategy.train(stream().train_stream[1], eval_streams=[])
    assert parts.plugin.pegp.memory.experiences == 2
    rows = parts.plugin.pegp.memory.sites["blocks.0.attn.qkv.A"].moment.count
    tokens = parts.model.patch_embed.num_patches + 1
    assert rows.item() == (4 + 2) * tokens  # four samples of the piece, two of the experience
