"""The examples of CONTRIBUTING.md run as they stand, and what they add works like the rest."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from models import OPTIMIZERS, answers, images, relative_change, small_vit, tune
from PIL import Image
from runs.methods import VIT

from avl_pegp import create_vit
from avl_pegp.backbones.registry import VITS
from avl_pegp.benchmarks import READERS, STREAMS, create_benchmark
from avl_pegp.heads import HEADS, create_head
from avl_pegp.pet import PETS, attach, load_pet, pet_parameters, save_pet
from avl_pegp.plugins import ClassStatisticsPlugin
from avl_pegp.projection import PEGP

ROOT = Path(__file__).parents[1]


@pytest.fixture
def example(monkeypatch):
    """Runs a section's programs; registries are afterwards as before."""
    known = [
        (registry, set(registry)) for registry in (PETS, HEADS, READERS, STREAMS, VITS._builders)
    ]

    def run(title):
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        (section,) = re.findall(rf"## {title}\n(.*?)(?=\n## |\Z)", text, re.S)
        module = ModuleType("example")
        monkeypatch.setitem(sys.modules, "example", module)  # dataclasses look for theirs
        for block in re.findall(r"```python\n(.*?)```", section, re.S):
            exec(compile(block, "CONTRIBUTING.md", "exec"), vars(module))
        return vars(module)

    yield run
    for registry, names in known:
        for name in set(registry) - names:
            del registry[name]


def test_a_pet_is_exact_under_pegp_and_is_saved(example, tmp_path):
    NormMap = example("A PET")["NormMap"]
    model = small_vit()
    attach(model, NormMap())
    pegp, optimizer = PEGP(model, energy=1.0), OPTIMIZERS["adamw_decay"](pet_parameters(model))
    old, new = images(2, seed=1), images(4, seed=2)
    pegp.begin({0, 1})
    tune(model, optimizer, pegp, old, torch.tensor([0, 1]), steps=5)
    pegp.gather([old])
    pegp.extend()
    before = answers(model, old, 2)
    pegp.begin({2, 3})
    tune(model, optimizer, pegp, new, torch.tensor([2, 3, 2, 3]), steps=10)
    assert relative_change(answers(model, old, 2), before) <= 1e-9
    save_pet(model, tmp_path)
    other = small_vit()
    load_pet(other, tmp_path)
    assert torch.equal(answers(other, old), answers(model, old))


def test_a_baseline_is_a_method_of_every_recipe(example, monkeypatch, tmp_path):
    names = example("A baseline method")
    methods = sys.modules["runs.methods"]
    assert methods.PLUGINS["l1"] is names["L1Plugin"]
    try:
        import class_incremental

        flags = "--benchmark split_digits --methods l1 --no-controls --epochs 1 --quiet"
        monkeypatch.setattr(sys, "argv", ["", *flags.split(), "--out", str(tmp_path / "out")])
        class_incremental.main()
        assert '"l1"' in (tmp_path / "out" / "results.json").read_text()
    finally:
        del methods.METHODS["l1"], methods.PLUGINS["l1"]


def test_a_head_is_known_to_the_plugin_and_every_recipe(example):
    example("A head on class statistics")
    assert ClassStatisticsPlugin("cosine").head == "cosine"
    assert "cosine" in VIT.heads
    head = create_head("cosine", classes=3, width=2)
    head.update(torch.tensor([[9.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 2]))
    assert head.logits(torch.tensor([[1.0, 0.1], [1.0, 8.0]])).argmax(1).tolist() == [0, 2]


def test_a_data_set_goes_with_every_stream(example, tmp_path):
    example("A data set")
    for part in ("train", "test"):
        for i, name in enumerate(("owl", "tit")):
            (tmp_path / part / name).mkdir(parents=True)
            for shade in range(4):
                pixels = Image.new("RGB", (8, 8), (60 * shade, 100 * i, 0))
                pixels.save(tmp_path / part / name / f"{shade}.png")
    for stream in ("split", "blurry"):
        benchmark = create_benchmark(f"{stream}_birds", data_root=tmp_path, n_experiences=2)
        assert set(benchmark.class_names) == {"owl", "tit"}
        assert len(benchmark.train_stream) == 2


def test_a_stream_goes_with_every_data_set(example):
    example("A stream")
    stream = create_benchmark("growing_digits").train_stream
    assert [len(e.classes_in_this_experience) for e in stream] == [1, 2, 7]


def test_a_backbone_is_built_by_its_name(example):
    example("A backbone")
    model = create_vit("small_2", num_classes=10)
    assert len(model.blocks) == 2
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
