"""What a file says of the frozen model that PETs were saved beside, to know it again."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avl_pegp.fingerprint import changed_settings, digest_of, frozen_tensors, settings_of
from avl_pegp.pet.restart import KeepsEarlier
from avl_pegp.pet.trainable import classifier_of
from avl_pegp.wrappers import unwrapped


@dataclass(frozen=True)
class FrozenModel:
    """A model without what was tuned.

    Attributes:
        source: what the model says of where its weights are from; ``"unknown"`` where it says nothing.
        digest: of its frozen tensors as float32: a wider dtype holds the same numbers.
        settings: how its modules are set up, but for the classifier.
    """

    source: str
    digest: str
    settings: dict[str, str]

    @classmethod
    def of(cls, model: nn.Module, tuned: Collection[str]) -> FrozenModel:
        """Of a model with its PETs; ``tuned`` names what is not frozen."""
        head = set(classifier_of(unwrapped(model)).modules())
        apart = [path for path, module in model.named_modules() if module in head]
        of_pets = {
            name
            for path, module in model.named_modules()
            if isinstance(module, KeepsEarlier)
            for name, _ in module.named_buffers(prefix=path, recurse=False)
        }
        digest = digest_of(frozen_tensors(model, of_pets.union(tuned)), torch.float32)
        return cls(_source_of(model), digest, settings_of(model, apart))

    def require(self, model: nn.Module, tuned: Collection[str], folder: Path) -> None:
        """Raise ValueError where a model is another one.

        Args:
            model: with the same PETs.
            tuned: names of what the file brings.
            folder: for the message.
        """
        now = FrozenModel.of(model, tuned)
        changed = changed_settings(self.settings, now.settings)
        if changed:
            raise ValueError(
                f"{folder} was saved beside a model that was set up otherwise: "
                f"{'; '.join(changed[:4])}. Build the model as it was"
            )
        if now.digest != self.digest:
            raise ValueError(
                f"{folder} was saved beside other frozen weights: {self.source} (digest "
                f"{self.digest[:12]}), and the model has {now.source} (digest {now.digest[:12]}). Load "
                "the weights that were tuned on first, in float32 or float64 where those were; cast the "
                "model to half precision after loading"
            )


def _source_of(model: Any) -> str:
    """The name of the weights, as this package or timm notes it on the model."""
    source = getattr(model, "weights_source", None)
    if source is not None:
        return str(source)
    config = getattr(model, "pretrained_cfg", None) or {}
    parts = [config.get("architecture"), config.get("tag")]
    return ".".join(part for part in parts if part) or "unknown"


def frozen_from_json(entry: Any) -> FrozenModel:
    """A frozen model of the fields that ``dataclasses.asdict`` gave.

    Raises:
        ValueError: another form.
    """
    keys = {"source", "digest", "settings"}
    if not isinstance(entry, dict) or entry.keys() != keys:
        raise ValueError(f"'frozen' must have {', '.join(sorted(keys))}")
    texts = [entry["source"], entry["digest"]]
    if not isinstance(entry["settings"], dict):
        raise ValueError("'frozen' must have settings by name")
    if not all(isinstance(text, str) for text in (*texts, *entry["settings"].values())):
        raise ValueError(f"'frozen' must hold texts alone, not {json.dumps(entry)[:80]}")
    return FrozenModel(**entry)
