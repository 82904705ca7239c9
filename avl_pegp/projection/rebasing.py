"""Rebase: what was tuned becomes a fixed part, and a fresh branch starts that old inputs never enter.

A module that can do so has a method ``rebase(free)`` and names its two maps by attributes: ``first``
sees the module's input, ``second`` what the first map makes of it. ``free`` takes a matrix ``[W b]``
of the first map and gives its part that is zero on old inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.projection.memory import SiteMemory, extended
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.protection import Protection
from avl_pegp.projection.sites import Site


def rebasable_modules(model: nn.Module, sites: dict[str, Site]) -> dict[str, Any]:
    """Modules that can start anew and whose two maps are sites, by path."""
    return {
        path: module
        for path, module in model.named_modules()
        if hasattr(module, "rebase")
        and {f"{path}.{module.first}", f"{path}.{module.second}"} <= sites.keys()
    }


def rebased(
    modules: dict[str, Any],
    memories: dict[str, SiteMemory],
    sites: dict[str, Site],
    tensors: dict[str, Tensor],
    protection: Protection,
    draw: int,
) -> dict[str, SiteMemory]:
    """Start every module anew, and tell what is then remembered at its two sites.

    The first map keeps its bases. The second saw nothing but zeros in the past (and the 1 of its
    bias): it is free but for that. The fresh maps follow from PyTorch's seed and the number of this
    draw; PyTorch's own generator is not asked, so that batches come as they would without a rebase.
    """
    memories = dict(memories)
    generator = torch.Generator().manual_seed(torch.initial_seed() + draw)
    for path, module in modules.items():
        first, second = f"{path}.{module.first}", f"{path}.{module.second}"
        memory = memories[first]
        module.rebase(lambda matrix, memory=memory: memory.project(matrix[None])[0], generator)
        memories[first] = memory.restarted(sites[first].read(tensors))
        weight = sites[second].read(tensors)
        width = weight.shape[-1] - (sites[second].bias is not None)
        zeros = Moment.of_zeros(memory.moment, width)
        memories[second] = extended(None, weight, zeros, zeros, 1.0, protection)
    return memories
