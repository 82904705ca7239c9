"""Image files are decoded once, before training; what was in order is remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from tqdm import tqdm

from avl_pegp.benchmarks._image_reading import DataError, named, read_rgb

_CHUNK = 16  # files that a thread takes at a time


def check_files(files: Sequence[Path]) -> dict[str, int]:
    """Decode all files unless they were in order before; see ``check_images``.

    Args:
        files: sorted and without repetition.

    Raises:
        DataError: files are absent, damaged or no images.
    """
    memory = _memory_of(files)
    remembered = _recall(memory)
    if remembered is not None:
        return remembered
    counts = _decode(files)
    _remember(memory, counts)
    return counts


def _decode(files: Sequence[Path]) -> dict[str, int]:
    with ThreadPool() as pool:
        found = pool.imap(_mode_of, files, _CHUNK)
        modes = list(
            tqdm(found, "checking images", len(files), leave=False, unit="file", disable=None)
        )
    broken = [str(file) for file, mode in zip(files, modes, strict=True) if mode is None]
    if broken:
        raise DataError(
            f"{len(broken)} of {len(files)} image files are damaged, no images, or deeper than 8 "
            f"bits a channel: {named(broken)}. Download or unpack them again, or replace them."
        )
    converted = Counter(f"converted_{mode}" for mode in modes if mode != "RGB")
    return {
        "images": len(files),
        "converted": sum(converted.values()),
        **dict(sorted(converted.items())),
    }


def _mode_of(file: Path) -> str | None:
    """The mode of an image in its file, or None where it cannot be read."""
    try:
        return read_rgb(file)[1]
    except Exception:  # Pillow's decoders raise a dozen types for damaged files, SyntaxError too
        return None


def _memory_of(files: Sequence[Path]) -> Path:
    """Where the result for exactly these files, as they are now, is remembered."""
    digest, absent = hashlib.sha256(), []
    for file in files:
        try:
            status = file.stat()
        except FileNotFoundError:
            absent.append(str(file))
        else:
            line = f"{file.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\n"
            digest.update(os.fsencode(line))
    if absent:
        raise DataError(
            f"{len(absent)} of {len(files)} image files do not exist: {named(absent)}. "
            "Download or unpack the data again."
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "avl_pegp" / f"checked_images_{digest.hexdigest()}.json"


def _recall(memory: Path) -> dict[str, int] | None:
    """What is remembered; None where nothing is, or something that was not written here."""
    try:
        counts = json.loads(memory.read_text())
        return {str(key): int(counts[key]) for key in ("images", "converted", *counts)}
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _remember(memory: Path, counts: dict[str, int]) -> None:
    part = memory.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):  # where nothing can be written, the next check takes longer
        memory.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(counts))
        part.replace(memory)  # whole or not at all, for others may check the same files
