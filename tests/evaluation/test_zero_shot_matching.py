"""Matching by features that are written down beforehand, and by a real model, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clips import pictures, small_clip
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from avl_pegp.evaluation import hallucination_rate, matching, recall_at_1
from avl_pegp.pet import LoRA, attach

IMAGES = pictures(6, seed=2)
CAPTIONS = ["a red fox", "a blue sky", "a green tree", "an old car", "a key"]
OWN = [0, 1, 2, 3, 3, 1]
FOILS = torch.tensor([[1, 2], [0, 4], [3, 1], [4, 0], [2, 1], [2, 3]])


class Known(torch.nn.Module):
    """Stands for a CLIP: an image's only pixel is the number of its row of features."""

    def __init__(self, images, texts):
        super().__init__()
        self.register_parameter("device", torch.nn.Parameter(torch.zeros(())))
        self.images, self.texts = F.normalize(images), F.normalize(texts)

    def encode_image(self, numbers):
        return self.images[numbers.flatten().long()]

    def encode_text(self, texts):
        return self.texts[[int(text) for text in texts]]


def test_the_numbers_of_three_images_by_hand():
    images = torch.tensor([[1.0, 0.1, 0.0], [0.3, 1.0, 0.0], [0.0, 0.9, 1.0]])
    texts = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.1, 0.0, 1.0], [0.0, 1.0, 1.0]])
    dataset = TensorDataset(torch.arange(3.0)[:, None], torch.tensor([0, 1, 2]))
    numbers = matching(
        Known(images, texts),
        dataset,
        ["0", "1", "2", "3"],
        torch.tensor([[1, 2], [0, 2], [1, 3]]),
        batch_size=2,
    )
    # The third image is nearest to the last caption, which is false of it and of no image.
    assert numbers == pytest.approx(
        {"image_to_text": 2 / 3, "text_to_image": 1.0, "hallucination": 1 / 6}
    )


@torch.no_grad()
def by_hand(model):
    """One image and one caption at a time."""
    scores = torch.stack(
        [torch.cat([model.encode_image(x[None]) @ model.encode_text([t]).T for t in CAPTIONS])[:, 0]
         for x in IMAGES]
    )  # fmt: skip
    used = sorted(set(OWN))
    return {
        "image_to_text": sum(int(row.argmax()) == c for row, c in zip(scores, OWN, strict=True))
        / 6,
        "text_to_image": sum(OWN[int(scores[:, c].argmax())] == c for c in used) / len(used),
        "hallucination": sum(
            float(row[foil] >= row[c])
            for row, c, foils in zip(scores, OWN, FOILS.tolist(), strict=True)
            for foil in foils
        )
        / FOILS.numel(),
    }


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_are_those_of_each_image_alone_and_the_model_stays(seed, batch_size):
    model = small_clip(seed=seed)
    attach(model, LoRA(2))
    model.train()
    modes, names = [m.training for m in model.modules()], model.class_names
    dataset = TensorDataset(IMAGES, torch.tensor(OWN))
    numbers = matching(model, dataset, CAPTIONS, FOILS, batch_size)
    assert modes == [m.training for m in model.modules()]
    assert model.class_names == names
    assert numbers == pytest.approx(by_hand(model.eval()))
    assert 0 < numbers["hallucination"] < 1


@pytest.mark.parametrize(
    ("own", "captions", "foils", "message"),
    [
        (OWN, [*CAPTIONS[:4], "a red fox"], FOILS, r"captions has \['a red fox'\] more than"),
        (OWN, "abcde", FOILS, "captions='abcde': must be a list of texts"),
        ([*OWN[:5], 5], CAPTIONS, FOILS, "image_captions: must be whole numbers from 0 to 4"),
        (OWN, CAPTIONS, FOILS[:5], r"foils \(5, 2\) of torch.int64: must have a row for each of"),
        (OWN, CAPTIONS, FOILS[:, 0], r"foils \(6,\)"),
        (OWN, CAPTIONS, FOILS[:, :0], r"foils \(6, 0\)"),
        (OWN, CAPTIONS, FOILS.float(), "of torch.float32: .* as torch.int64"),
        (OWN, CAPTIONS, torch.full_like(FOILS, 5), "of caption numbers from 0 to 4"),
        (OWN, CAPTIONS, torch.full_like(FOILS, -1), "of caption numbers from 0 to 4"),
        ([1, *OWN[1:]], CAPTIONS, FOILS, "none of them its own"),
    ],
)
def test_sets_that_do_not_fit_together_are_refused(own, captions, foils, message):
    dataset = TensorDataset(IMAGES, torch.tensor(own))
    with pytest.raises(ValueError, match=message):
        matching(small_clip(), dataset, captions, foils)


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
