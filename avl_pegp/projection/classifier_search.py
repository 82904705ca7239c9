"""Looking for the classifier where a model does not say what it is: its output is the logits."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from torch import Tensor, nn

from avl_pegp.projection.heads import Classifier, logits_of
from avl_pegp.wrappers import is_compiled, named_root, unwrapped, wrappers_of


class UnknownClassifierError(ValueError):
    """A model does not say what its classifier is, or says something else than its logits do."""


class LogitsWatch:
    """Hooks on a model, until its first forward pass has shown which linear layer gives the logits.

    Args:
        model: also behind wrappers.
        seen: called with that layer's path before the forward pass returns, when the hooks are off
            again; with ``None`` where no linear layer's output is the logits.
    """

    def __init__(self, model: nn.Module, seen: Callable[[str | None], None]) -> None:
        self._seen = seen
        self._outputs: list[tuple[str, nn.Module, Tensor]] = []
        self._around = wrappers_of(model)
        inside = [
            (path, module)
            for path, module in named_root(model).named_modules()
            if module not in self._around
        ]
        self._handles = [m.register_forward_hook(partial(self._note, path)) for path, m in inside]
        self._handles += [m.register_forward_hook(self._look) for m in self._around]

    def end(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._outputs = [], []

    def _note(self, path: str, module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            self._outputs.append((path, module, output))

    def _look(self, module: nn.Module, _: Any, output: Any) -> None:
        """The model, or a wrapper around it, has given its output."""
        if not self._handles:
            return
        path = self._giver_of(logits_of(output))
        if path is not None or module is self._around[0]:
            self.end()
            self._seen(path)

    def _giver_of(self, logits: Tensor | None) -> str | None:
        """The path of the linear layer whose output this is, or that alone stands in what gave it."""
        givers = [(path, module) for path, module, output in self._outputs if output is logits]
        if logits is None or not givers:
            return None
        path, giver = givers[0]  # the innermost: a module ends before those around it
        layers = [(p, m) for p, m in giver.named_modules() if isinstance(m, nn.Linear)]
        if len(layers) != 1 or layers[0][1].out_features != logits.shape[-1]:
            return None
        return ".".join(part for part in (path, layers[0][0]) if part)


class ClassifierSearch:
    """What is known of a model's classifier: what was told, or what a first forward pass shows.

    What was told, and what ``get_classifier()`` gives, is checked in that pass too: another layer's
    output may be the logits.

    Args:
        told: a path, ``False`` for none, ``None`` where it is to be found.
    """

    def __init__(self, told: Classifier) -> None:
        self._told: Classifier = told
        self._shown: Classifier = None
        self._is_checked = told is False
        self._watch: LogitsWatch | None = None

    @property
    def classifier(self) -> Classifier:
        """What was told, else what was shown; ``None`` before."""
        return self._told if self._told is not None else self._shown

    def restore(self, state: Any) -> None:
        """Take over what an earlier search has shown: the head that a state of PEGP is about."""
        heads = state.get("classifiers") if isinstance(state, dict) else None
        if self._told is None and isinstance(heads, dict) and len(heads) == 1:
            (self._shown,) = heads

    def begin(
        self, model: nn.Module, heads: Collection[str] | None, found: Callable[[], None]
    ) -> None:
        """Watch the model's next forward pass, where that has something to say.

        Args:
            model: also behind wrappers.
            heads: paths of those that are known, ``None`` where the model does not say.
            found: called within that pass, when ``classifier`` says more than before.

        Raises:
            ValueError: nothing is known, and the model is compiled; in the pass, no linear layer's
                output is the logits, or another's than what was told or ``get_classifier()`` gives.
        """
        self.end()
        if self._is_checked or (heads is not None and len(heads) != 1):
            return
        if is_compiled(model):
            if heads is None:
                raise unknown_classifier(
                    model, "it is compiled, so that its layers can't be watched"
                )
            return
        self._watch = LogitsWatch(model, partial(self._see, model, heads, found))

    def end(self) -> None:
        """Watch no longer."""
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def require_over(self, model: nn.Module, heads: Collection[str] | None) -> None:
        """Raise ValueError where a forward pass should have shown the classifier, and none came."""
        if heads is None:
            raise unknown_classifier(model, "no forward pass of the model has shown it")

    def _see(
        self,
        model: nn.Module,
        heads: Collection[str] | None,
        found: Callable[[], None],
        path: str | None,
    ) -> None:
        self._watch, self._is_checked = None, True
        if heads is None:
            self._shown = path_shown(model, path)
            found()
        elif path is not None:
            require_giver(model, self._told, heads, path)


def path_shown(model: nn.Module, path: str | None) -> Classifier:
    """A path that a forward pass has shown; ``False`` where that layer is frozen.

    Raises:
        ValueError: there is none.
    """
    root = named_root(model)
    if path is None and isinstance(root, nn.Linear):
        raise unknown_classifier(
            model, "it is the layer itself, which has no path; wrap it, nn.Sequential(layer)"
        )
    if path is None:
        raise unknown_classifier(
            model, "it has no get_classifier(), and its logits are no linear layer's output"
        )
    layer = root.get_submodule(path)
    return path if any(p.requires_grad for p in layer.parameters()) else False


def require_giver(model: nn.Module, told: Classifier, heads: Collection[str], path: str) -> None:
    """Raise ValueError where the layer at ``path``, whose output is the logits, is not the head.

    Args:
        model: also behind wrappers.
        told: the path that was told, ``None`` where the model said what its classifier is.
        heads: paths of the heads that follow from that.
        path: as ``LogitsWatch`` gives it.
    """
    root = named_root(model)
    if root.get_submodule(path) in [root.get_submodule(head) for head in heads]:
        return  # a layer may have several paths
    kind = type(unwrapped(model)).__name__
    said = f"get_classifier() of {kind} gives {', '.join(heads)}"
    if told is not None:
        said = f"classifier={told!r}, which is {', '.join(heads)} in {kind}"
    raise UnknownClassifierError(
        f"{said}, but its logits are the output of {path}: name the right one by classifier={path!r}"
    )


def unknown_classifier(model: nn.Module, why: str) -> UnknownClassifierError:
    """The error of a classifier that can't be found, with the two ways out."""
    return UnknownClassifierError(
        f"the classifier of {type(unwrapped(model)).__name__} is not known: {why}. Name the path of "
        "its linear layer, such as classifier='fc', or say classifier=False where the model has none"
    )
