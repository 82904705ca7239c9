"""Corrections of stored class statistics for the drift of features, without an old sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from avalanche.core import BasePlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from avl_pegp.arguments import require_positive
from avl_pegp.heads import chosen_ridge, kept_off, ridge_map
from avl_pegp.plugins.classifier_input import Encode
from avl_pegp.plugins.experience import is_online, statistics_loader
from avl_pegp.plugins.made_images import made_images
from avl_pegp.plugins.pegp import PEGPPlugin
from avl_pegp.projection.foretelling import as_the_past_feels
from avl_pegp.projection.memory import Memory
from avl_pegp.projection.pegp import PEGP


class DriftCorrection(ABC):
    """Estimates on the images of an experience, before and after it, how old features have moved.

    The images are those at hand and as many more made of them (``made_images``) as ``pairs`` asks for;
    the map is ``ridge_map``'s, its ridge chosen by classes that are left out in turn, and none where
    that foretells nothing.

    Args:
        pairs: images whose features are compared, at least; as few as are at hand: 1.
        seed: of the made images.

    Raises:
        ValueError: ``pairs`` or ``seed`` out of range; in training, an online stream.
    """

    def __init__(self, pairs: int = 2000, seed: int = 0) -> None:
        require_positive(self, pairs=pairs)
        self.pairs, self.seed = pairs, seed
        self._before: Tensor | None = None

    def require_fit(self, strategy: SupervisedTemplate, by: BasePlugin) -> None:
        """Refuse a strategy or stream in which nothing can be estimated, before time is spent.

        Args:
            strategy: about to train.
            by: its plugin that has this correction.
        """
        if is_online(strategy.experience):
            raise ValueError(
                f"{type(self).__name__} in an online stream: it compares features of the same images "
                "before and after training, and there each is seen once; leave correction out"
            )

    def begin(self, strategy: SupervisedTemplate, encode: Encode, **kwargs: Any) -> None:
        """Note the features before an experience is trained on."""
        self._before, _ = self._encoded(strategy, encode, {}, **kwargs)

    def end(self, strategy: SupervisedTemplate, encode: Encode, **kwargs: Any) -> Tensor | None:
        """The map W that old features have gone since ``begin``; ``None`` where none is foretold.

        Raises:
            RuntimeError: ``begin`` was not called.
        """
        if self._before is None:
            raise RuntimeError(
                "call begin() before training: there are no features to compare with"
            )
        before, self._before = self._before, None
        after, origins = self._encoded(strategy, encode, self.tensors(strategy), **kwargs)
        ridge = chosen_ridge(before, after, origins)
        return None if ridge is None else ridge_map(before, after, ridge)

    @abstractmethod
    def tensors(self, strategy: SupervisedTemplate) -> Mapping[str, Tensor]:
        """Tensors under which present features move as old ones are thought to have moved."""

    def _encoded(
        self,
        strategy: SupervisedTemplate,
        encode: Encode,
        tensors: Mapping[str, Tensor],
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Features ``(N, d)`` and origins ``(N, 2)`` of the same images each time."""
        found = [
            (encode(batch, tensors).cpu(), origins)
            for batch, origins in self._images(strategy, **kwargs)
        ]
        features, origins = zip(*found, strict=True)
        return torch.cat(features), torch.cat(origins)

    def _images(
        self, strategy: SupervisedTemplate, **kwargs: Any
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """The experience's batches, and made ones behind each."""
        size, workers = strategy.eval_mb_size, kwargs.get("num_workers", 0)
        loader = statistics_loader(
            strategy.experience, batch_size=size, num_workers=workers, seed=self.seed
        )
        generator = torch.Generator().manual_seed(self.seed)
        repeats = max(1, -(-self.pairs // len(strategy.experience.dataset)))
        for x, y, *rest in loader:
            yield [x, y, *rest], torch.stack([y, y], dim=1)
            for _ in range(repeats - 1):
                images, origins = made_images(x, y, generator)
                yield [images, y, *rest], origins


class RidgeCorrection(DriftCorrection):
    """Moves old statistics as the features of present images have moved.

    Beside a ``PEGPPlugin`` that holds steps fully, and before it, the map is kept off those directions
    of features that are protected at the classifier: at ``energy=1`` nothing moves but for rounding.

    Example:
        >>> from avl_pegp.plugins import ClassStatisticsPlugin
        >>> ClassStatisticsPlugin("lda", correction=RidgeCorrection(pairs=4000)).correction.pairs
        4000
    """

    def __init__(self, pairs: int = 2000, seed: int = 0) -> None:
        super().__init__(pairs, seed)
        self._protected: list[Tensor] = []

    def begin(self, strategy: SupervisedTemplate, encode: Encode, **kwargs: Any) -> None:
        """Note the features, and what is protected, before an experience is trained on."""
        super().begin(strategy, encode, **kwargs)
        pegp = _pegp_of(strategy)
        self._protected = []
        if pegp is not None and pegp.settings.project == "step" and pegp.memory.is_hard:
            # Of features [x, 1]; what is said of the bias is not about features.
            bases = (head.basis for head in pegp.memory.heads.values())
            self._protected = [basis.columns[:-1] for basis in bases if basis is not None]

    def end(self, strategy: SupervisedTemplate, encode: Encode, **kwargs: Any) -> Tensor | None:
        """The map W of old features, the identity along what is protected; ``None`` where none is."""
        found = super().end(strategy, encode, **kwargs)
        for directions in self._protected:
            found = None if found is None else kept_off(found, directions)
        return found

    def tensors(self, strategy: SupervisedTemplate) -> Mapping[str, Tensor]:
        """Those that training left."""
        return {}


class MomentsCorrection(DriftCorrection):
    """Moves old statistics as PEGP's moments foretell: zero along all that it protects.

    Present images are shown to a model whose steps reach them as they reach old inputs: at each site
    features are carried over to the second moment that old features have (``as_the_past_feels``). At
    ``energy=1`` nothing moves but for rounding. It wants a ``PEGPPlugin`` before it, which may be one
    with ``project="none"``.

    Raises:
        ValueError: in training, no ``PEGPPlugin`` in the strategy, or one with ``rebase``.

    Example:
        >>> MomentsCorrection().pairs  # Naive(..., plugins=[PEGPPlugin(), ClassStatisticsPlugin(...)])
        2000
    """

    def __init__(self, pairs: int = 2000, seed: int = 0) -> None:
        super().__init__(pairs, seed)
        self._memory: Memory | None = None

    def require_fit(self, strategy: SupervisedTemplate, by: BasePlugin) -> None:
        """Refuse a strategy without PEGP's moments, or one whose steps do not stay where they are."""
        super().require_fit(strategy, by)
        pegp = _required(strategy)
        kinds = [isinstance(plugin, PEGPPlugin) for plugin in strategy.plugins]
        if kinds.index(True) > strategy.plugins.index(by):
            raise ValueError(
                f"PEGPPlugin behind {type(by).__name__}: MomentsCorrection reads what it has gathered, "
                "so it must come before: plugins=[PEGPPlugin(), ...]"
            )
        if pegp.settings.rebase:
            raise ValueError(
                "MomentsCorrection beside PEGP with rebase=True: what steps did is gone once branches "
                "start anew; use rebase=False, or RidgeCorrection"
            )

    def begin(self, strategy: SupervisedTemplate, encode: Encode, **kwargs: Any) -> None:
        """Note the features, and what PEGP remembers, before an experience is trained on."""
        super().begin(strategy, encode, **kwargs)
        self._memory = _required(strategy).memory

    def tensors(self, strategy: SupervisedTemplate) -> Mapping[str, Tensor]:
        """Those under which present inputs feel the steps as old ones do."""
        pegp, memory = _required(strategy), self._memory
        assert memory is not None  # begin notes it with the features
        self._memory = None
        with torch.no_grad():
            return as_the_past_feels(pegp.coverage, memory, pegp.memory)


def _pegp_of(strategy: SupervisedTemplate) -> PEGP | None:
    found = [plugin.pegp for plugin in strategy.plugins if isinstance(plugin, PEGPPlugin)]
    return found[0] if found else None


def _required(strategy: SupervisedTemplate) -> PEGP:
    pegp = _pegp_of(strategy)
    if pegp is None:
        raise ValueError(
            "MomentsCorrection without a PEGPPlugin, whose moments it reads: add one before the class "
            'statistics (project="none" where nothing is to be protected), or use RidgeCorrection'
        )
    return pegp


CORRECTIONS: dict[str, type[DriftCorrection]] = {
    "ridge": RidgeCorrection,
    "moments": MomentsCorrection,
}
