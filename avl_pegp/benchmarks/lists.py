"""Lists of names: told in messages, and read from text files that have one a line."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NAMED = 5  # a message names so many and counts the rest


class DataError(ValueError):
    """Data on disk is missing, incomplete or damaged; the message says what to put where."""


def printable(path: Path | str) -> str:
    r"""A path as text that can be printed; bytes that are no UTF-8 are shown as ``\xe9``.

    Example:
        >>> print(printable(os.fsdecode(b"caf\xe9.jpg")))
        caf\xe9.jpg
    """
    return os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def named(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    Example:
        >>> named(["a", "b"]), named("abcdefgh")
        ('a, b', 'a, b, c, d, e and 3 more')
    """
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(printable, names[:_NAMED])) + rest


def sha256_of(text: str) -> str:
    """The hash of a path or another text, in hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class TextList:
    """What a text file lists.

    Attributes:
        path: of the file.
        lines: those that are not blank, each split into its words.
        sha256: of the file, for the record.
    """

    path: Path
    lines: tuple[tuple[str, ...], ...]
    sha256: str


def read_list(path: Path, form: str, words: int) -> TextList:
    r"""Read a text file of lines with equally many words.

    Args:
        path: of the file; UTF-8.
        form: an example of a line, for messages.
        words: how many a line has. Further spaces belong to the last word, so that paths and names
            may have some.

    Raises:
        DataError: the file is absent or no text, or a line has too few words.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "classes.txt"
        >>> _ = path.write_text("1 house cat\n\n2 dog\n")
        >>> read_list(path, "1 fox", words=2).lines
        (('1', 'house cat'), ('2', 'dog'))
    """
    try:
        content = path.read_bytes()
        text = content.decode()
    except FileNotFoundError:
        raise DataError(
            f"There is no file {path.absolute()}. Put a text file there with lines like {form!r}."
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text file; it must have lines like {form!r}.") from None
    rows = {number: row.strip() for number, row in enumerate(text.splitlines(), 1) if row.strip()}
    lines = {number: tuple(row.split(maxsplit=words - 1)) for number, row in rows.items()}
    odd = [f"line {number}, {rows[number]!r}" for number in rows if len(lines[number]) < words]
    if odd:
        raise DataError(
            f"{path} must have lines like {form!r}; {len(odd)} are not: {named(odd)}. "
            "Correct them, or take the file from its source again."
        )
    return TextList(path, tuple(lines.values()), hashlib.sha256(content).hexdigest())


def read_pairs(path: Path, form: str) -> dict[str, str]:
    """Read a text file of lines with two words: the second of each by the first.

    Args:
        path: of the file.
        form: an example of a line, for messages.

    Raises:
        DataError: as in ``read_list``, or a first word comes twice.
    """
    listed = read_list(path, form, words=2)
    refuse_repeated(listed, [first for first, _ in listed.lines])
    return {line[0]: line[1] for line in listed.lines}


def refuse_repeated(listed: TextList, entries: list[str]) -> None:
    """Raise ``DataError`` where entries of a list, such as its paths, come more than once."""
    repeated = sorted(entry for entry, count in Counter(entries).items() if count > 1)
    if repeated:
        raise DataError(
            f"{listed.path} lists {len(repeated)} entries more than once: {named(repeated)}. "
            "Remove what is too much, or take the file from its source again."
        )
