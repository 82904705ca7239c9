"""Settings on images in files, from the command line to the record."""

from __future__ import annotations

import json

import class_incremental
import clip_incremental
import domain_incremental
import online
import pytest
import torch
from runs.job import RANDOM, Job
from runs.methods import CLIP
from runs.training import Machine

VIT = ("--backbone", "test_vit.r160_in1k", "--weights", "random", "--device", "cpu")
SHORT = ("--epochs", "1", "--methods", "pegp", "--no-controls")


@pytest.fixture
def recipe(launch):
    """Run a setting on the miniature of a data set and return its one record."""

    def run(program, out, *flags):
        launch(program, out, *VIT, *SHORT, *flags)
        (record,) = json.loads((out / "results.json").read_text())
        return record

    return run


@pytest.mark.parametrize(
    ("program", "benchmark", "folder", "options", "length"),
    [
        (class_incremental, "image_folder", "image_folder", ("n_experiences=2",), 2),
        (online, "image_folder", "image_folder", ("n_experiences=2",), 2),
        pytest.param(
            *(domain_incremental, "core50_instances", "core50", ("categories=true",), 8),
            marks=pytest.mark.long,
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.long
def test_a_setting_learns_from_image_files_and_writes_down_what_it_used(
    recipe, miniature, tmp_path, program, benchmark, folder, options, length
):
    flags = ("--benchmark", benchmark, "--data-root", str(miniature(folder)))
    record = recipe(program, tmp_path, *flags, "--options", *options)
    assert len(record["accuracy_matrix"]) == length
    config = record["config"]
    assert (
        config["data"]["images"] == config["data"]["train_images"] + config["data"]["test_images"]
    )
    assert config["weights"] == {
        "tag": "test_vit.r160_in1k",
        "file": None,
        "sha256": None,
        "dropped": [],
    }
    assert config["machine"]["data_root"] == str(miniature(folder))
    assert "data_root" not in config["job"]["options"]
    assert config["class_order"] == sorted(config["class_order"])  # label order


def test_clip_is_asked_in_words_where_folders_have_ids(miniature, tmp_path):
    job = Job(
        "clip_incremental",
        "split_imagenet100",
        method="zero_shot",
        does=CLIP.methods["zero_shot"],
        machine=Machine(str(miniature("imagenet100")), "cpu"),
        head="text",
        backbone="ViT-B-32",
        backbone_options={"vision_cfg": {"layers": 1, "image_size": 32}, "text_cfg": {"layers": 1}},
        weights=RANDOM,
        template="a photo of a {}.",
        options={"n_experiences": 2},
    )
    names = clip_incremental.run(job, tmp_path).config["class_names"]
    assert (len(names), names[0], names[-1]) == (100, "tench", "sea lion")


@pytest.mark.parametrize("program", [class_incremental, online], ids=lambda p: p.__name__)
@pytest.mark.long
def test_images_read_by_other_processes_are_the_same_images(recipe, miniature, tmp_path, program):
    flags = ("--benchmark", "image_folder", "--data-root", str(miniature("image_folder")))
    flags += ("--options", "n_experiences=2", "--methods", "frozen")
    here = recipe(program, tmp_path / "here", *flags)
    there = recipe(program, tmp_path / "there", *flags, "--loaders", "2")
    assert there["config"]["machine"]["loaders"] == 2
    assert there["accuracy_matrix"] == here["accuracy_matrix"]


@pytest.mark.long
def test_the_class_order_is_drawn_by_a_seed_or_given_for_all_runs(recipe, miniature, tmp_path):
    flags = ("--benchmark", "image_folder", "--data-root", str(miniature("image_folder")))
    flags += ("--options", "n_experiences=2")
    drawn = recipe(class_incremental, tmp_path / "a", *flags, "--class-order-seed", "3")
    order = drawn["config"]["class_order"]
    assert order != sorted(order)
    given = map(str, reversed(order))
    listed = recipe(class_incremental, tmp_path / "b", *flags, "--class-order", *given)
    assert listed["config"]["class_order"] == order[::-1]


def test_weights_of_a_file_are_used_and_their_digest_written_down(recipe, miniature, tmp_path):
    from avl_pegp import create_vit

    torch.manual_seed(1)
    state = create_vit("test_vit.r160_in1k", num_classes=3).state_dict()
    torch.save(state, tmp_path / "mine.pth")
    flags = ("--benchmark", "image_folder", "--data-root", str(miniature("image_folder")))
    flags += ("--options", "n_experiences=2", "--weights", str(tmp_path / "mine.pth"))
    weights = recipe(class_incremental, tmp_path / "out", *flags)["config"]["weights"]
    assert weights["file"] == "mine.pth"
    assert len(weights["sha256"]) == 64
    assert weights["dropped"] == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--benchmark", "split_cifar100"), "--data-root None: image_folder"),
        (("--benchmark", "split_cifar100", "--data-root", "no"), "no/cifar-100-python. Put this"),
        (("--benchmark", "split_cub200", "--data-root", "no"), "no/CUB_200_2011. Put this"),
    ],
)
def test_absent_data_is_one_message_before_anything_is_written(
    launch, tmp_path, capsys, flags, message
):
    with pytest.raises(SystemExit, match="2"):
        launch(class_incremental, tmp_path / "out", *VIT, *SHORT, *flags)
    told = " ".join(capsys.readouterr().err.split())
    assert message.partition(":")[0] in told
    assert not (tmp_path / "out").exists()
