"""The command line that every setting shares: flags, the runs that they ask for, what is left."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from avl_pegp.backbones import TRANSFORMS
from avl_pegp.benchmarks import BENCHMARKS, DATASETS
from avl_pegp.evaluation import (
    Record,
    accuracy_over_time,
    alone_at,
    console_table,
    markdown_table,
    prepare_folder,
    write_records,
)
from avl_pegp.evaluation.folders import require_empty
from avl_pegp.heads import HEADS
from avl_pegp.plugins import CORRECTIONS
from avl_pegp.plugins.progress import bars
from avl_pegp.projection.settings import require_energy
from runs.job import Job, Run
from runs.methods import VIT, Menu, Method
from runs.parts import image_size, model_of, stream_of
from runs.training import Machine, Training

MADE_HERE = ("split_glyphs", "split_digits", "shifted_glyphs")
BY_CLASS = (  # of downloaded data
    "split_cifar100",
    "split_fashion_mnist",
    "split_imagenet_r",
    "split_tiny_imagenet",
    "split_cub200",
    "split_imagenet100",
    "split_domainnet",
    "core50_classes",
    "image_folder",
)


@contextmanager
def alone(out: Path, *, file: bool = False, new: bool = False) -> Iterator[None]:
    """As ``alone_at``, for a program: where the place is taken, it ends as after a wrong flag.

    Args:
        out: what ``--out`` named.
        file: it is a file to write, not a folder.
        new: the folder must be empty still.
    """
    with ExitStack() as held:
        try:
            held.enter_context(alone_at(out, file=file))
            if new:
                require_empty(out)
        except ValueError as error:
            print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
            raise SystemExit(2) from error
        yield


def run_all(jobs: Sequence[Job], run: Run, out: Path, quiet: bool = False) -> None:
    """Run one job after another; the folder always holds the records of those that are done."""
    records: list[Record] = []
    with alone(out, new=True):
        with bars(shown=not quiet):
            for job in jobs:
                records.append(run(job, out / "tensorboard" / job.name))
                write_records(records, out / "results.json")
        for pet in dict.fromkeys(job.pet for job in jobs):
            draw(records, pet, out)
        (out / "table.md").write_text(markdown_table(records) + "\n")
    console = Console(quiet=quiet)
    console.print(console_table(records))
    console.print(f"Records, table, figures and TensorBoard logs are in {out}", soft_wrap=True)


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


def flags(
    doc: str, benchmarks: Sequence[str], head: str | None = None, menu: Menu = VIT
) -> argparse.ArgumentParser:
    """The flags of every setting; each has a default but ``--out``."""
    pet, *_ = menu.pets
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--benchmark", choices=benchmarks, default=benchmarks[0])
    parser.add_argument("--pet", choices=menu.pets, nargs="+", default=[pet])
    parser.add_argument("--methods", choices=menu.methods, nargs="+", default=["pegp"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--head",
        choices=menu.heads,
        default=head or menu.heads[0],
        help=f"classifier at evaluation: {menu.own_head} is the model's own, others (docs/heads.md) are "
        "made of class statistics",
    )
    parser.set_defaults(correction=None)
    if menu.statistics:
        parser.add_argument(
            "--correction",
            choices=CORRECTIONS,
            help="of class statistics for drift (docs/heads.md)",
        )
    parser.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--no-controls", action="store_true", help=f"leave out {menu.controls}")
    parser.add_argument("--backbone", default=menu.backbone, help="or a larger one by its name")
    parser.add_argument("--energy", type=float, help="share to protect, in (0, 1]; by PET")
    parser.add_argument("--lr", type=float, help="of the PET; each PET has its own default")
    parser.add_argument("--epochs", type=int, default=5, help="passes over an experience")
    parser.add_argument("--batch-size", type=int, default=32)
    _add_real_data(parser)
    return parser


def _add_real_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data and weights of your own")
    group.add_argument("--data-root", help="the folder that holds what you downloaded")
    group.add_argument(
        "--options", nargs="+", default=[], metavar="NAME=VALUE", help="of the benchmark"
    )
    group.add_argument(
        "--transforms", choices=TRANSFORMS, help="of images in files; by default the model's"
    )
    order = group.add_mutually_exclusive_group()
    order.add_argument("--class-order-seed", type=int, help="draws one order for all seeds")
    order.add_argument("--class-order", type=int, nargs="+", help="labels, as they are learned")
    group.add_argument("--weights", help="a file for the backbone, or random")
    group.add_argument("--device", default=Machine.device)
    group.add_argument("--loaders", type=int, default=0, help="processes that read images")


def jobs_of(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    setting: str,
    menu: Menu = VIT,
    **fixed: Any,
) -> list[Job]:
    """The runs that checked flags ask for; wrong ones end the program before time is spent."""
    names = dict.fromkeys(args.methods if args.no_controls else (*menu.controls, *args.methods))
    methods = {name: menu.methods[name] for name in names}
    rows = [("none", m) for m in methods if not methods[m].has_pet]
    rows += [(pet, m) for pet in dict.fromkeys(args.pet) for m in methods if methods[m].has_pet]
    try:
        check(args, methods)
        if args.correction and setting == "online":
            raise ValueError(
                f"--correction {args.correction} in an online stream: features of the same images are "
                "compared before and after training, and there each image is seen once; leave it out"
            )
        base = base_of(args, setting=setting, **fixed)
        check_size(base)
        given = (args.data_root, args.options, args.class_order, args.weights, base.template)
        if any(given) or args.backbone != menu.backbone:
            # What is missing, broken or wrong is found before time is spent.
            model_of(base, stream_of(base).class_names)
        prepare_folder(args.out)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        parser.error(str(error))
    return base.variants(rows, args.seeds, menu.methods, args.lr, menu.pets)


def base_of(args: argparse.Namespace, **fixed: Any) -> Job:
    """What the runs have in common."""
    names = ("benchmark", "head", "correction", "backbone", "weights", "energy", "transforms")
    fixed |= {name: getattr(args, name) for name in names}
    return Job(
        **fixed,
        training=Training(epochs=args.epochs, batch_size=args.batch_size),
        machine=Machine(args.data_root, args.device, args.loaders),
        class_order=tuple(args.class_order) if args.class_order else args.class_order_seed,
        options=dict(map(option, args.options)),
    )


def option(text: str) -> tuple[str, Any]:
    """``name=value``; a value that is JSON, such as a number, is read as such."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--options {text}: must be NAME=VALUE, such as n_experiences=20")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def check(args: argparse.Namespace, methods: Mapping[str, Method]) -> None:
    """Refuse flags that do not fit, each with what to do."""
    twice = sorted({seed for seed in args.seeds if args.seeds.count(seed) > 1})
    if twice:
        raise ValueError(f"--seeds has {twice} twice: give each seed once")
    if args.lr is not None and not 0 < args.lr < math.inf:
        raise ValueError(f"--lr {args.lr}: must be above 0 and finite")
    if args.energy is not None:
        require_energy(args.energy)
    if args.correction and args.head not in HEADS:
        raise ValueError(
            f"--correction {args.correction} with --head {args.head}: there are no class statistics to "
            f"correct; use --head {' or '.join(HEADS)}"
        )
    refits = [name for name, method in methods.items() if method.refit]
    if refits and args.head not in HEADS:
        raise ValueError(
            f"--methods {' '.join(refits)} with --head {args.head}: there are no class statistics to "
            f"fit again; use --head {' or '.join(HEADS)}"
        )
    if (args.benchmark in DATASETS) != (args.data_root is not None):
        raise ValueError(
            f"--benchmark {args.benchmark} with --data-root {args.data_root}: {', '.join(DATASETS)} "
            "need one, and other benchmarks have none"
        )


def check_size(job: Job) -> None:
    """Refuse a backbone whose images are of another size than those made here."""
    height, _ = image_size(job)
    if job.benchmark in BENCHMARKS and height != 32:
        raise ValueError(
            f"--backbone {job.backbone} takes images of {height} pixels, and {job.benchmark} has 32: "
            "use the tiny one, or a benchmark of images in files"
        )
