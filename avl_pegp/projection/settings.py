"""The settings of PEGP, said once: for the loop of one's own and for the plugin alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypedDict, get_args

from avl_pegp.projection.bases import Protection
from avl_pegp.projection.heads import Classifier

Schedule = float | Callable[[int], float]
Energy = Schedule | Mapping[str, Schedule]
Projection = Literal["step", "gradient", "none"]


class OtherSettings(TypedDict, total=False):
    """Names and types of the seldom given ones of ``Settings``."""

    exclude: str | Collection[str]
    freeze_uncovered: bool
    protection: Protection | None
    rebase: bool


class SettingsArguments(OtherSettings, total=False):
    """Names and types of all of ``Settings``."""

    energy: Energy
    project: Projection
    classifier: Classifier


@dataclass(frozen=True)
class Settings:
    """How ``PEGP`` and ``PEGPPlugin`` protect old answers.

    Args:
        energy: share of the features' energy to protect, in (0, 1]; a number, a function of the
            experience's index (from 0), or a mapping from shell-style patterns of site names to
            either, of which the first that fits counts. 1.0 keeps old outputs but for rounding.
        project: ``"step"`` projects gradients, then the step that the optimizer made of them;
            ``"gradient"`` gradients alone, as published: exact under plain SGD only; ``"none"``
            nothing: statistics and meters only, for controls. What ``protection`` holds in part is
            taken once: with ``"step"`` from the step alone.
        classifier: path of the classifier, whose rows are under a rule of their own. ``None`` finds
            it: what ``model.get_classifier()`` gives, also behind wrappers, a head for each task as
            Avalanche's ``MultiHeadClassifier`` has them, or else the linear layer whose output is the
            logits in the first forward pass. ``False``: there is none.
        exclude: shell-style patterns of trainable tensors to leave unprotected.
        freeze_uncovered: hold tensors that no condition covers from the second experience on,
            instead of refusing them.
        protection: which directions are chosen, and how firmly they are held; ``None``: GPM's rule.
        rebase: merge and restart: after each experience let LoRAs and adapters start anew beside what
            they have learned, on inputs that the old ones leave free. It wants an ``energy`` near 1.

    Raises:
        ValueError: a value outside what is allowed.

    Example:
        >>> Settings(energy=0.95).project
        'step'
    """

    energy: Energy = 0.97
    project: Projection = "step"
    classifier: Classifier = None
    exclude: str | Collection[str] = ()
    freeze_uncovered: bool = False
    protection: Protection | None = None
    rebase: bool = False

    def __post_init__(self) -> None:
        require_valid(self.energy)
        if self.project not in get_args(Projection):
            raise ValueError(
                f"project={self.project!r}: must be one of {', '.join(get_args(Projection))}"
            )
        rule = self.rule
        if self.rebase and not (rule.is_hard and self.project == "step"):
            raise ValueError(
                f"rebase=True with project={self.project!r} and {rule}: a fresh branch is kept "
                "off old inputs only where steps are projected fully; leave eta and alpha alone and "
                "use project='step'"
            )

    @property
    def rule(self) -> Protection:
        """The protection, GPM's rule where none was given."""
        return self.protection or Protection()

    @property
    def excluded(self) -> tuple[str, ...]:
        """The patterns of what is left unprotected."""
        return (self.exclude,) if isinstance(self.exclude, str) else tuple(self.exclude)


def require_energy(energy: float) -> float:
    """``energy`` itself, or ValueError where it lies outside (0, 1]."""
    if isinstance(energy, bool) or not isinstance(energy, int | float) or not 0 < energy <= 1:
        raise ValueError(
            f"energy={energy!r}: must be a number above 0 and at most 1, the share of old feature "
            "energy to protect; 1.0 protects all of it"
        )
    return float(energy)


def require_valid(energy: Energy) -> None:
    """Refuse at once what can be refused before any experience is known."""
    schedules = energy.values() if isinstance(energy, Mapping) else [energy]
    if not schedules:
        raise ValueError("energy={}: name at least one pattern of sites, such as {'*': 0.97}")
    for schedule in schedules:
        if not callable(schedule):
            require_energy(schedule)


def energy_at(energy: Energy, site: str, experience: int) -> float:
    """The energy of one site in one experience; of a mapping the first pattern that fits counts.

    Raises:
        ValueError: outside (0, 1], or no pattern fits the site.

    Example:
        >>> energy_at({"*.attn.*": 0.9, "*": 0.99}, "blocks.0.attn.qkv.A", experience=3)
        0.9
    """
    if isinstance(energy, Mapping):
        fitting = [s for pattern, s in energy.items() if fnmatchcase(site, pattern)]
        if not fitting:
            raise ValueError(
                f"energy has patterns {', '.join(energy)}, none of which fits site {site}: add one, "
                "such as '*' at the end for all others"
            )
        energy = fitting[0]
    return require_energy(energy(experience) if callable(energy) else energy)


def energies_at(energy: Energy, sites: Iterable[str], experience: int) -> dict[str, float]:
    """The energy of every site in one experience.

    Raises:
        ValueError: outside (0, 1], a site that no pattern fits, or a pattern that fits no site.
    """
    sites = list(sites)
    for pattern in energy if isinstance(energy, Mapping) else ():
        if not any(fnmatchcase(site, pattern) for site in sites):
            raise ValueError(
                f"energy has pattern {pattern!r}, which fits no site: must fit one of "
                f"{', '.join(sites[:8])}{', …' if len(sites) > 8 else ''}"
            )
    return {site: energy_at(energy, site, experience) for site in sites}
