"""One program at a time writes at a place: the second says so, and ends before it touches anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from avl_pegp.evaluation import alone_at
from avl_pegp.evaluation.folders import require_empty


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
