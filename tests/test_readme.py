"""What the README shows must exist: names, commands, files."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def in_the_table(title: str, column: str) -> tuple[float, float]:
    """Mean and standard deviation of a cell of the README's table, as shares."""
    head, _, *rows = re.search(r"results: begin -->\n(.*?)<!--", README, re.S)[1].splitlines()
    at = [name.strip() for name in head.split("|")].index(column)
    (row,) = [row.split("|") for row in rows if title in row]
    mean, spread = (float(number) / 100 for number in row[at].split("±"))
    return mean, spread


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_the_first_block_to_the_letter_gives_what_the_table_says(seed, capsys):
    torch.manual_seed(seed)
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    last = capsys.readouterr().out.splitlines()[-1]
    mean, spread = in_the_table("five experiences of two real digits", "pegp")
    frozen, _ = in_the_table("five experiences of two real digits", "frozen")
    assert abs(float(last) - mean) <= 2 * spread
    assert 0.8 < frozen < mean  # or the comparison would say nothing


@pytest.mark.parametrize("block", BLOCKS)
def test_code_parses_and_its_imports_exist(block):
    imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        module = import_module(node.module)
        assert all(hasattr(module, alias.name) for alias in node.names)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([\w-]+)", README, re.M):
        assert f"\n{target}:" in makefile


def test_linked_files_and_recipes_exist():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    recipes = re.findall(r"python (experiments/\S+\.py)", README)
    assert links
    assert recipes
    for path in (*links, *recipes):
        assert (ROOT / path).is_file(), path
