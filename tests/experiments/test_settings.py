"""Every setting by its own program: rows, records, and what is peculiar to each."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from collections import Counter

import class_incremental
import pytest
from runs.job import Job
from runs.methods import METHODS

from avl_pegp.backbones.tiny_vit import WEIGHTS_SHA256
from avl_pegp.benchmarks.data import ImageDataset
from avl_pegp.heads import HEADS
from avl_pegp.plugins import CORRECTIONS

SETTINGS = ("class_incremental", "task_incremental", "domain_incremental", "online")
CONTROLS = {"frozen", "plain", "first_session"}


def is_triangular(matrix):
    return all((a is None) == (j > i) for i, row in enumerate(matrix) for j, a in enumerate(row))


@pytest.mark.parametrize(
    ("setting", "pet", "methods", "flags"),
    [
        ("class_incremental", "adapter", ("pegp",), ("--benchmark", "shifted_glyphs")),
        ("task_incremental", "prefix", ("pegp", "lwf"), ()),
        ("domain_incremental", "lora", ("pegp", "lda"), ()),
        ("online", "lora", ("pegp", "ewc"), ("--batch-size", "16")),
        ("online", "prompt", ("pegp",), ("--no-boundaries", "--head", "linear")),
        ("online", "adapter", ("joint", "pegp"), ("--benchmark", "blurry_glyphs", "--no-bound")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
@pytest.mark.long
def test_a_setting_runs_what_is_asked_for_and_the_controls(
    recipe, tmp_path, setting, pet, methods, flags
):
    flags = ("--pet", pet, "--methods", *methods, "--epochs", "1", *flags)
    records = recipe(setting, tmp_path, *flags)
    assert {r.method for r in records} == CONTROLS | {*methods}
    assert len(records) == len(CONTROLS) + len(methods)
    for r in records:
        assert r.setting == r.config["job"]["setting"] == setting
        assert r.pet == (pet if METHODS[r.method].has_pet else "none")
        assert len(r.accuracy_matrix) == (5 if setting == "domain_incremental" else 2)
        assert is_triangular(r.accuracy_matrix)
        assert is_triangular(r.task_aware_accuracy_matrix)
        assert bool(r.ranks) == bool(r.drift) == (r.method == "pegp")
        names = {field.name for field in dataclasses.fields(Job)}
        assert r.config["job"].keys() == names - {"machine"}  # which decides nothing
        assert r.config["job"]["does"] == dataclasses.asdict(METHODS[r.method])
        assert r.config["weights"]["sha256"] == WEIGHTS_SHA256
        assert (tmp_path / "tensorboard" / f"{r.pet}-{r.method}-seed0").is_dir()


@pytest.mark.long
def test_every_method_runs_on_one_stream(recipe, tmp_path):
    records = recipe("class_incremental", tmp_path, "--epochs", "1", "--methods", *METHODS)
    assert {r.method for r in records} == METHODS.keys()
    heads = {r.method: r.head for r in records}
    assert heads.pop("ncm") == "ncm"
    assert set(heads.values()) == {"lda"}
    sizes = {r.method: r.trainable_parameters for r in records}
    assert sizes["frozen"] == sizes["ncm"] < sizes["plain"] == sizes["pegp"] == sizes["joint"]
    by_method = {r.method: r.accuracy_matrix for r in records}
    assert by_method["frozen"] == by_method["lda"]  # the same, named as a head
    assert by_method["plain"][0] == by_method["first_session"][0] == by_method["pegp"][0]
    assert by_method["plain"][0] == by_method["plain_refit"][0]


@pytest.mark.long
def test_a_correction_moves_what_drifts_and_nothing_else(recipe, tmp_path):
    flags = ("--no-controls", "--epochs", "1", "--batch-size", "16", "--methods", "plain", "joint")
    stale, fixed = recipe("class_incremental", tmp_path / "none", *flags)
    for name in CORRECTIONS:
        records = recipe("class_incremental", tmp_path / name, *flags, "--correction", name)
        moved, joint = (record.accuracy_matrix for record in records)
        assert {record.config["job"]["correction"] for record in records} == {name}
        assert moved[0] == stale.accuracy_matrix[0]
        assert moved != stale.accuracy_matrix
        assert joint == fixed.accuracy_matrix


ONLINE = [("online", head) for head in ("qda", "ranpac")]


@pytest.mark.long
@pytest.mark.parametrize(
    ("setting", "head"), [*(("class_incremental", head) for head in HEADS), *ONLINE]
)
def test_every_head_evaluates_stale_and_fitted_again(recipe, tmp_path, setting, head):
    flags = ("--no-controls", "--head", head, "--epochs", "1")
    records = recipe(setting, tmp_path, *flags, "--methods", "frozen", "plain", "plain_refit")
    assert {record.head for record in records} == {head}
    assert {record.config["job"]["head"] for record in records} == {head}
    frozen, stale, fresh = (record.accuracy_matrix for record in records)
    assert frozen[1][0] > 1 / 70
    if setting == "class_incremental":  # online, features move while they are gathered
        assert stale[0] == fresh[0]


def test_with_the_task_told_only_its_classes_compete(recipe, tmp_path):
    (told,) = recipe("task_incremental", tmp_path / "told", "--no-controls", "--epochs", "1")
    (not_told,) = recipe("class_incremental", tmp_path / "not", "--no-controls", "--epochs", "1")
    assert told.accuracy_matrix == told.task_aware_accuracy_matrix
    assert told.accuracy_matrix == not_told.task_aware_accuracy_matrix
    assert told.average_accuracy == told.task_aware_average_accuracy > not_told.average_accuracy


def test_domains_to_come_are_tested_and_all_share_one_linear_head(recipe, tmp_path):
    (seen,) = recipe("domain_incremental", tmp_path, "--no-controls", "--epochs", "1")
    assert seen.head == "linear"
    assert seen.accuracy_matrix == seen.task_aware_accuracy_matrix
    assert -1 <= seen.forward_transfer <= 1
    assert len(set(seen.config["domains"])) == 5


@pytest.mark.parametrize("setting", ["class_incremental", "online"])
def test_only_domain_incremental_evaluates_ahead(recipe, tmp_path, setting):
    (record,) = recipe(setting, tmp_path, "--no-controls", "--methods", "frozen")
    assert record.forward_transfer is None


@pytest.mark.parametrize(
    ("setting", "times"),
    [("online", 1), ("class_incremental", 3)],  # to train, for PEGP, and for the head
)
@pytest.mark.long
def test_an_online_stream_is_seen_once(recipe, tmp_path, monkeypatch, setting, times):
    fetched = Counter()
    fetch = ImageDataset.__getitem__

    def counted(self, index):
        fetched[len(self), index] += 1
        return fetch(self, index)

    monkeypatch.setattr(ImageDataset, "__getitem__", counted)
    flags = ("--no-controls", "--head", "lda", "--epochs", "1")
    (record,) = recipe(setting, tmp_path, *flags)
    assert record.ranks
    training = {index: count for (size, index), count in fetched.items() if size == 140}
    assert training == dict.fromkeys(range(140), times)


@pytest.mark.long
def test_without_boundaries_a_learner_is_not_told_the_tasks(recipe, tmp_path):
    flags = ("--no-controls", "--benchmark", "blurry_glyphs")
    told, hidden = (
        recipe("online", tmp_path / flag[5:], *flags, flag)[0]
        for flag in ("--boundaries", "--no-boundaries")
    )
    assert (told.config["job"]["boundaries"], hidden.config["job"]["boundaries"]) == (True, False)
    assert told.config["class_order"] == hidden.config["class_order"]
    assert told.accuracy_matrix != hidden.accuracy_matrix


def test_without_boundaries_bases_grow_every_so_many_iterations(recipe, tmp_path):
    flags = ("--no-controls", "--no-boundaries", "--methods", "plain", "pegp", "--every")
    (plain, soon), (_, late) = (recipe("online", tmp_path / n, *flags, n) for n in ("4", "99"))
    assert (soon.config["pegp"]["every"], late.config["pegp"]["every"]) == (4, 99)
    assert late.accuracy_matrix == plain.accuracy_matrix  # fourteen iterations: nothing protected
    assert soon.accuracy_matrix != plain.accuracy_matrix
    assert soon.ranks.keys() == late.ranks.keys() != set()


REFUSED = [
    (("--seeds", "1", "2", "1"), "--seeds has [1] twice: give each seed once"),
    (("--options", "n_experiences"), "--options n_experiences: must be NAME=VALUE"),
    (("--backbone", "vit_tiny_patch16_224"), "takes images of 224 pixels, and "),
    (("--data-root", "."), "--data-root .: "),
    (("--options", "n_colours=3"), "unexpected keyword argument 'n_colours'"),
    (("--lr", "0"), "--lr 0.0: must be above 0"),
    (("--lr", "-1"), "--lr -1.0: must be above 0"),
    (("--lr", "nan"), "--lr nan: must be above 0"),
    (("--energy", "0"), "energy=0.0: must be a number above 0 and at most 1"),
    (("--energy", "1.5"), "energy=1.5: must be a number above 0 and at most 1"),
    (
        ("--head", "linear", "--methods", "plain", "pegp_refit"),
        "--methods pegp_refit with --head linear: there are no class statistics to fit again; "
        "use --head lda or ncm or qda or ",
    ),
    (
        ("--head", "linear", "--correction", "ridge"),
        "--correction ridge with --head linear: there are no class statistics to correct; use --head ",
    ),
]


@pytest.mark.parametrize(
    ("setting", "flags", "message"),
    [
        *((setting, *case) for setting in SETTINGS for case in REFUSED),
        ("class_incremental", ("--epochs", "0"), "epochs=0, batch_size=32: must be at least 1"),
        ("online", ("--epochs", "2"), "--epochs 2: an online stream is seen once; leave it out"),
        ("online", ("--correction", "ridge"), "--correction ridge in an online stream: "),
        ("online", ("--batch-size", "0"), "epochs=1, batch_size=0: must be at least 1"),
        ("online", ("--every", "0"), "--every 0: must be at least 1"),
        (
            "online",
            ("--no-boundaries", "--methods", "pegp", "ewc", "l2"),
            "--methods ewc l2 must know where tasks end: use --boundaries",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_flags_are_refused_before_anything_is_written(refused, setting, flags, message):
    refused(importlib.import_module(setting), flags, message)


@pytest.mark.long
def test_a_quiet_run_leaves_both_streams_empty(tmp_path):
    """In a process of its own, so that what other packages say when they are imported counts."""
    flags = ("--quiet", "--no-controls", "--epochs", "1", "--benchmark", "split_digits")
    command = [sys.executable, class_incremental.__file__, *flags, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "results.json").is_file()


def test_a_run_ends_with_a_table(recipe, tmp_path, capsys):
    recipe("class_incremental", tmp_path, "--no-controls", "--methods", "frozen")
    told = capsys.readouterr().out
    assert "frozen" in told
    assert f"TensorBoard logs are in {tmp_path}\n" in told
