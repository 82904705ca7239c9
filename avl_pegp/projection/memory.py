"""The memory of earlier experiences, and its three verbs: extend, project gradients, project weights.

``PEGP`` calls them, one hop away; the rules themselves are one hop further: ``Protection.extend`` with
``extend_basis`` (GPM's rule), and ``Projector`` (``W_ref + P (W − W_ref)``). What is remembered at one
site is ``SiteMemory``, of the classifier's rows ``RowMemory``; their rule within an experience is
``HeadRows``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from avl_pegp.fingerprint import digest_of, frozen_tensors
from avl_pegp.projection.bases import Basis, Protection
from avl_pegp.projection.classifier_rows import RowMemory
from avl_pegp.projection.coverage import Coverage
from avl_pegp.projection.moments import Moment
from avl_pegp.projection.site_memory import SiteMemory
from avl_pegp.projection.sites import Site
from avl_pegp.protocols import Restartable
from avl_pegp.wrappers import named_root

Moves = dict[str, tuple[Tensor, Tensor]]
"""By site: where the weight started, and how far it is from there."""


@dataclass(frozen=True)
class Memory:
    """Everything remembered of earlier experiences; no part of it changes.

    Attributes:
        experiences: how many there were.
        sites: what is remembered at each site.
        heads: what is remembered of each head of the classifier.
        frozen: tensors that are held because no condition covers them.
        trained: names of all tensors that were trained.
        backbone: digest of everything else.
        settings: how the modules were set up, but for the classifier.
        call: what the model was called with, to ask it again; ``None`` where that can't be described.
        model: the object that was learned from, without wrappers. No part of a state.
    """

    experiences: int = 0
    sites: Mapping[str, SiteMemory] = field(default_factory=dict)
    heads: Mapping[str, RowMemory] = field(default_factory=dict)
    frozen: Mapping[str, Tensor] = field(default_factory=dict)
    trained: tuple[str, ...] = ()
    backbone: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    call: dict[str, Any] | None = None
    model: nn.Module | None = None

    @property
    def is_hard(self) -> bool:
        """Whether steps lose all of what is protected: to take it away twice is then no more."""
        rows_are = all(rows.is_hard for rows in self.heads.values())
        return rows_are and all(site.project.is_hard for site in self.sites.values())

    def extend(
        self,
        coverage: Coverage,
        gathered: Mapping[str, Moment],
        taught: Mapping[str, Collection[int]],
        energies: Mapping[str, float],
        protection: Protection,
    ) -> Memory:
        """Extend by an experience's features; the model is told by ``of_model`` next.

        Args:
            coverage: of the model, with the weights that the experience ends with.
            gathered: the experience's moments, by site and by head. Bases are computed where these
                are; what is kept is on the CPU.
            taught: by head, the classes of the experience; of heads that are left out none are.
            energies: by site and by head, the share of the features' energy to protect.
            protection: the rule by which bases are extended.
        """
        tensors = coverage.tensors()
        totals: dict[tuple[int, int], Moment] = {}
        sites: dict[str, SiteMemory] = {}
        for name, site in coverage.sites.items():
            memory, new = self.sites.get(name), gathered[name]
            key = (id(memory and memory.moment), id(new))
            if key not in totals:  # sites that always saw the same tensor go on sharing one moment
                there = new.to("cpu")
                totals[key] = there if memory is None else memory.moment + there
            weight, total = site.read(tensors), totals[key]
            old = Basis.none(weight) if memory is None else memory.bases
            bases = protection.extend(old, new, total, energies[name])
            remember = SiteMemory.first if memory is None else memory.after
            sites[name] = remember(weight, new, total, bases)
        heads = {}
        for name, head in coverage.heads.items():
            rows = self.heads.get(name, RowMemory())
            weight = head.read(tensors)[0]
            heads[name] = rows.extend(
                weight, taught.get(name, ()), gathered[name], energies[name], protection
            )
        frozen = {name: tensors[name].clone() for name in coverage.uncovered}
        return replace(
            self, experiences=self.experiences + 1, sites=sites, heads=heads, frozen=frozen
        )

    def project_gradients(self, coverage: Coverage, in_part: bool) -> None:
        """Take from the gradients what lies along protected directions, in place.

        Args:
            coverage: whose gradients.
            in_part: whether directions that are held in part count here; if not, their share is taken
                from the step, and it must be taken once.
        """
        for name in self.frozen.keys() & coverage.trained.keys():
            coverage.trained[name].grad = None
        gradients = coverage.gradients()
        for name, memory in (self.sites if self.is_hard or in_part else {}).items():
            site = coverage.sites[name]
            if site.tensors <= gradients.keys():
                site.write(memory.project(site.read(gradients)), gradients)

    def project_weights(self, coverage: Coverage, moves: Moves) -> None:
        """Leave of each weight's move what lies in free directions, in place."""
        tensors = coverage.tensors()
        for name in self.frozen.keys() & tensors.keys():
            tensors[name].copy_(self.frozen[name])
        written: set[str] = set()
        for name, (start, move) in moves.items():
            site = coverage.sites[name]
            if (
                site.weight in written
            ):  # a prompt's other side: what its first side left of the move
                move = site.read(tensors) - start
            site.write(start + self.sites[name].project(move), tensors)
            written.add(site.weight)

    def moves(self, coverage: Coverage, last: dict[str, Tensor] | None) -> Moves:
        """How far each site's weight is from where its step is projected from.

        Args:
            coverage: whose weights.
            last: all trained tensors as the last step left them, where directions are held in part
                only: that must be applied to each step once. ``None`` starts where the bases were
                last extended, which serves projections: rounding then never adds up.
        """
        tensors, moves = coverage.tensors(), {}
        for name, memory in self.sites.items():
            site = coverage.sites[name]
            weight = site.read(tensors)
            start = memory.reference_like(weight) if last is None else site.read(last)
            moves[name] = start, weight - start
        return moves

    def merge_and_restart(
        self,
        branches: Mapping[str, Restartable],
        coverage: Coverage,
        protection: Protection,
        draw: int,
    ) -> Memory:
        """Merge what branches have learned, and let them start anew where old inputs never enter.

        The first map keeps its bases. The second saw nothing but zeros in the past (and the 1 of its
        bias): it is free but for that. The fresh maps follow from PyTorch's seed and the number of
        this draw; PyTorch's own generator is not asked, so that batches come as they would otherwise.

        Args:
            branches: by path; they are changed.
            coverage: of the model.
            protection: the rule by which bases are extended.
            draw: a number of its own for each time.
        """
        sites, tensors = dict(self.sites), coverage.tensors()
        generator = torch.Generator().manual_seed(torch.initial_seed() + draw)
        for path, branch in branches.items():
            first, second = f"{path}.{branch.first}", f"{path}.{branch.second}"
            memory = sites[first]
            branch.rebase(memory.free_part, generator)
            sites[first] = memory.restarted(coverage.sites[first].read(tensors))
            weight = coverage.sites[second].read(tensors)
            width = weight.shape[-1] - (coverage.sites[second].bias is not None)
            zeros = Moment.of_zeros(memory.moment, width)
            bases = protection.extend(Basis.none(weight), zeros, zeros, 1.0)
            sites[second] = SiteMemory.first(weight, zeros, zeros, bases)
        return replace(self, sites=sites, backbone="")  # what was learned has joined what is fixed

    def all_trained(self, coverage: Coverage) -> tuple[str, ...]:
        """The names of all that is trained, now or before."""
        return tuple(dict.fromkeys((*self.trained, *coverage.trained)))  # heads may be new

    def rest_of(self, model: nn.Module, coverage: Coverage) -> dict[str, Tensor]:
        """The tensors of all that is trained neither now nor was before."""
        return frozen_tensors(model, self.all_trained(coverage))

    def of_model(
        self,
        model: nn.Module,
        coverage: Coverage,
        settings: Mapping[str, str],
        call: dict[str, Any] | None,
    ) -> Memory:
        """Note which model it is of: its frozen tensors, its settings, what it is called with."""
        return replace(
            self,
            trained=self.all_trained(coverage),
            backbone=self.backbone or digest_of(self.rest_of(model, coverage)),
            settings=settings,
            call=self.call or call,
            model=named_root(model),
        )


def restartable_branches(model: nn.Module, sites: Mapping[str, Site]) -> dict[str, Restartable]:
    """The branches that can start anew and whose two maps are sites, by path."""
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, Restartable)
        and {f"{path}.{module.first}", f"{path}.{module.second}"} <= sites.keys()
    }
