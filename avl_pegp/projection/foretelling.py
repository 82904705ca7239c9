"""What the steps of an experience do to old features, told by moments alone and shown on new inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from avl_pegp.projection.coverage import Coverage
from avl_pegp.projection.memory import Memory
from avl_pegp.projection.moments import Moment

_REGULAR = 1e-6  # of the mean eigenvalue of the new moment: below, its directions say nothing


def as_the_past_feels(coverage: Coverage, before: Memory, after: Memory) -> dict[str, Tensor]:
    """Trainable tensors under which new inputs feel an experience's steps as old inputs do.

    At each site the step ΔW is replaced by ``ΔW T``, T the symmetric map for which ``T C_new T = C_old``
    (means over rows): ``T x`` of new features has the second moment of old ones. Where ``ΔW C_old = 0``,
    as at ``energy=1``, ``ΔW T = 0``.

    Args:
        coverage: of the model as the experience ended.
        before: what was remembered when it began.
        after: the same, extended by the experience; without merge and restart, which forgets steps.

    Returns:
        Every trainable tensor by name; those of no site as they are.
    """
    tensors = {name: tensor.clone() for name, tensor in coverage.tensors().items()}
    for name, memory in before.sites.items():
        site, total = coverage.sites[name], after.sites[name].moment
        weight = site.read(tensors)
        width = weight.shape[-1]
        old, new = _mean(memory.moment, width), _mean_of_new(memory.moment, total, width)
        start = memory.reference_like(weight)
        move = (weight - start).double().cpu() @ transport(new, old)
        site.write(start + move.to(weight), tensors)
    return tensors


def transport(source: Tensor, target: Tensor) -> Tensor:
    """The symmetric T, ``(G, d, d)``, with ``T source T = target``, both positive semidefinite.

    ``T = L (Lᵀ source L)^(−½) Lᵀ`` with ``target = L Lᵀ``, so that T is zero to rounding where the
    target is; a source without energy in some direction is given a millionth of its mean there.

    Example:
        >>> transport(4 * torch.eye(2)[None], torch.eye(2)[None])
        tensor([[[0.5000, 0.0000],
                 [0.0000, 0.5000]]])
    """
    size = source.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    floor = (_REGULAR * size).clamp_min(torch.finfo(source.dtype).tiny)
    unit = torch.eye(source.shape[-1], dtype=source.dtype, device=source.device)
    values, vectors = torch.linalg.eigh(target)
    noise = len(unit) * torch.finfo(source.dtype).eps * values[:, -1:]
    L = vectors * torch.where(values > noise, values, 0).sqrt()[:, None]
    there, along = torch.linalg.eigh(L.mT @ (source + floor * unit) @ L)
    small = len(unit) * torch.finfo(source.dtype).eps * there[:, -1:]
    inverse = torch.where(there > small, there, torch.inf).rsqrt()
    carried: Tensor = L @ (along * inverse[:, None]) @ along.mT @ L.mT
    return carried


def _mean(moment: Moment, width: int) -> Tensor:
    return moment.of_width(width) / moment.count[:, None, None].clamp_min(1)


def _mean_of_new(old: Moment, total: Moment, width: int) -> Tensor:
    rows = (total.count - old.count)[:, None, None].clamp_min(1)
    return (total.of_width(width) - old.of_width(width)) / rows
