"""Image files are decoded once, before training; what was in order is remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from avl_pegp.benchmarks._image_reading import DataError, named, printable, read_rgb

_CHUNK = 16  # files that a thread takes at a time
_DAMAGED = "damaged or no image"
_FACTS = (
    b"images, modes, turned\n"  # what is remembered: with other facts it is looked up elsewhere
)


def check_files(files: Sequence[Path]) -> dict[str, int]:
    """Decode all files unless they were in order before; see ``check_images``.

    Args:
        files: sorted and without repetition.

    Raises:
        DataError: files are absent, damaged, no images, too large or too deep.
    """
    memory = _memory_of(files)
    remembered = _recall(memory, len(files))
    if remembered is not None:
        return remembered
    counts = _decode(files)
    _remember(memory, counts)
    return counts


def _decode(files: Sequence[Path]) -> dict[str, int]:
    with warnings.catch_warnings(), ThreadPool() as pool:
        # Pillow refuses what has far too many pixels, and warns of what has half as many.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        found = pool.imap(_look_at, files, _CHUNK)
        looks = list(
            tqdm(found, "checking images", len(files), leave=False, unit="file", disable=None)
        )
    faults = {str(file): look.fault for file, look in zip(files, looks, strict=True) if look.fault}
    if faults:
        _refuse(faults, len(files))
    converted = Counter(f"converted_{look.mode}" for look in looks if look.mode != "RGB")
    turned = sum(look.turned for look in looks)
    return {
        "images": len(files),
        "converted": sum(converted.values()),
        **dict(sorted(converted.items())),
        **({"exif_turned": turned} if turned else {}),
    }


class _Look(NamedTuple):
    """The mode of an image in its file and whether it is to be turned, or what is wrong with it."""

    mode: str = ""
    turned: bool = False
    fault: str = ""


def _look_at(file: Path) -> _Look:
    try:
        _, mode, turned = read_rgb(file)
    except DataError as error:
        return _Look(fault=str(error).removeprefix(f"{printable(file)} "))
    except PermissionError:
        return _Look(fault="may not be read")
    except Exception:  # Pillow's decoders raise a dozen types for damaged files, SyntaxError too
        return _Look(fault=_DAMAGED)
    return _Look(mode, turned)


def _refuse(faults: Mapping[str, str], count: int) -> None:
    if set(faults.values()) == {_DAMAGED}:
        raise DataError(
            f"{len(faults)} of {count} image files are damaged or no images: "
            f"{named(list(faults))}. Download or unpack them again, or replace them."
        )
    raise DataError(
        f"{len(faults)} of {count} image files are not to be used as they are: "
        f"{named([f'{file} ({fault})' for file, fault in faults.items()])}. "
        "Correct, replace or remove them."
    )


def _memory_of(files: Sequence[Path]) -> Path:
    """Where the result for exactly these files, as they are now, is remembered."""
    digest, absent = hashlib.sha256(_FACTS), []
    for file in files:
        try:
            status = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            absent.append(str(file))
        except OSError as error:
            raise DataError(
                f"The image file {printable(file)} cannot be reached ({error.strerror}). Correct "
                "its name in the list that has it, or allow it to be read."
            ) from error
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


def _recall(memory: Path, count: int) -> dict[str, int] | None:
    """What is remembered of so many files; None where it is nothing, or was not written here."""
    try:
        facts = json.loads(memory.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or facts.get("images") != count or "converted" not in facts:
        return None
    are_counts = all(type(fact) is int and 0 <= fact <= count for fact in facts.values())
    return facts if are_counts else None


def _remember(memory: Path, counts: dict[str, int]) -> None:
    part = memory.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):  # where nothing can be written, the next check takes longer
        memory.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(counts))
        part.replace(memory)  # whole or not at all, for others may check the same files
