"""The programs in the documentation run as they stand."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

from avl_pegp.heads import HEADS
from avl_pegp.plugins import CORRECTIONS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.long
def test_the_page_on_hugging_face_runs_and_finds_the_classifier(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "hugging_face.md").read_text(), re.S)
    torch.manual_seed(0)
    names: dict = {}
    exec(compile(block, "hugging_face.md", "exec"), names)
    assert "classifier.modules_to_save.default" in capsys.readouterr().out
    assert names["plugin"].pegp.memory.experiences == 2
    assert max(names["plugin"].drift().values()) <= 1e-4


def defined(path: Path) -> set[str]:
    """The names that a file defines at its top, and ``Class.member``."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            members = (part for part in node.body if isinstance(part, ast.FunctionDef))
            found |= {f"{node.name}.{member.name}" for member in members}
    return found


def test_every_word_of_the_glossary_stands_where_it_says():
    places = re.findall(r"`([\w/]+\.py)::([\w.]+)`", (DOCS / "glossary.md").read_text())
    assert len(places) >= 18
    for file, name in places:
        assert name in defined(DOCS.parent / file), f"{file} defines no {name}"


def test_the_page_on_heads_tells_of_every_head_and_correction():
    page = (DOCS / "heads.md").read_text(encoding="utf-8")
    corrections = [correction.__name__ for correction in CORRECTIONS.values()]
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == [*HEADS, *corrections]
    first, second = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict = {}
    exec(compile(first, "heads.md", "exec"), names)
    assert names["plugins"][0].head == "ranpac"
    assert re.findall(r"^\| `(\w+Correction)` \|", page, re.M) == [
        c.__name__ for c in CORRECTIONS.values()
    ]
    exec(compile(second, "heads.md", "exec"), names)
    assert isinstance(names["plugins"][1].correction, CORRECTIONS["moments"])


def test_modules_name_the_glossary():
    for room in ("projection", "plugins", "heads"):
        init = DOCS.parent / "avl_pegp" / room / "__init__.py"
        assert "docs/glossary.md" in (ast.get_docstring(ast.parse(init.read_text())) or "")
