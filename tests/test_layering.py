"""Arrows between the layers point one way, and light imports stay light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import avl_pegp

PACKAGE = Path(avl_pegp.__file__).parent
MAY_IMPORT = {  # layer: other layers of the package that it may know
    "pet": set(),
    "projection": set(),
    "backbones": {"pet"},
    "benchmarks": set(),
    "plugins": {"pet", "projection", "backbones"},
    "evaluation": {"pet", "projection", "backbones", "plugins"},
}
SHARED = {
    "protocols",
    "fingerprint",
    "wrappers",
}  # files at the package's root that every layer may know
HEAVY = set(
    "avalanche timm torchvision matplotlib PIL sklearn rich safetensors tensorboard peft".split()
)


def imported_layers(source: str) -> set[str]:
    """The layers of the package that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "avl_pegp" and len(part) > 1}


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(out.stdout.split())


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_a_layer_knows_only_layers_below_it(layer):
    for path in (PACKAGE / layer).rglob("*.py"):
        beyond = imported_layers(path.read_text()) - MAY_IMPORT[layer] - {layer} - SHARED
        assert not beyond, f"{path.relative_to(PACKAGE)} imports {beyond}"


def test_every_layer_has_a_rule():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(MAY_IMPORT)


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_every_layer_may_know_knows_none(name):
    assert imported_layers((PACKAGE / f"{name}.py").read_text()) <= SHARED


@pytest.mark.parametrize(
    "statement",
    ["import avl_pegp", "import avl_pegp.projection", "from avl_pegp import PEGP, LoRA, attach"],
)
def test_the_core_needs_torch_alone(statement):
    loaded = modules_after(statement)
    assert not loaded & HEAVY
    assert "avl_pegp" in loaded


def test_these_tests_can_fail():
    assert imported_layers("def f():\n    from avl_pegp.plugins import PEGPPlugin") == {"plugins"}
    assert "matplotlib" in modules_after("import matplotlib")


def test_every_public_name_can_be_had_and_unknown_ones_list_them():
    for name in avl_pegp.__all__:
        assert getattr(avl_pegp, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Lora'; it has Adapter, Context, Lin"):
        avl_pegp.Lora  # noqa: B018


EXTRAS = ("open_clip", "peft")


@pytest.mark.parametrize("room", ["", *(f".{name}" for name in MAY_IMPORT)])
def test_everything_can_be_imported_without_the_extras(room):
    without = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS}))"
    names = f"from avl_pegp{room} import *; names = set(dir())"
    code = f"{without}\n{names}\nprint(*names)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = importlib.import_module(f"avl_pegp{room}")
    assert set(found.__all__) - set(out.stdout.split()) <= {"create_clip"}


def test_what_needs_an_extra_says_so_when_it_is_asked_for_by_name():
    code = "import sys; sys.modules['open_clip'] = None; from avl_pegp import create_clip"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "CLIP needs open_clip: pip install" in out.stderr
