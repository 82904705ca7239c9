"""The flags that settings share."""

from __future__ import annotations

import importlib

import pytest
from runs.command_line import flags
from runs.methods import VIT

from avl_pegp.benchmarks import BENCHMARKS, DATASETS
from avl_pegp.heads import HEADS

SETTINGS = "class_incremental task_incremental domain_incremental online clip_incremental".split()
DEFAULTS = {  # of the vision transformers' settings
    "benchmark": "a",
    "pet": ["lora"],
    "methods": ["pegp"],
    "seeds": [0],
    "head": "lda",
    "correction": None,
    "quiet": False,
    "no_controls": False,
    "backbone": "tiny_vit_32.latin",
    "energy": None,
    "lr": None,
    "epochs": 5,
    "batch_size": 32,
    "data_root": None,
    "options": [],
    "transforms": None,
    "class_order_seed": None,
    "class_order": None,
    "weights": None,
    "device": "cpu",
    "loaders": 0,
}
CHOICES = {
    "benchmark": ["a", "b"],
    "pet": ["lora", "adapter", "prefix", "prompt"],
    "head": [*HEADS, "linear"],
    "correction": ["ridge", "moments"],
    "transforms": ["timm", "published", "autoaugment", "autoaugment_cifar", "open_clip"],
}


@pytest.mark.parametrize("head", [None, "linear"])
def test_flags_of_vision_transformers_have_their_defaults_and_choices(head, tmp_path):
    parser = flags("What it does.", ("a", "b"), head=head)
    given = vars(parser.parse_args(["--out", str(tmp_path)]))
    assert given.pop("out") == tmp_path
    given["device"] = "cpu"
    assert given == DEFAULTS | ({"head": head} if head else {})
    offered = {action.dest: [*action.choices] for action in parser._actions if action.choices}
    assert offered.pop("methods") == [*VIT.methods]
    assert offered == CHOICES


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_benchmark_that_a_setting_offers_exists(setting):
    offered = importlib.import_module(setting).BENCHMARKS
    assert len(set(offered)) == len(offered)
    assert set(offered) <= BENCHMARKS.keys() | DATASETS.keys()
