"""VR-LwF: learning without forgetting for a CLIP, over sentences of random words."""

from __future__ import annotations

import random
from collections.abc import Sequence

from avl_pegp.plugins.zscl import ZSCLPlugin


def random_sentences(
    words: Sequence[str], count: int = 1000, length: int = 10, seed: int = 0
) -> list[str]:
    """Sentences of words drawn at random: a vocabulary that stands for all that a CLIP may be asked.

    The published code draws token numbers. Words do the same for any tokenizer, and with a model that
    knows few of them.

    Args:
        words: to draw from, each as likely. All whole words of open_clip's tokenizer are
            ``[t[:-4] for t in SimpleTokenizer().encoder if t.endswith("</w>")]``.
        count: sentences.
        length: words in each. The model's context must have room for all their tokens.
        seed: of the draw. Global random states are left alone.

    Raises:
        ValueError: fewer than two different words, or ``count`` or ``length`` below 1.

    Example:
        >>> random_sentences(["red", "fox", "runs"], count=2, length=4)
        ['runs runs fox red', 'fox fox runs red']
    """
    if len(set(words)) < 2:
        raise ValueError(f"words={words!r}: must be at least two different ones to draw from")
    for name, value in (("count", count), ("length", length)):
        if value < 1:
            raise ValueError(f"{name}={value!r}: must be a whole number of at least 1")
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=length)) for _ in range(count)]


def vr_lwf(sentences: Sequence[str], strength: float = 1.0) -> ZSCLPlugin:
    """VR-LwF: the last task's model teaches, on the new images, how they match random sentences.

    It is ``ZSCLPlugin`` without reference images, without a pull to the start of the task and without
    a mean; in the first task the teacher is the model without its PETs.

    Reference: Ding et al., Don't stop learning: towards continual learning for the CLIP model (2022),
    arXiv 2207.09248; as run for comparison by Zheng et al. (2023), arXiv 2303.06628.

    Args:
        sentences: of ``random_sentences``.
        strength: weight of both distillation losses, finite and at least 0.

    Raises:
        ValueError: see ``ZSCLPlugin``.

    Example:
        >>> vr_lwf(random_sentences(["red", "fox", "runs"])).teacher
        'previous'
    """
    return ZSCLPlugin(sentences, teacher="previous", strength=strength, l2=0.0, ensemble_every=None)
