"""What pretraining of the tiny CLIP counts as true, and what its loss asks for."""

import random

import tiny_clip as program
import torch

from avl_pegp.benchmarks.scenes import HELD_OUT_PAIRS, Scene

RED_A = Scene("A", "red", "sans", bold=False, italic=False, size="large", position="left")
RED_B = Scene("B", "red", "sans", bold=True, italic=False, size="large", position="right")
BLUE_A = Scene("A", "blue", "mono", bold=False, italic=True, size="tiny", position="left")


def test_a_caption_is_true_of_every_image_that_has_what_it_says() -> None:
    said = [{"colour"}, {"character", "bold"}, {"character", "position"}]
    true = program.true_pairs([RED_A, RED_B, BLUE_A], said)
    assert true.tolist() == [[True, False, True], [True, True, False], [False, False, True]]


def test_a_caption_commits_itself_to_what_its_words_say() -> None:
    chance = random.Random(0)
    drawn = [program.draw_caption(RED_B, chance) for _ in range(200)]
    assert any("bold" in said for _, said in drawn)
    for caption, said in drawn:
        assert "italic" not in said  # upright goes without saying
        words = {"character": "capital b", "colour": "red", "bold": "bold", "position": "right"}
        for attribute, word in words.items():
            assert (word in caption) == (attribute in said)


def test_no_image_shows_what_is_held_out() -> None:
    assert not any(
        program.shown(Scene("A", colour, typeface, False, False, "tiny", "top"))
        for colour, typeface in HELD_OUT_PAIRS
    )
    images = [tokens for _, tokens, _ in program.batches(256, seed=0)]
    unseen = {program.NAMES[c].split()[-1] for c in "KQW4"}
    shown = torch.cat(images).unique().tolist()
    assert not {program.tokenize.encode(word)[0] for word in unseen} & set(shown)


def test_the_loss_is_that_of_infonce_where_each_image_has_one_caption() -> None:
    torch.manual_seed(0)
    logits, own = torch.randn(4, 4), torch.arange(4)
    loss = program.contrastive_loss(logits, torch.eye(4, dtype=torch.bool))
    ways = [torch.nn.functional.cross_entropy(way, own) for way in (logits, logits.mT)]
    torch.testing.assert_close(loss, sum(ways) / 2)


def test_true_pairs_do_not_compete() -> None:
    true = torch.tensor([[True, True], [True, True]])
    logits = torch.tensor([[0.0, 30.0], [5.0, -30.0]])
    assert program.contrastive_loss(logits, true) == 0
    true[0, 1] = False
    assert program.contrastive_loss(logits, true) > 1
