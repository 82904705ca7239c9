"""ZSCL and VR-LwF: a CLIP goes on matching reference images and texts as its teacher does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from avalanche.benchmarks import DatasetExperience
from avalanche.training.templates import SupervisedTemplate
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import get_swa_multi_avg_fn

from avl_pegp.arguments import require_positive
from avl_pegp.pet.attach import Attachment, attachment_of
from avl_pegp.pet.trainable import trainable_tensors
from avl_pegp.plugins.distillation import distillation_loss, require_temperature
from avl_pegp.plugins.last_task import LastTaskPlugin, snapshot
from avl_pegp.plugins.regularization import quadratic_penalty
from avl_pegp.projection.running import inference_state

Teacher = Literal["zero_shot", "previous"]
_AT_ONCE = 256  # texts in one forward pass: bounds memory


class ZSCLPlugin(LastTaskPlugin):
    """Zero-shot continual learning: a frozen CLIP teaches how images and texts match.

    ``loss + strength · (KD_image + KD_text) + l2 · Σ (θ − θ_start)²``, from the first task on. With S
    the logits of reference images (rows) for reference texts (columns), KD_image is
    ``distillation_loss`` over the texts of each image, KD_text the same over the images of each text.
    The text features in S are the teacher's, for the student too: only ``l2`` holds a text tower that
    is tuned, or a ``Context``.

    Every ``ensemble_every`` iterations the trainable tensors enter a mean that began with those at the
    start of the task. After the task the mean takes their place: it is evaluated, and trained on.

    The teacher is no second model. It is the same one without its PETs (``"zero_shot"``), or with the
    tensors that the last task left (``"previous"``; in the first task without PETs).

    As it stands it is ZSCL; ``vr_lwf`` builds VR-LwF. Either is to be compared with
    ``PEGPPlugin``: that both work side by side is not aimed at, and not tested.

    Reference: Zheng et al., Preventing zero-shot transfer degradation in continual learning of
    vision-language models (2023), arXiv 2303.06628. Defaults are those of its released code, which
    also smooths labels by 0.2.

    Args:
        references: the reference texts: captions of many things.
        images: unlabeled reference images ``(n, 3, H, W)``, as the model takes them. Each iteration
            takes as many as its minibatch has, going round in an order that is shuffled once. ``None``
            for the minibatch itself.
        teacher: ``"zero_shot"`` or ``"previous"``.
        strength: weight of both distillation losses, finite and at least 0.
        l2: weight of the squared distance to the start of the task, finite and at least 0.
        temperature: of all softmaxes, finite and above 0.
        ensemble_every: iterations from entry to entry of the mean; ``None`` for no mean.

    Raises:
        ValueError: an argument outside that; at the start of training, a model without PETs, and what
            ``LastTaskPlugin`` refuses; at the end of a task, one too short for the mean.
        TypeError: at the start of training, a model that is no ``CLIPClassifier``.

    Example:
        >>> plugin = ZSCLPlugin(["a photo of a cat.", "a photo of a dog."], torch.zeros(9, 3, 32, 32))
        >>> plugin.teacher, plugin.temperature, plugin.ensemble_every  # Naive(..., plugins=[this])
        ('zero_shot', 2.0, 100)
    """

    def __init__(
        self,
        references: Sequence[str],
        images: Tensor | None = None,
        *,
        teacher: Teacher = "zero_shot",
        strength: float = 1.0,
        l2: float = 1.0,
        temperature: float = 2.0,
        ensemble_every: int | None = 100,
    ) -> None:
        super().__init__(strength)
        _require_texts(references)
        _require_images(images)
        if teacher not in get_args(Teacher):
            raise ValueError(f"teacher={teacher!r}: must be one of {', '.join(get_args(Teacher))}")
        if not 0 <= l2 < math.inf:
            raise ValueError(f"l2={l2!r}: must be a finite number of at least 0")
        require_temperature(temperature)
        require_positive(self, ensemble_every=1 if ensemble_every is None else ensemble_every)
        self.references, self.images = tuple(references), images
        self.teacher, self.l2 = teacher, l2
        self.temperature, self.ensemble_every = temperature, ensemble_every
        self.mean: dict[str, Tensor] = {}
        self._entries = 0  # in that mean
        self._order = torch.empty(0, dtype=torch.long)
        if images is not None:
            self._order = torch.randperm(len(images), generator=Generator().manual_seed(0))
        self._texts = torch.empty(0)
        self._iterations = 0
        self._tasks = 0

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Where a task begins, note where, begin the mean, and ask the teacher for its text features."""
        super().before_training_exp(strategy, **kwargs)
        if self._pieces.count:
            return  # a later piece of an online task
        model = strategy.model
        _attachment_of_clip(model)
        self.anchor = snapshot(model)  # other than the last task's, where a context begins anew
        self.mean = snapshot(model) if self.ensemble_every else {}
        self._iterations, self._entries = 0, 1
        self._texts = self.taught(model, self._text_features)

    def before_backward(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Add the distillation, and the distance to the start of the task."""
        super().before_backward(strategy, **kwargs)
        ones = dict.fromkeys(self.anchor, 1.0)
        distance = quadratic_penalty(trainable_tensors(strategy.model), self.anchor, ones)
        strategy.loss = strategy.loss + self.l2 * distance

    def penalty(self, strategy: SupervisedTemplate) -> Tensor:
        """KD_image + KD_text on the reference images of this iteration."""
        images = self._images_of(strategy)

        def matching(model: Any) -> Tensor:
            logits: Tensor = model.logits(model.encode_image(images), self._texts)
            return logits

        student, teacher = matching(strategy.model), self.taught(strategy.model, matching)
        over_texts = distillation_loss(student, teacher, self.temperature)
        return over_texts + distillation_loss(student.T, teacher.T, self.temperature)

    def after_update(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Let the tensors enter the mean, every so often."""
        self._iterations += 1
        if self.mean and self._iterations % (self.ensemble_every or 1) == 0:
            now = trainable_tensors(strategy.model)
            add = get_swa_multi_avg_fn()
            add(list(self.mean.values()), [now[name].detach() for name in self.mean], self._entries)
            self._entries += 1

    def learn(
        self, strategy: SupervisedTemplate, task: DatasetExperience[Any], **kwargs: Any
    ) -> None:
        """Put the mean in the tensors' place."""
        self._tasks += 1
        if not self.mean:
            return
        if self._entries == 1:
            raise ValueError(
                f"ensemble_every={self.ensemble_every}, but the task had {self._iterations} "
                "iterations, and the mean would undo them all: lower it, or train longer"
            )
        with torch.no_grad():
            for name, tensor in trainable_tensors(strategy.model).items():
                tensor.copy_(self.mean[name])

    def taught(self, model: nn.Module, question: Callable[[Any], Tensor]) -> Tensor:
        """The teacher's answer to a question about a model, without gradients.

        Args:
            model: the student, with its PETs.
            question: a function of a model.
        """
        if self.teacher == "zero_shot" or not self._tasks:
            with _attachment_of_clip(model).disabled(), inference_state(model):
                return question(model)
        previous = {f"model.{name}": tensor for name, tensor in self.anchor.items()}
        with inference_state(model):
            answer: Tensor = functional_call(_Asked(model, question), previous, ())
        return answer

    def _text_features(self, model: Any) -> Tensor:
        starts = range(0, len(self.references), _AT_ONCE)
        return torch.cat([model.encode_text(self.references[i : i + _AT_ONCE]) for i in starts])

    def _images_of(self, strategy: SupervisedTemplate) -> Tensor:
        batch: Tensor = strategy.mb_x
        if self.images is None:
            return batch
        first, total = strategy.clock.train_iterations * len(batch), len(self.images)
        turns = torch.arange(first, first + min(len(batch), total)) % total
        return self.images[self._order[turns]].to(batch)


class _Asked(nn.Module):
    """A question about a model, in the form that ``functional_call`` takes."""

    def __init__(self, model: nn.Module, question: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self.question = model, question

    def forward(self) -> Tensor:
        return self.question(self.model)


def _attachment_of_clip(model: nn.Module) -> Attachment:
    if not hasattr(model, "encode_text"):
        raise TypeError(
            f"ZSCLPlugin with a {type(model).__name__}, which encodes no texts: give the strategy a "
            "model of create_clip"
        )
    attachment = attachment_of(model)
    if attachment is None:
        raise ValueError(
            "ZSCLPlugin with a model without PETs: the teacher is the model without them; call "
            "attach(model, LoRA(...)) first"
        )
    return attachment


def _require_texts(references: Sequence[str]) -> None:
    if isinstance(references, str) or len(references) < 2:
        raise ValueError(
            f"references={references!r}: must be a list of at least two texts, to compare them"
        )


def _require_images(images: Tensor | None) -> None:
    if images is not None and (images.ndim != 4 or not len(images)):
        raise ValueError(
            f"images has shape {tuple(images.shape)}: must be (n, 3, H, W) with n at least 1, as the "
            "model takes them; leave it out for the minibatch itself"
        )
