"""Which condition covers which trainable tensor of a model, and what no condition can cover."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from avl_pegp.projection.classifier import find_classifier
from avl_pegp.projection.sites import Site, find_sites, linear_site, require_untied


@dataclass(frozen=True)
class Coverage:
    """The trainable tensors of a model as they are at one moment, for models grow and freeze.

    Attributes:
        trained: every trainable tensor by name.
        sites: those under a condition, by site.
        head: the classifier, under the row rule; ``None`` where there is none.
        uncovered: names under no condition, to be held after the first experience.
        norms: norms that keep running statistics.
    """

    trained: dict[str, nn.Parameter] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    head: Site | None = None
    uncovered: tuple[str, ...] = ()
    norms: dict[str, nn.Module] = field(default_factory=dict)

    def observed(self) -> dict[str, Site]:
        """All whose features are gathered: the sites, and the classifier where there is one."""
        return self.sites if self.head is None else {**self.sites, self.head.name: self.head}

    def tensors(self) -> dict[str, Tensor]:
        """The trainable tensors without their gradients, to be read and written in place."""
        return {name: p.detach() for name, p in self.trained.items()}

    def gradients(self) -> dict[str, Tensor]:
        """The gradients that are there."""
        return {name: p.grad for name, p in self.trained.items() if p.grad is not None}

    def require_current(self, model: nn.Module) -> None:
        """Raise ValueError where another tensor has taken the place of one seen here."""
        now = dict(model.named_parameters())
        replaced = [name for name, p in self.trained.items() if now.get(name) is not p]
        if replaced:
            raise ValueError(
                f"{', '.join(replaced)} was replaced since begin(), as by a growing classifier: give "
                "the model its full size from the start, or let it grow before begin()"
            )

    def require_still(self) -> None:
        """Raise ValueError for a norm that would gather running statistics now."""
        for name, module in self.norms.items():
            if module.training:
                raise ValueError(
                    f"{name} ({type(module).__name__}) is in train mode: its running statistics "
                    "change with every batch, and with them old outputs; hold it in eval mode"
                )


def cover(
    model: nn.Module, classifier: str | None, exclude: Collection[str], freeze_uncovered: bool
) -> Coverage:
    """Find the condition of every trainable tensor.

    Args:
        model: any module.
        classifier: path of the classifier, ``None`` for the model's own.
        exclude: shell-style patterns of names to leave under no condition.
        freeze_uncovered: accept tensors that no condition covers.

    Raises:
        ValueError: nothing to protect, a tensor that no condition covers, one in half precision, one
            shared by two layers, or a pattern or path that fits nothing.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for name, p in trained.items():
        if p.dtype in (torch.float16, torch.bfloat16):
            raise ValueError(
                f"{name} is trained in {p.dtype}: projected steps need float32 or float64; keep "
                "trainable tensors in float32 and use autocast for speed"
            )
    excluded = _matching(trained, exclude)
    require_untied(model, excluded)
    layer = find_classifier(model, classifier)
    head = None if layer is None else linear_site(model, layer, excluded)
    if head is not None and head.weight in excluded:
        head = None
    ignored = excluded | (head.tensors if head else set())
    sites = find_sites(model, ignored)
    if not sites:
        raise ValueError(
            f"{type(model).__name__} has no trainable PET or linear layer to protect: "
            "attach(model, LoRA(...)) first, or make a layer trainable"
        )
    covered = ignored.union(*(site.tensors for site in sites.values()))
    uncovered = tuple(name for name in trained if name not in covered)
    if uncovered and not freeze_uncovered:
        raise ValueError(
            f"no condition covers the trainable {', '.join(uncovered)}: freeze it "
            "(requires_grad_(False)), leave it unprotected by exclude=(name,), or train it in the "
            "first experience only by freeze_uncovered=True"
        )
    norms: dict[str, nn.Module] = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats
    }
    return Coverage(trained, sites, head, uncovered, norms)


def _matching(names: Iterable[str], patterns: Iterable[str]) -> set[str]:
    """The names that a shell-style pattern fits."""
    names, found = list(names), set()
    for pattern in patterns:
        hits = {name for name in names if fnmatchcase(name, pattern)}
        if not hits:
            raise ValueError(
                f"exclude has {pattern!r}, which fits no trainable tensor: must fit one of "
                f"{', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
            )
        found |= hits
    return found
