from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avl_pegp.evaluation import (
    hallucination_rate,
    recall_at_1,
    transfer_avg_last,
)

MATRIX = [
    [0.9, 0.4, 0.3],
    [0.7, 0.8, 0.2],
    [0.6, 0.5, 0.7],
]


def test_the_numbers_of_a_small_matrix():
    numbers = transfer_avg_last(MATRIX)
    assert numbers.transfer == pytest.approx((0.4 + (0.3 + 0.2) / 2) / 2)
    assert numbers.average == pytest.approx(5.1 / 9)
    assert numbers.last == pytest.approx(1.8 / 3)


@given(
    st.integers(2, 6).flatmap(lambda n: st.lists(st.floats(0, 1), min_size=n * n, max_size=n * n))
)
def test_the_numbers_of_any_matrix_are_numpys(entries):
    size = round(len(entries) ** 0.5)
    a = np.array(entries).reshape(size, size)
    transfer, average, last = transfer_avg_last(a.tolist())
    ahead = [np.mean([a[i, j] for i in range(j)]) for j in range(1, size)]
    assert transfer == pytest.approx(np.mean(ahead))
    assert (average, last) == pytest.approx((a.mean(), a[-1].mean()))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([], "matrix has 0 rows"),
        ([[0.5]], "matrix has 1 rows: Transfer is defined from two data sets on"),
        ([[0.5, None], [0.5, 0.5]], r"matrix row 0 has 2 of 2 entries and lacks \[1\]"),
        ([[0.5, 0.5], [0.5]], "matrix row 1 has 1 of 2 entries"),
        ([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]], "matrix row 0 has 3 of 2 entries"),
    ],
)
def test_a_matrix_that_is_not_full_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        transfer_avg_last(matrix)


def recall_by_loop(images, texts, captions):
    """The oracle: every query for itself, its wrong answers one by one."""
    scores = [[i @ t / np.linalg.norm(i) / np.linalg.norm(t) for t in texts] for i in images]
    to_text = [
        all(scores[i][c] > scores[i][other] for other in range(len(texts)) if other != c)
        for i, c in enumerate(captions)
    ]
    to_image = [
        captions[max(range(len(images)), key=lambda i: scores[i][c])] == c for c in set(captions)
    ]
    return np.mean(to_text), np.mean(to_image)


@pytest.mark.parametrize("seed", range(20))
def test_recall_is_that_of_a_search_for_each_query(seed):
    rng = np.random.default_rng(seed)
    count, texts = int(rng.integers(1, 9)), rng.normal(size=(int(rng.integers(1, 5)), 3))
    captions = rng.integers(0, len(texts), size=count)
    images = texts[captions] + rng.normal(size=(count, 3))
    recall = recall_at_1(*map(torch.from_numpy, (images, texts, captions)))
    assert recall == pytest.approx(recall_by_loop(images, texts, captions.tolist()))


def test_images_of_one_caption_are_all_right_answers_and_unused_captions_compete_only():
    images = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.0, 0.1], [0.0, 0.3, 0.7]])
    captions = torch.tensor([0, 0, 1])
    texts = torch.eye(3)  # the third is of no image, and nearest to the last image
    assert recall_at_1(images, texts, captions) == pytest.approx((2 / 3, 1.0))
    assert recall_at_1(images, texts[:2], captions) == pytest.approx((1.0, 1.0))


def test_a_model_that_gives_everything_one_feature_recalls_nothing():
    same = torch.ones(4, 3)
    assert recall_at_1(same, same, torch.arange(4)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("images", "texts", "captions", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), torch.arange(2), r"have shapes \[\(2, 3\), \(2, 4\)"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.arange(3), r"must be \(n, D\)"),
        (torch.ones(0, 3), torch.ones(2, 3), torch.arange(0), "n and C at least 1"),
        (torch.ones(2, 3), torch.ones(0, 3), torch.arange(2), "n and C at least 1"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 2]), "from 0 to 1.*from 0 to 2"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.tensor([-1, 1]), "from 0 to 1.*from -1 to 1"),
        (torch.ones(2, 3), torch.ones(2, 3), torch.ones(2), "whole numbers.*torch.float32"),
        (
            torch.full((2, 3), torch.nan),
            torch.ones(2, 3),
            torch.arange(2),
            "image_features has NaN",
        ),
        (torch.ones(2, 3), torch.full((2, 3), torch.inf), torch.arange(2), "text_features has NaN"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(images, texts, captions, message):
    with pytest.raises(ValueError, match=message):
        recall_at_1(images, texts, captions)


def test_foils_that_win_or_tie_are_counted_by_pairs():
    true = torch.tensor([0.5, 0.5, 0.5])
    foils = torch.tensor([[0.6, 0.5, 0.4, 0.0], [0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.9, 0.1]])
    assert hallucination_rate(true, foils) == pytest.approx(5 / 12)


def test_at_chance_half_of_the_pairs_are_lost_whatever_the_number_of_foils():
    g = torch.Generator().manual_seed(0)
    for foils in (1, 8):
        scores = torch.randn(20_000, 1 + foils, generator=g)
        assert hallucination_rate(scores[:, 0], scores[:, 1:]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("true", "foils", "message"),
    [
        (torch.ones(2), torch.ones(3, 1), r"has shape \(2,\) and scores_foils \(3, 1\)"),
        (torch.ones(2), torch.ones(2), r"must be \(n,\) and \(n, K\)"),
        (torch.tensor(1.0), torch.ones(1, 1), r"must be \(n,\) and \(n, K\)"),
        (torch.ones(2), torch.ones(2, 0), "with n and K at least 1"),
        (torch.ones(0), torch.ones(0, 2), "with n and K at least 1"),
        (torch.tensor([torch.nan]), torch.ones(1, 1), "scores_true has NaN"),
        (torch.ones(1), torch.tensor([[torch.nan]]), "scores_foils has NaN"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(true, foils, message):
    with pytest.raises(ValueError, match=message):
        hallucination_rate(true, foils)
