"""The command line that every setting shares: flags, the runs that they ask for, what is left."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from job import Job
from methods import CONTROLS, METHODS, PETS
from rich.console import Console

from avl_pegp import create_vit
from avl_pegp.evaluation import (
    Record,
    accuracy_over_time,
    console_table,
    markdown_table,
    prepare_folder,
    write_records,
)
from avl_pegp.projection.energy import require_energy

HEADS = ("lda", "ncm", "linear")


def run_all(jobs: Sequence[Job], out: Path) -> None:
    """Run one job after another; the folder always holds the records of those that are done."""
    records: list[Record] = []
    for job in jobs:
        records.append(job.run(out / "tensorboard" / job.name))
        write_records(records, out / "results.json")
    for pet in dict.fromkeys(job.pet for job in jobs):
        draw(records, pet, out)
    (out / "table.md").write_text(markdown_table(records) + "\n")
    Console().print(console_table(records))
    Console().print(f"Records, table, figures and TensorBoard logs are in {out}")


def draw(records: list[Record], pet: str, out: Path) -> None:
    """Save accuracy over time, plain against PEGP, where both were run."""
    panels = {
        f"{title} {pet}": [r.accuracy_matrix for r in records if (r.pet, r.method) == (pet, method)]
        for method, title in {"plain": "plain", "pegp": "PEGP"}.items()
    }
    if all(panels.values()):
        first = records[0]
        setting = first.setting.replace("_", "-")
        figure = accuracy_over_time(panels, f"{first.benchmark}, {setting}, {first.head} head")
        figure.savefig(out / f"accuracy_{pet}.png", dpi=150)


def flags(doc: str, benchmarks: Sequence[str], head: str = "lda") -> argparse.ArgumentParser:
    """The flags of every setting; each has a default but ``--out``."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--benchmark", choices=benchmarks, default=benchmarks[0])
    parser.add_argument("--pet", choices=PETS, nargs="+", default=["lora"])
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=["pegp"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--head", choices=HEADS, default=head)
    parser.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--no-controls", action="store_true", help=f"leave out {CONTROLS}")
    parser.add_argument(
        "--backbone", default="tiny_vit_32.latin", help="or a timm ViT with its tag"
    )
    parser.add_argument("--energy", type=float, help="share to protect, in (0, 1]; by PET")
    parser.add_argument("--lr", type=float, help="of the PET; each PET has its own default")
    parser.add_argument("--epochs", type=int, default=5, help="passes over an experience")
    parser.add_argument("--batch-size", type=int, default=32)
    return parser


def jobs_of(
    parser: argparse.ArgumentParser, args: argparse.Namespace, setting: str, **fixed: Any
) -> list[Job]:
    """The runs that checked flags ask for; wrong ones end the program before time is spent."""
    try:
        check(args)
        prepare_folder(args.out)
    except (ValueError, TypeError, RuntimeError, AssertionError, OSError) as error:
        parser.error(str(error))
    shared = {"setting": setting, **fixed}
    for name in ("benchmark", "head", "backbone", "lr", "energy", "epochs", "batch_size"):
        shared[name] = getattr(args, name)
    methods = dict.fromkeys(args.methods if args.no_controls else (*CONTROLS, *args.methods))
    rows = [("none", m) for m in methods if not METHODS[m].has_pet]
    rows += [(pet, m) for pet in dict.fromkeys(args.pet) for m in methods if METHODS[m].has_pet]
    return [Job(pet=p, method=m, seed=s, **shared) for s in args.seeds for p, m in rows]


def check(args: argparse.Namespace) -> None:
    """Refuse flags that do not fit, each with what to do."""
    twice = sorted({seed for seed in args.seeds if args.seeds.count(seed) > 1})
    if twice:
        raise ValueError(f"--seeds has {twice} twice: give each seed once")
    if args.epochs < 1:
        raise ValueError(f"--epochs {args.epochs}: must be at least 1")
    if args.batch_size < 1:
        raise ValueError(f"--batch-size {args.batch_size}: must be at least 1")
    if args.lr is not None and not 0 < args.lr < math.inf:
        raise ValueError(f"--lr {args.lr}: must be above 0 and finite")
    if args.energy is not None:
        require_energy(args.energy)
    refits = [m for m in args.methods if METHODS[m].refit]
    if refits and args.head == "linear":
        raise ValueError(
            f"--methods {' '.join(refits)} with --head linear: there are no class statistics to fit "
            "again; use --head lda or ncm"
        )
    model = create_vit(args.backbone, num_classes=1, pretrained=True)
    model(torch.zeros(1, 3, 32, 32))
