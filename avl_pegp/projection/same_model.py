"""Whether a model is still the one that a memory is about.

What became trainable since has no memory that could protect it; what was frozen and changed, or is set
up in another way, gives other features than those that were gathered.
"""

from __future__ import annotations

from torch import nn

from avl_pegp.fingerprint import changed_settings, digest_of, frozen_tensors, settings_of
from avl_pegp.projection.coverage import Coverage
from avl_pegp.projection.memory import Memory
from avl_pegp.projection.probe import Probe
from avl_pegp.wrappers import named_root


def require_same_model(memory: Memory, model: nn.Module, coverage: Coverage) -> None:
    """Raise ValueError where the model is no longer the one that the memory is about."""
    if memory.experiences == 0:
        return
    _require_same_tensors(memory, coverage)
    of_heads = (name for head in coverage.heads.values() for name in head.tensors)
    if digest_of(frozen_tensors(model, {*memory.trained, *of_heads})) != memory.backbone:
        raise ValueError(
            "the frozen weights are not those that features were gathered with: this is another "
            "model, another dtype, or an edited backbone (peft's merging edits it, and leaves rounding "
            "when it is undone: do that to a copy); begin with a fresh PEGP"
        )
    changed = changed_settings(memory.settings, present_settings(model, coverage))
    if changed:
        raise ValueError(
            f"the model is set up otherwise than when features were gathered: {'; '.join(changed[:4])}"
            ". Build it as it was, or begin with a fresh PEGP (numbers that count as a module runs "
            "belong in its private attributes)"
        )
    if memory.model is not None and memory.model is not named_root(model):
        raise ValueError(
            "this PEGP has learned from another model object, and would hold this one to what that "
            "was: begin with a fresh PEGP (PEGPPlugin) for another run; for a model that was saved and "
            "built again, give load_state_dict() what state_dict() returned"
        )


def _require_same_tensors(memory: Memory, coverage: Coverage) -> None:
    gone = sorted(memory.sites.keys() - coverage.sites.keys())
    gone += sorted(memory.heads.keys() - coverage.heads.keys())
    new = sorted(coverage.sites.keys() - memory.sites.keys())
    new += sorted(set(coverage.uncovered) - memory.frozen.keys())
    if not memory.heads:  # beside heads of earlier tasks there may be new ones
        new += sorted(coverage.heads)
    if gone or new:
        raise ValueError(
            "what the model trains has changed since the first experience: no longer "
            f"{', '.join(gone) or 'nothing'}, newly {', '.join(new) or 'nothing'}. Nothing protects "
            "that; decide on it before the first experience, or begin with a fresh PEGP"
        )
    tensors = coverage.tensors()
    for name, site in coverage.sites.items():
        now, then = site.read(tensors).shape, memory.sites[name].reference.shape
        if now != then:
            raise ValueError(
                f"{name} has shape {tuple(now)}, bias included, and had {tuple(then)} when its "
                "features were gathered: this is another model; begin with a fresh PEGP"
            )
    for name, rows in memory.heads.items():
        if rows.reference is None:
            continue
        now, then = coverage.heads[name].read(tensors).shape[1:], rows.reference.shape
        if now[0] < then[0] or now[1] != then[1]:
            raise ValueError(
                f"the classifier {name} has shape {tuple(now)}, bias included, and had "
                f"{tuple(then)}: it may gain rows, but not lose any"
            )


def present_settings(model: nn.Module, coverage: Coverage) -> dict[str, str]:
    """How the model's modules are set up, but for the classifier, which may grow."""
    return settings_of(model, tuple(coverage.heads))


def present_probe(memory: Memory, model: nn.Module, coverage: Coverage) -> Probe | None:
    """What the model answers now on a made input; see ``Probe.of``."""
    heads = [head.module for head in coverage.heads.values()]
    rows = [head.read(coverage.tensors()).shape[1] for head in coverage.heads.values()]
    return Probe.of(model, memory.call, memory.trained, heads, rows[0] if len(rows) == 1 else 0)


def require_same_answers(memory: Memory, then: Probe, model: nn.Module, coverage: Coverage) -> None:
    """Raise ValueError where the model computes something else, though weights and settings agree."""
    now = present_probe(memory, model, coverage)
    seen: set[int] = set().union(*(rows.seen for rows in memory.heads.values()))
    if not then.differs(now, seen) <= 1:
        raise ValueError(
            "the model answers a made input otherwise than when features were gathered, with the same "
            "frozen weights: it computes something else now (an activation, a scale, a forward pass "
            "was changed); build it as it was, or begin with a fresh PEGP"
        )
