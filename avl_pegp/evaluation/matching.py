"""How well a CLIP matches images with captions, and how often it prefers a false one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import Dataset

from avl_pegp.backbones.clip import distinct_texts
from avl_pegp.evaluation.encoding import encoded_images, encoded_texts
from avl_pegp.evaluation.zero_shot import hallucination_rate, recall_at_1

if TYPE_CHECKING:
    from avl_pegp.backbones.clip import CLIPClassifier


def matching(
    model: CLIPClassifier,
    dataset: Dataset[Any],
    captions: Sequence[str],
    foils: Tensor,
    batch_size: int = 256,
) -> dict[str, float]:
    """Retrieval recall@1 both ways, and the hallucination rate, on one set of images.

    Args:
        model: encodes images and captions; its modes are afterwards what they were.
        dataset: of ``(image, caption number, ...)``.
        captions: distinct; all of them compete in retrieval.
        foils: ``(n, K)``, for each image the numbers of K other captions than its own, which name
            something that is not there; in the order of the data set.
        batch_size: images, or captions, in a forward pass.

    Returns:
        ``image_to_text``, ``text_to_image`` (see ``recall_at_1``) and ``hallucination`` (see
        ``hallucination_rate``), each a share.

    Raises:
        ValueError: no list of captions, a repeated or an empty one, shapes that do not fit, caption
            numbers out of range, or a foil that is the image's own caption.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from avl_pegp import create_clip
        >>> model = create_clip("tiny_clip_32.glyphs", ["capital a"])
        >>> dataset = TensorDataset(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]))
        >>> captions = ["a red capital a", "a blue capital a"]
        >>> matching(model, dataset, captions, torch.tensor([[1], [0]]))["hallucination"]
        0.5
    """
    captions = distinct_texts("captions", captions)
    images, own = encoded_images(model, dataset, batch_size)
    texts = encoded_texts(model, captions, batch_size)
    recall = recall_at_1(images, texts, own)
    _require_foils(foils.to(own.device), own, len(texts))
    scores = images @ texts.T
    false = scores.gather(1, foils.to(scores.device))
    true = scores.gather(1, own[:, None])[:, 0]
    return {**recall._asdict(), "hallucination": hallucination_rate(true, false)}


def _require_foils(foils: Tensor, own: Tensor, count: int) -> None:
    fits = foils.ndim == 2 and len(foils) == len(own) and foils.numel() and foils.dtype == own.dtype
    if not fits or foils.min() < 0 or foils.max() >= count or (foils == own[:, None]).any():
        raise ValueError(
            f"foils {tuple(foils.shape)} of {foils.dtype}: must have a row for each of the {len(own)} "
            f"images, of caption numbers from 0 to {count - 1} as {own.dtype}, none of them its own"
        )
