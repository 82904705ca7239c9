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
    "heads": set(),
    "backbones": {"pet"},
    "benchmarks": set(),
    "plugins": {"pet", "projection", "heads"},
    "evaluation": {"pet", "projection", "backbones", "plugins"},
}
SHARED = {
    "arguments",
    "protocols",
    "fingerprint",
    "hooks",
    "wrappers",
}  # files at the package's root that every layer may know
EXPERIMENTS = PACKAGE.parent / "experiments"
RECIPES = {
    "class_incremental",
    "task_incremental",
    "domain_incremental",
    "online",
    "clip_incremental",
}
EXPERIMENTS_MAY_IMPORT = {  # files at the top by name; folders as a whole, themselves included
    "runs": {"runs"},
    **{recipe: {"runs"} for recipe in RECIPES},
    "studies": {"studies", "runs", *RECIPES},
    "reproduction": {"reproduction", "runs"},
    "reproduce": {"reproduction", "runs", *RECIPES},
    "reporting": {"reporting", "runs"},
    "report": {"reporting", "runs"},
    "screenshots": {"reporting", "runs"},
    "pretraining": {"program", "resumable_training", "tiny_photographs"},  # its scripts' own
    "study": set(),
}
HEAVY = set(
    "avalanche timm torchvision matplotlib PIL sklearn rich safetensors tensorboard peft".split()
)


def imported(source: str) -> list[list[str]]:
    """The parts of all module names that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return [name.split(".") for name in names]


def imported_layers(source: str) -> set[str]:
    """The layers of the package among them."""
    return {part[1] for part in imported(source) if part[0] == "avl_pegp" and len(part) > 1}


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


@pytest.mark.parametrize("place", sorted(EXPERIMENTS_MAY_IMPORT))
def test_recipes_know_runs_and_studies_know_recipes_and_nothing_knows_back(place):
    files = [*(EXPERIMENTS / place).rglob("*.py")] or [EXPERIMENTS / f"{place}.py"]
    own = {path.stem for path in EXPERIMENTS.rglob("*.py")} | {
        path.name for path in EXPERIMENTS.iterdir() if path.is_dir()
    }
    for path in files:
        tops = {parts[0] for parts in imported(path.read_text())} & own
        beyond = tops - EXPERIMENTS_MAY_IMPORT[place]
        assert not beyond, f"{path.relative_to(EXPERIMENTS)} imports {beyond}"


def test_every_place_of_the_experiments_has_a_rule():
    files = {path.stem for path in EXPERIMENTS.glob("*.py")}
    folders = {path.parent.name for path in EXPERIMENTS.glob("*/*.py")}
    assert files | folders == set(EXPERIMENTS_MAY_IMPORT)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_recipe_can_be_read_and_copied(recipe):
    assert len((EXPERIMENTS / f"{recipe}.py").read_text().splitlines()) <= 120


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
@pytest.mark.long
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
