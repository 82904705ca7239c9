"""The program of published tables: what it runs, what it says of the rest, and what it would cost."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import reproduce
import torch
from reproduction.estimate import Step, cost_of, measure, operations, saved_bytes
from reproduction.recipe import Recipe
from reproduction.recipe_files import load
from runs import resumable
from runs.job import RANDOM
from runs.training import Machine
from torch import nn


@pytest.fixture
def run(monkeypatch):
    """Run the program with these arguments."""

    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *map(str, arguments)])
        reproduce.main()

    return go


@pytest.fixture
def made_up(monkeypatch, record):
    """Runs that come to 80 % plus the seed, and are written where real ones would be."""
    asked = []

    def complete(jobs, recipes, folder, workers):
        folder.mkdir(parents=True, exist_ok=True)
        for job in jobs:
            asked.append(job)
            config = {"weights": {"tag": "vit.a", "file": "vit.npz", "sha256": "0f"}}
            made = record(job.pet, job.method, job.seed, 0.8 + job.seed / 100, 0.1, config=config)
            resumable.write_records([made], folder / f"{job.label}.json")

    monkeypatch.setattr(reproduce, "complete", complete)
    monkeypatch.setattr(reproduce, "missing_of", lambda jobs, folder: [])
    monkeypatch.setattr(reproduce, "stream_of", lambda job: None)
    return asked


def test_the_table_has_what_was_run_and_says_of_the_rest_that_it_was_not(run, made_up, tmp_path):
    run("cifar100", "lora-10", "--seeds", 1, 3, "--methods", "plain", "pegp", "--out", tmp_path)
    assert [(j.pet, j.method, j.seed) for j in made_up] == [
        ("lora-10", method, seed) for method in ("plain", "pegp") for seed in (1, 3)
    ]
    lines = (tmp_path / "cifar100.md").read_text().splitlines()
    cells = {
        (row, method): rest
        for row, method, *rest in (line.strip("| ").split(" | ") for line in lines if "|" in line)
    }
    published, ours, difference = cells["lora-10", "pegp"]
    assert published == "85.14 / 6.23"
    assert ours == "82.0 ± 1.4 / 0.0 ± 0.0 (2)"
    assert difference == "-3.14 / -6.23"
    assert cells["adapter-5", "pegp"][:2] == ["85.16 / 6.09", "not run"]
    assert "With the task told" not in (tmp_path / "cifar100.md").read_text()
    rerun = "python experiments/reproduce.py cifar100 lora-10 --data-root DATA --out OUT"
    assert rerun in lines
    assert "Weights: vit.a (vit.npz, sha256 0f)" in lines


def test_two_views_of_the_same_runs_stand_beside_two_published_tables(run, made_up, tmp_path):
    run("clip_cifar100", "--seeds", 1, "--methods", "zero_shot", "pegp", "--out", tmp_path)
    text = (tmp_path / "clip_cifar100.md").read_text()
    competing, told = (
        {tuple(line.strip("| ").split(" | ")) for line in part.splitlines() if "|" in line}
        for part in text.split("With the task told at test:")
    )
    assert {
        ("prompt", "zero_shot", "66.70", "81.0 / 0.0 (1)", "+14.30"),
        ("prompt", "pegp", "82.36 / 2.82", "81.0 / 0.0 (1)", "-1.36 / -2.82"),
        ("adapter", "pegp", "70.37 / 5.72", "81.0 / 0.0 (1)", "+10.63 / -5.72"),
    } <= competing
    assert ("prompt", "clip_pgp", "79.47 / 4.23", "not run", "") in {
        (*c, "")[:5] for c in competing
    }
    ours = "95.0 / 10.0 (1)"
    assert ("prompt", "pegp", "93.99 / 0.80", ours, "+1.01 / +9.20") in told
    assert ("adapter", "pegp", "", ours) in told


def test_frozen_is_run_once_for_all_rows_and_devices_are_dealt_out(run, made_up, tmp_path):
    run("cifar100", "--seeds", 1, "--device", "cuda:0", "cuda:1", "--out", tmp_path)
    assert [(j.pet, j.method) for j in made_up].count(("none", "frozen")) == 1
    assert len(made_up) == 1 + 8 * 3
    assert [j.machine.device for j in made_up[:3]] == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar100", "lora-7"), "cifar100 has no row lora-7; it has adapter-10, adapter-5, "),
        (("cifar10",), "invalid choice: 'cifar10'"),
        (("cifar100", "--methods", "si"), "si: none of frozen, "),
        (("cifar100", "--data-root", "nowhere"), "cifar-100-python"),
        (("cifar100",), "data_root"),
    ],
)
def test_what_can_not_be_run_is_refused_before_anything_is_written(
    run, tmp_path, capsys, arguments, message
):
    with pytest.raises(SystemExit, match="2"):
        run(*arguments, "--out", tmp_path / "out")
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_would_be_run_and_what_it_takes(run, tmp_path, capsys, monkeypatch):
    step = Step(3e9, 1e9, 0.0, 1e10, 2**20, 2**30, 12_345)
    monkeypatch.setattr(reproduce, "measure", lambda job, classes: step)
    run("nsp2", "cifar100-10", "--seeds", 1, "--tflops", 1, "--dry-run", "--out", tmp_path / "out")
    shown = capsys.readouterr().out
    assert "nsp2: 8 runs" in shown
    assert "at 1 TFLOP/s" in shown
    assert "12,345" in shown
    assert not (tmp_path / "out").exists()


def test_operations_of_a_linear_layer_are_two_for_each_weight_and_row():
    layer, x = nn.Linear(16, 32, bias=False), torch.rand(5, 16)
    assert operations(lambda: layer(x)) == 2 * 16 * 32 * 5


def test_kept_bytes_count_each_tensor_once_and_no_weights():
    layer, x = nn.Linear(8, 8, bias=False), torch.rand(4, 8)

    def step():
        layer(x).relu().sum().backward()  # x for the weight, and what relu gave

    assert saved_bytes(layer, step) == 2 * 4 * 8 * 4


def test_the_cost_counts_training_gathering_and_evaluation():
    pegp, plain, first, frozen = (
        next(j for j in load("cifar100", "lora-10").jobs("lora-10", Machine()) if j.method == name)
        for name in ("pegp", "plain", "first_session", "frozen")
    )
    step = Step(3.0, 1.0, batch=0.0, rate=1.0, activations=7.0, fixed=100, trained=1)
    evaluated = 10 * (4 + 1) / 2
    size = {"train": 40, "test": 10, "experiences": 4}
    epochs, batch = plain.training.epochs, plain.training.batch_size
    assert cost_of(plain, step, **size).operations == 40 * epochs * 3 + evaluated
    assert cost_of(pegp, step, **size).operations == 40 * epochs * 3 + 40 + evaluated
    assert cost_of(first, step, **size).operations == 10 * epochs * 3 + 30 * epochs + evaluated
    assert cost_of(frozen, step, **size).operations == 40 * epochs + evaluated
    assert cost_of(plain, step, **size).memory == 100 + 7 * batch
    assert cost_of(frozen, step, **size).memory == 100


def test_a_step_is_measured_in_the_real_architecture():
    recipe: Recipe = load("cifar100", "lora-10")
    (job,) = [
        j for j in recipe.jobs("lora-10", Machine(device="cpu"), RANDOM) if j.method == "plain"
    ][:1]
    job = replace(job, backbone_options={"img_size": 32, "depth": 5})
    step = measure(job, classes=100)
    linear = 5 * 12 * 768 * 768 * 5 * 2  # qkv, proj and the MLP of five blocks, on five tokens
    assert step.forward == pytest.approx(linear, rel=0.1)
    assert 1.5 < step.training / step.forward < 3  # nothing below the first LoRA, no frozen weights
    assert step.trained == 5 * 2 * 10 * 2 * 768 + 100 * 769
    assert step.activations > 5 * 5 * 768 * 4
    assert abs(step.batch) < step.training / 10


def test_class_prompts_that_are_trained_cost_the_same_for_any_batch():
    step = measure(small_clip("plain"), classes=10)
    tokens = 1 + 16 + 2 + 1 + 1  # begin, the context, "class 0", a full stop, end
    prompts = 2 * 10 * tokens * 12 * 512 * 512 * 2  # two blocks, forward
    assert step.batch == pytest.approx(2 * prompts, rel=0.1)  # and backward
    images = 2 * 12 * 768 * 768 * 5 * 2
    assert step.forward == pytest.approx(images, rel=0.2)
    assert step.training == pytest.approx(step.forward, rel=0.1)  # nothing below the adapter


def test_a_model_that_is_only_asked_costs_its_evaluation_alone():
    job = small_clip("zero_shot")
    step = measure(job, classes=10)
    assert (step.trained, step.batch, step.activations) == (0, 0, 0)
    cost = cost_of(job, step, train=40, test=10, experiences=4)
    assert cost.operations == 10 * (4 + 1) * step.forward


def test_a_step_of_class_prompts_counts_once_in_a_batch():
    job = small_clip("plain")
    step = Step(3.0, 1.0, batch=64.0, rate=1.0, activations=7.0, fixed=100, trained=1)
    cost = cost_of(job, step, train=40, test=10, experiences=4)
    assert job.training.batch_size == 32
    assert cost.operations == 40 * 5 * (3 + 64 / 32) + 10 * (4 + 1)


def small_clip(method):
    """A run of the published adapter, in two blocks for each tower."""
    jobs = load("clip_cifar100", "adapter").jobs("adapter", Machine(device="cpu"), RANDOM)
    small = {"vision_cfg": {"layers": 2, "image_size": 32}, "text_cfg": {"layers": 2}}
    return next(replace(j, backbone_options=small) for j in jobs if j.method == method)
