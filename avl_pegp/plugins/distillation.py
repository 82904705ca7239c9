"""Learning without forgetting: the last task's model teaches what it knew, on the new images."""

from __future__ import annotations

import math
from typing import Any

from avalanche.benchmarks import DatasetExperience
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.nn import functional as F

from avl_pegp.plugins.experience import classes_of
from avl_pegp.plugins.last_task import LastTaskPlugin, as_taught


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), the mean over the batch.

    Its gradient is that of the cross entropy with soft targets; unlike that, it is 0 where both
    agree. T² keeps the gradient's size as T grows.

    Args:
        student: logits ``(B, C)``.
        teacher: logits ``(B, C)``.
        temperature: T; above 1 it lets small probabilities count.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 2.0]])
        >>> distillation_loss(logits + 7, logits).item()
        0.0
    """
    now = F.log_softmax(student / temperature, dim=1)
    then = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(now, then, reduction="batchmean", log_target=True)


def require_temperature(temperature: float) -> None:
    """Raise ValueError for a temperature that is not a finite number above 0."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature!r}: must be a finite number above 0")


class LwFPlugin(LastTaskPlugin):
    """Learning without forgetting: old classes' logits on new images stay what they were.

    ``loss + strength · T² · KL(teacher ‖ student)`` over the classes of all earlier tasks, on the
    minibatch that is trained on. The teacher is the same model in eval mode, with the trainable
    tensors that the last task left: the frozen backbone serves both, at the cost of one forward pass
    more. The model is called with images alone, and must give old classes their logits: a CLIP inside
    ``model.only(...)`` without them is refused.

    Reference: Li & Hoiem, Learning without Forgetting (2016), arXiv 1606.09282.

    Args:
        strength: weight of the loss, finite and at least 0.
        temperature: T of both softmaxes, finite and above 0.

    Raises:
        ValueError: ``temperature`` outside that; in training, logits of old classes that are −∞; for
            others see ``LastTaskPlugin``.

    Example:
        >>> LwFPlugin(1.0).temperature  # Naive(..., plugins=[this, PEGPPlugin()]), or alone
        2.0
    """

    def __init__(self, strength: float, temperature: float = 2.0) -> None:
        super().__init__(strength)
        require_temperature(temperature)
        self.temperature = temperature
        self.classes: set[int] = set()

    def penalty(self, strategy: SupervisedTemplate) -> Tensor:
        """The distillation loss over the logits of old classes."""
        old = sorted(self.classes)
        student, teacher = strategy.mb_output[:, old], self.teach(strategy)[:, old]
        silent = student.isneginf().any(dim=0).nonzero().flatten().tolist()
        if silent:
            raise ValueError(
                f"the logits of old classes {[old[i] for i in silent]} are −∞, and LwF holds on to "
                "them: train outside model.only(...), or name old classes there too"
            )
        return distillation_loss(student, teacher, self.temperature)

    def teach(self, strategy: SupervisedTemplate) -> Tensor:
        """What the last task's model answers on the minibatch, without gradients."""
        return as_taught(strategy.model, self.anchor, strategy.mb_x)

    def learn(
        self, strategy: SupervisedTemplate, task: DatasetExperience[Any], **kwargs: Any
    ) -> None:
        """Note which classes the task taught."""
        self.classes |= classes_of(task)
