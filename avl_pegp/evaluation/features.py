"""Features of images, and attention on learned tokens: of whole data sets, and drawn.

Figures are returned, not shown and not saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from avl_pegp.evaluation import look
from avl_pegp.hooks import watching
from avl_pegp.pet.prefix import PrefixTokens
from avl_pegp.pet.prompt import PromptRows
from avl_pegp.pet.trainable import classifier_of
from avl_pegp.projection.running import inference_state

_CALLED_WITH_MASS = {PrefixTokens: "values", PromptRows: "mass"}
_NAMED_UP_TO = 40  # classes; beyond, names would cover the points
_NAME_BOX = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}


def classifier_features(
    model: nn.Module, dataset: Dataset[Any], batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """What the classifier receives for each image of a data set, and the targets.

    The model is in eval mode meanwhile; every module's mode is back as it was afterwards, and no hook
    is left behind.

    Args:
        model: with a ``get_classifier()``; it answers on its own device.
        dataset: of ``(image, target, ...)``.
        batch_size: images in a forward pass; features do not depend on it, but for rounding.

    Returns:
        ``(n, D)`` and ``(n,)``, on the CPU.

    Raises:
        ValueError: the data set is empty.
        RuntimeError: the forward pass never calls the classifier.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from avl_pegp import create_vit
        >>> model = create_vit("tiny_vit_32.latin", num_classes=2, pretrained=True)
        >>> dataset = TensorDataset(torch.zeros(3, 3, 32, 32), torch.tensor([0, 1, 1]))
        >>> classifier_features(model, dataset)[0].shape
        torch.Size([3, 128])
    """
    classifier = {"": classifier_of(model)}
    features, targets = _received(model, dataset, batch_size, classifier, Tensor.cpu)
    if not features[""]:
        raise RuntimeError("the forward pass never called the classifier: no features to use")
    return torch.cat(features[""]), targets


def token_mass(model: nn.Module, dataset: Dataset[Any], batch_size: int = 256) -> dict[str, Tensor]:
    """How much attention the tokens of each prefix or deep prompt receive, on average.

    Modes and hooks as in ``classifier_features``.

    Returns:
        For each block's tokens ``(H, L)``: for each head and learned token the share (0..1) of a
        query's attention, averaged over queries and images. What is left to 1 lies on the image.

    Raises:
        ValueError: the data set is empty, or the model has no such tokens.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from avl_pegp import Prefix, attach, create_vit
        >>> model = create_vit("tiny_vit_32.latin", num_classes=2, pretrained=True)
        >>> handle = attach(model, Prefix(length=5, blocks=[1]))
        >>> dataset = TensorDataset(torch.zeros(3, 3, 32, 32), torch.tensor([0, 1, 1]))
        >>> {name: tuple(mass.shape) for name, mass in token_mass(model, dataset).items()}
        {'blocks.1.attn.tokens.prefix': (4, 5)}
    """
    observed = {
        name: getattr(module, _CALLED_WITH_MASS[type(module)])
        for name, module in model.named_modules()
        if type(module) in _CALLED_WITH_MASS
    }
    if not observed:
        raise ValueError(
            f"{type(model).__name__} has no prefix and no deep prompt: attach(model, Prefix(10)) or "
            "Prompt(10), other PETs have no tokens to attend to"
        )

    def over_queries(mass: Tensor) -> Tensor:
        return mass.double().mean(2).sum(0).cpu()  # (B, H, N, L) -> (H, L)

    masses, targets = _received(model, dataset, batch_size, observed, over_queries)
    return {name: torch.stack(parts).sum(0) / len(targets) for name, parts in masses.items()}


def _received(
    model: nn.Module,
    dataset: Dataset[Any],
    batch_size: int,
    modules: Mapping[str, nn.Module],
    of: Callable[[Tensor], Tensor],
) -> tuple[dict[str, list[Tensor]], Tensor]:
    """What modules receive while a model is shown a data set, as ``of`` it, by name; and the targets."""
    found: dict[str, list[Tensor]] = {name: [] for name in modules}

    def see(name: str, _: nn.Module, args: tuple[Any, ...], __: dict[str, Any]) -> None:
        found[name].append(of(args[0].detach()))

    with watching(modules, before=see):
        targets = torch.cat([targets for _, targets in shown(model, dataset, batch_size)])
    return found, targets


def shown(
    model: nn.Module,
    dataset: Dataset[Any],
    batch_size: int,
    show: Callable[[Tensor], Tensor] | None = None,
    purpose: str = "look at",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Show a model, or what ``show`` calls of it, a data set: each batch's output and its targets."""
    device = next(model.parameters()).device
    collate = getattr(dataset, "collate_fn", None)
    is_empty = True
    with inference_state(model):
        for images, targets, *_ in DataLoader(dataset, batch_size=batch_size, collate_fn=collate):
            is_empty = False
            yield (show or model)(images.to(device)), targets
    if is_empty:
        raise ValueError(f"the data set has no samples: give at least one to {purpose}")


def in_the_plane(features: Mapping[str, ArrayLike], seed: int = 0) -> dict[str, Any]:
    """Sets of features laid out in one plane by one t-SNE, so that they can be compared.

    scikit-learn's t-SNE (van der Maaten & Hinton, 2008) with its defaults, and a perplexity of 30 or a
    third of the points where they are few. Distances within the plane count, its axes mean nothing.

    Args:
        features: by name, ``(n, D)`` each; n may differ.
        seed: of the layout.

    Returns:
        By name an array ``(n, 2)``.

    Raises:
        ValueError: fewer than four points in all, widths that differ, or values that are not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> plane = in_the_plane({"new": rng.random((5, 3)), "at the end": rng.random((4, 3))})
        >>> plane["at the end"].shape
        (4, 2)
    """
    from sklearn.manifold import TSNE  # takes a second

    sets = {name: np.asarray(values, dtype=float) for name, values in features.items()}
    shapes = {name: values.shape for name, values in sets.items()}
    widths = {shape[1:] for shape in shapes.values()}
    points = sum(shape[0] for shape in shapes.values())
    if points < 4 or len(widths) != 1 or len(*widths) != 1:
        raise ValueError(
            f"features have shapes {shapes}: must be (n, D), one D, with four rows or more in all"
        )
    together = np.concatenate([*sets.values()])
    if not np.isfinite(together).all():
        raise ValueError("features have NaN or infinite values: look for a diverged weight")
    layout = TSNE(perplexity=min(30, (points - 1) / 3), random_state=seed).fit_transform(together)
    ends = np.cumsum([len(values) for values in sets.values()])[:-1]
    return dict(zip(sets, np.split(layout.astype(float), ends), strict=True))


def feature_map(
    panels: Mapping[str, ArrayLike],
    labels: Sequence[int],
    title: str,
    *,
    names: Mapping[int, str] | None = None,
) -> Figure:
    """The same images as points in the plane, one panel a model or moment, on the same axes.

    A class has its colour and marker, and up to forty have their name at the centre. Clusters that stay
    where they were are features kept; clusters that move or run together are what statistics and
    classifiers stored earlier no longer fit.

    Args:
        panels: by title ``(n, 2)``, as ``in_the_plane`` gives them; the points in the same order.
        labels: ``(n,)``, the class of each point.
        title: above the panels.
        names: of classes; a class without one has its number.

    Raises:
        ValueError: no panel, or points and labels that are not equally many.

    Example:
        >>> plane = np.array([[0.0, 0.0], [1.0, 1.0]])
        >>> len(feature_map({"new": plane, "at the end": plane}, [0, 1], "digits").axes)
        2
    """
    shapes = {name: np.shape(points) for name, points in panels.items()}
    if not panels or set(shapes.values()) != {(len(labels), 2)}:
        raise ValueError(f"panels have shapes {shapes}: must be ({len(labels)}, 2), a row a label")
    figure, axes = look.panels_of(len(panels), title, size=(4.5, 4.2))
    classes = np.unique(labels)
    for axis, (panel, points) in zip(axes, panels.items(), strict=True):
        axis.sharex(axes[0])
        for i, c in enumerate(classes):
            of_class = np.asarray(points, dtype=float)[np.asarray(labels) == c]
            style = look.style_of(i)
            dots = {"c": style["color"], "marker": style["marker"], "alpha": 0.7, "lw": 0}
            axis.scatter(of_class[:, 0], of_class[:, 1], s=14, **dots)
            if len(classes) <= _NAMED_UP_TO:
                name = look.shortened((names or {}).get(int(c), str(c)), 16)
                place = np.median(of_class, axis=0)
                axis.annotate(name, place, fontsize=9, ha="center", bbox=_NAME_BOX)
        look.tidy(axis, panel)
        axis.tick_params(labelbottom=False, labelleft=False, length=0)
    return figure


def attention_mass(panels: Mapping[str, ArrayLike], title: str) -> Figure:
    """How much attention prefix or prompt tokens receive: by block, then by block and token.

    First panel: the share of all attention that lies on learned tokens, mean over heads, each head a
    small dot; one line a model or moment. The others: the same by block and token. A prefix that
    nobody looks at does nothing; one that takes all attention hides the image.

    Args:
        panels: by title ``(blocks, H, L)``: shares (0..1) as ``token_mass`` gives them, stacked.
        title: above the panels.

    Raises:
        ValueError: no panel, or not of that shape.

    Example:
        >>> figure = attention_mass({"PEGP": np.full((6, 4, 5), 0.01)}, "digits")
        >>> figure.axes[0].lines[0].get_ydata().round(1).tolist()
        [5.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    """
    masses = {name: 100 * np.asarray(mass, dtype=float) for name, mass in panels.items()}
    shapes = {name: mass.shape for name, mass in masses.items()}
    if not masses or any(len(shape) != 3 or 0 in shape for shape in shapes.values()):
        raise ValueError(f"panels have shapes {shapes}: must be (blocks, heads, tokens)")
    figure = Figure(figsize=(4.2 * (1 + len(masses)), 4.2), layout="constrained")
    total, *maps = figure.subplots(1, 1 + len(masses))
    top = max(mass.mean(1).max() for mass in masses.values())
    for i, (axis, (name, mass)) in enumerate(zip(maps, masses.items(), strict=True)):
        heads, style, blocks = mass.sum(2), look.style_of(i), np.arange(len(mass))
        total.plot(blocks, heads.mean(1), label=name, lw=1.6, ms=5, **style)
        for head in heads.T:
            total.scatter(blocks, head, s=6, color=style["color"], alpha=0.6, zorder=3)
        image = look.shaded_cells(axis, mass.mean(1), name, top=top, first_row=0)
        axis.set_xlabel("learned token")
    maps[0].set_ylabel("block")
    figure.colorbar(image, ax=maps, label="attention (%)", shrink=0.8)
    figure.suptitle(look.shortened(title, 34 * (1 + len(masses))))
    look.tidy(total, "all learned tokens", counting="block")
    total.set(ylabel="share of all attention (%)", ylim=(0, None))
    look.legend_below(figure, [total])
    return figure
