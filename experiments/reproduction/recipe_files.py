"""Recipes of published tables: a folder a table, a file a row, protocol.toml for what rows share."""

from __future__ import annotations

import difflib
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from runs.training import Training

from reproduction.recipe import Pegp, Recipe, Size, merged

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

FOLDER = Path(__file__).parent
PROTOCOL = "protocol.toml"


def tables() -> dict[str, list[str]]:
    """The names of all tables, and of the rows of each."""
    return {
        folder.name: sorted(f.stem for f in folder.glob("*.toml") if f.name != PROTOCOL)
        for folder in sorted(FOLDER.iterdir())
        if (folder / PROTOCOL).exists()
    }


def load(table: str, row: str, folder: Path = FOLDER) -> Recipe:
    """Read a row and what it shares with its table.

    Raises:
        ValueError: everything that is wrong with it, with the nearest names of unknown keys.
    """
    path = folder / table / f"{row}.toml"
    try:
        shared, own = (tomllib.loads(p.read_text()) for p in (path.parent / PROTOCOL, path))
        return Recipe.model_validate(merged(shared, own))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} or the {PROTOCOL} beside it is not TOML: {error}") from None
    except ValidationError as error:
        problems = "".join(f"\n  {_problem(found)}" for found in error.errors())
        raise ValueError(f"{path} (with the {PROTOCOL} beside it):{problems}") from None


def _problem(found: Any) -> str:
    """One thing that is wrong, where it stands, and what may have been meant."""
    where = ".".join(map(str, found["loc"]))
    if found["type"] not in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where or 'as a whole'}: {found['msg']}"
    inner = {"pegp": Pegp, "size": Size}.get(found["loc"][0], Recipe)
    known = (
        [f.name for f in fields(Training)] if found["loc"][0] == "training" else inner.model_fields
    )
    near = difflib.get_close_matches(str(found["loc"][-1]), list(known), n=1)
    return f"{where}: no such key" + (f"; did you mean {near[0]}?" if near else "")
