"""Where a program writes its results: new or empty, and no two programs at one place at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"


def prepare_folder(out: Path) -> Path:
    """Make the folder for a run's results, or refuse it before any time is spent.

    Raises:
        ValueError: it is not a folder, can't be written, already holds something, or another program
            works in it.
    """
    with alone_at(out):
        require_empty(out)
    return out


def require_empty(out: Path) -> None:
    """Raise ValueError for a folder that holds something."""
    if any(path.name != LOCK for path in out.iterdir()):
        raise ValueError(f"--out {out}: must be a new or an empty folder; it holds other files")


@contextlib.contextmanager
def alone_at(out: Path, *, file: bool = False) -> Iterator[None]:
    """Inside this block no other program is at the same place; a folder is made where it lacks.

    The operating system holds the lock: it ends with the program, however that ends. Its file, in
    the folder or beside the file, is gone after the block; one that a killed program left is taken.

    Args:
        out: a folder to write into.
        file: ``out`` is a file to write.

    Raises:
        ValueError: another program is in such a block, in this process or another, or the place
            can't be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, alone_at(Path(folder) / "run"):
        ...     print(*(path.name for path in Path(folder).iterdir()))
        run
    """
    path = out.with_name(f".{out.name}{LOCK}") if file else out / LOCK
    lock = FileLock(path, timeout=0)
    try:
        if not file:
            out.mkdir(parents=True, exist_ok=True)
        path.parent.stat()  # the lock would make it
        lock.acquire()
        while not path.exists():  # it was of a program that ended at this moment
            lock.release()
            lock.acquire()
    except Timeout:
        raise ValueError(
            f"--out {out}: another program works there; wait until it ends, or choose another place"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise ValueError(
            f"--out {out}: can't be written ({error}); choose another folder"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes it only when it is let go
            path.unlink()
        lock.release()
