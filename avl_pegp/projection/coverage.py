"""Which condition covers which trainable tensor of a model, and what no condition can cover."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from avl_pegp.projection.heads import Classifier, find_heads
from avl_pegp.projection.sites import (
    Site,
    depends_on_product_alone,
    find_sites,
    linear_site,
    names_by_id,
    require_untied,
)
from avl_pegp.wrappers import named_root


@dataclass(frozen=True)
class Coverage:
    """The trainable tensors of a model as they are at one moment, for models grow and freeze.

    Attributes:
        trained: every trainable tensor by name.
        sites: those under a condition, by site.
        heads: the layers of the classifier, under the row rule; none where there is no classifier, or
            where it is not known.
        is_known: whether the model says what its classifier is, or was told.
        uncovered: names under no condition, to be held after the first experience.
        norms: norms that keep running statistics.
        others: every other parameter by name.
    """

    trained: dict[str, nn.Parameter] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    heads: dict[str, Site] = field(default_factory=dict)
    is_known: bool = True
    uncovered: tuple[str, ...] = ()
    norms: dict[str, nn.Module] = field(default_factory=dict)
    others: dict[str, nn.Parameter] = field(default_factory=dict)

    def observed(self) -> dict[str, Site]:
        """All whose features are gathered: the sites, and the heads of the classifier."""
        return {**self.sites, **self.heads}

    @property
    def known_heads(self) -> Collection[str] | None:
        """The paths of the heads; ``None`` where the model does not say what its classifier is."""
        return self.heads if self.is_known else None

    def tensors(self) -> dict[str, Tensor]:
        """The trainable tensors without their gradients, to be read and written in place."""
        return {name: p.detach() for name, p in self.trained.items()}

    def gradients(self) -> dict[str, Tensor]:
        """The gradients that are there."""
        return {name: p.grad for name, p in self.trained.items() if p.grad is not None}

    def require_current(self, model: nn.Module) -> None:
        """Raise ValueError where another tensor has taken the place of one seen here."""
        now = dict(named_root(model).named_parameters())
        replaced = [name for name, p in self.trained.items() if now.get(name) is not p]
        if replaced:
            raise ValueError(
                f"{', '.join(replaced)} was replaced since begin(), as by a growing classifier: give "
                "the model its full size from the start, or let it grow before begin()"
            )

    def require_same_trained(self) -> None:
        """Raise ValueError where more is trained than was covered, or other tensors than those."""
        more = [name for name, p in self.others.items() if p.requires_grad]
        for site in self.observed().values():
            more += [n for n, p in site.parameters().items() if p is not self.trained[n]]
        if more:
            raise ValueError(
                f"{', '.join(more)} was made trainable, or replaced, since begin(): nothing protects "
                "it there. Freeze it, or let it be so before begin() of the first experience"
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
    model: nn.Module, classifier: Classifier, exclude: Collection[str], freeze_uncovered: bool
) -> Coverage:
    """Find the condition of every trainable tensor.

    Args:
        model: any module; wrappers that torch puts around it leave names as they are.
        classifier: path of the classifier, ``None`` for the model's own, ``False`` for none.
        exclude: shell-style patterns of names to leave under no condition.
        freeze_uncovered: accept tensors that no condition covers.

    Raises:
        ValueError: nothing to protect, a tensor that no condition covers, one in half precision, one
            shared by two layers, or a pattern or path that fits nothing.
    """
    root = named_root(model)
    parameters = dict(root.named_parameters())
    names = names_by_id(parameters)
    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    for name, p in trained.items():
        _require_kind(name, p)
    _require_unscripted(root)
    excluded = _matching(trained, exclude)
    require_untied(root, excluded)
    found = find_heads(model, classifier)
    heads = _head_sites(found or {}, names, excluded)
    of_heads: set[str] = set().union(*(head.tensors for head in heads.values()))
    sites = find_sites(root, names, excluded | of_heads)
    covered = (excluded | of_heads).union(*(site.tensors for site in sites.values()))
    uncovered = tuple(name for name in trained if name not in covered)
    if uncovered and not freeze_uncovered:
        raise ValueError(
            f"no condition covers the trainable {', '.join(uncovered)}: freeze it "
            "(requires_grad_(False)), leave it unprotected by exclude=(name,), or train it in the "
            "first experience only by freeze_uncovered=True"
            f"{_of_own_kinds(root, uncovered)}"
        )
    if not sites and not heads:
        held = f", and {', '.join(uncovered)} would be held for good" if uncovered else ""
        raise ValueError(
            f"{type(root).__name__} has no trainable PET or linear layer to protect{held}: "
            "attach(model, LoRA(...)) first, or make a layer trainable"
        )
    norms: dict[str, nn.Module] = {
        name: module
        for name, module in root.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats
    }
    others = {name: p for name, p in parameters.items() if name not in trained}
    return Coverage(trained, sites, heads, found is not None, uncovered, norms, others)


def _require_kind(name: str, parameter: nn.Parameter) -> None:
    """Refuse a trainable tensor whose steps can't be projected."""
    if isinstance(parameter, nn.parameter.UninitializedParameter):
        raise ValueError(
            f"{name} has no shape yet (a lazy layer): show the model an input once before training"
        )
    if parameter.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{name} is trained in {parameter.dtype}: projected steps need float32 or float64; keep "
            "trainable tensors in float32 and use autocast for speed"
        )


def _require_unscripted(root: nn.Module) -> None:
    """Refuse trained modules that can't be watched."""
    scripted = [
        path or type(module).__name__
        for path, module in root.named_modules()
        if isinstance(module, torch.jit.ScriptModule)
        and any(p.requires_grad for p in module.parameters(recurse=False))
    ]
    if scripted:
        raise ValueError(
            f"{', '.join(scripted)} is a TorchScript module, whose features can't be seen: train the "
            "module that it was made of, and script or trace it afterwards, or freeze it"
        )


def _head_sites(
    heads: dict[str, nn.Linear], names: Mapping[int, str], excluded: Collection[str]
) -> dict[str, Site]:
    """The heads that a row rule can hold, but for excluded ones; what is left out is uncovered."""
    plain = {
        path: linear_site(path, layer, names, excluded)
        for path, layer in heads.items()
        if names.get(id(layer.weight)) == f"{path}.weight" and layer.weight.requires_grad
    }
    return {
        path: site
        for path, site in plain.items()
        if site.weight not in excluded and depends_on_product_alone(site.module)
    }


def _of_own_kinds(root: nn.Module, uncovered: Collection[str]) -> str:
    """A sentence on linear layers that are not covered since they compute something of their own."""
    layers = [
        f"{path} ({type(module).__name__})"
        for path, module in root.named_modules()
        if isinstance(module, nn.Linear) and any(n.startswith(f"{path}.") for n in uncovered)
    ]
    if not layers:
        return ""
    return (
        f". {', '.join(layers)}: such a layer's output depends on its weight in other ways than "
        "through W x + b, as where the weight is normalised or quantised, or only its bias is trained"
    )


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
