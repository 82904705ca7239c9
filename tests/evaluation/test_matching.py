"""Matching by features that are written down beforehand, and by a real model, image by image."""

from __future__ import annotations

import pytest
import torch
from clips import pictures, small_clip
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from avl_pegp.evaluation import matching
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
