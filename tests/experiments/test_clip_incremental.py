"""CLIP by its own program: what is run, what is recorded, what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time

import clip_incremental
import pytest
import torch
from clip_incremental import TEMPLATES
from runs.job import Job
from runs.methods import CLIP, CLIP_CONTROLS, CLIP_METHODS, CLIP_PETS

from avl_pegp import create_clip
from avl_pegp.backbones.tiny_clip import WEIGHTS_SHA256
from avl_pegp.benchmarks import BENCHMARKS
from avl_pegp.benchmarks.named_characters import NAMES

EXPERIENCES = {"named_glyphs": 2, "named_datasets": 7, "captioned_domains": 2}
MATCHING = {"image_to_text", "text_to_image", "hallucination"}
UNTOUCHED = {"untouched_characters", "held_out_characters", "other_domain", "colours"}
OVER_TIME = {
    "named_glyphs": UNTOUCHED | MATCHING,
    "named_datasets": set(),
    "captioned_domains": MATCHING | {"hallucination_in_domains"},
}
OF_THE_WHOLE = {"transfer", "average", "last"}
QUICK = ("--no-controls", "--epochs", "1")


def over_time(record):
    """The zero-shot numbers that are lists."""
    return {name: n for name, n in record.zero_shot.items() if name not in OF_THE_WHOLE}


def test_the_templates_are_those_of_the_benchmarks(tiny):
    assert TEMPLATES.keys() == EXPERIENCES.keys()
    for name, template in TEMPLATES.items():
        assert BENCHMARKS[name]().template == template


def require_sound(record, benchmark):
    """Whether a record has all that one of this benchmark must have, in the right form."""
    tasks = EXPERIENCES[benchmark]
    assert record.setting == record.config["job"]["setting"] == "clip_incremental"
    for matrix in (record.accuracy_matrix, record.task_aware_accuracy_matrix):
        measured = [[a is not None for a in row] for row in matrix]
        assert measured == [[j <= i for j in range(tasks)] for i in range(tasks)]
    numbers = over_time(record)
    assert numbers.keys() == OVER_TIME[benchmark]
    assert {len(series) for series in numbers.values()} <= {tasks + 1}
    shares = [n for series in numbers.values() for n in series]
    shares += [record.zero_shot[name] for name in OF_THE_WHOLE]
    assert all(isinstance(n, float) and 0 <= n <= 1 for n in shares)
    has_pegp = CLIP_METHODS[record.method].pegp is not None
    assert bool(record.ranks) == bool(record.drift) == has_pegp
    assert record.head == "text"
    assert record.config["weights"]["sha256"] == WEIGHTS_SHA256
    assert record.config["job"]["template"] == TEMPLATES[benchmark]
    names = {field.name for field in dataclasses.fields(Job)}
    assert record.config["job"].keys() == names - {"machine"}  # which decides nothing


def require_constant(record):
    """Whether a record is of a model that nobody trained."""
    assert record.method == "zero_shot"
    assert (record.pet, record.trainable_parameters) == ("none", 0)
    assert all(len(set(series)) == 1 for series in over_time(record).values())
    *_, last = record.task_aware_accuracy_matrix
    assert all(
        row[: i + 1] == last[: i + 1] for i, row in enumerate(record.task_aware_accuracy_matrix)
    )
    assert record.zero_shot["last"] == pytest.approx(sum(last) / len(last))
    assert record.zero_shot["average"] == pytest.approx(record.zero_shot["last"])  # rows are alike


@pytest.mark.long
def test_every_method_runs_on_new_classes(recipe, tmp_path):
    flags = (*QUICK, "--batch-size", "8", "--methods", *CLIP_METHODS)
    records = {r.method: r for r in recipe("clip_incremental", tmp_path, *flags)}
    assert records.keys() == CLIP_METHODS.keys()
    for r in records.values():
        require_sound(r, "named_glyphs")
        assert (tmp_path / "tensorboard" / f"{r.pet}-{r.method}-seed0").is_dir()
    require_constant(records["zero_shot"])
    tuned = {method: r for method, r in records.items() if method != "zero_shot"}
    assert len({r.trainable_parameters for r in tuned.values()}) == 1
    matrices = {method: r.task_aware_accuracy_matrix for method, r in tuned.items()}
    assert matrices["plain"][0] == matrices["first_session"][0] == matrices["pegp"][0]
    before = {method: {n: s[0] for n, s in over_time(r).items()} for method, r in records.items()}
    assert before.pop("joint") != before["zero_shot"]  # it has learned before the stream
    assert all(numbers == before["zero_shot"] for numbers in before.values())
    idle = {m for m, r in tuned.items() if r.zero_shot == records["zero_shot"].zero_shot}
    assert not idle
    assert " zero-shot last |" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("benchmark", ["named_datasets", "captioned_domains"])
@pytest.mark.long
def test_other_streams_have_all_their_numbers_too(recipe, tmp_path, benchmark):
    flags = ("--benchmark", benchmark, "--epochs", "1", "--batch-size", "60")
    records = recipe("clip_incremental", tmp_path, *flags, "--methods", "plain")
    assert [r.method for r in records] == [*CLIP_CONTROLS]
    for r in records:
        require_sound(r, benchmark)
    require_constant(records[0])
    assert records[1].zero_shot != records[0].zero_shot


def test_the_order_of_data_sets_is_written_down(recipe, tmp_path):
    flags = ("--no-controls", "--methods", "zero_shot", "--benchmark", "named_datasets")
    first, other = recipe("clip_incremental", tmp_path, *flags, "--seeds", "0", "1")
    assert set(first.config["datasets"]) == set(other.config["datasets"])
    assert first.config["datasets"] != other.config["datasets"]


@pytest.mark.long
def test_every_pet_runs_under_pegp(recipe, tmp_path):
    flags = (*QUICK, "--batch-size", "64", "--pet", *CLIP_PETS)
    records = {r.pet: r for r in recipe("clip_incremental", tmp_path, *flags)}
    assert records.keys() == CLIP_PETS.keys()
    for pet, r in records.items():
        require_sound(r, "named_glyphs")
        assert r.config["job"]["tuning"]["pet"] == in_json(CLIP_PETS[pet].pet)
        assert r.config["pegp"]["energy"] == CLIP_PETS[pet].pegp["energy"]
        image_side = {name for name in r.ranks if "visual" in name or "image" in name}
        assert image_side == (set() if pet in ("text_lora", "context") else r.ranks.keys())
    assert len({r.trainable_parameters for r in records.values()}) > 4


@torch.no_grad()
def test_accuracy_is_that_of_each_image_alone_among_all_classes_seen(recipe, tmp_path):
    flags = ("--no-controls", "--methods", "zero_shot", "--seeds", "3")
    (record,) = recipe("clip_incremental", tmp_path, *flags)
    benchmark = BENCHMARKS["named_glyphs"](order_seed=3)
    model = create_clip(CLIP.backbone, benchmark.class_names, True, template="a {}").eval()
    for i in range(2):
        seen = sorted(c for e in benchmark.train_stream[: i + 1] for c in e.dataset.targets.uniques)
        for j in range(i + 1):
            right = [
                seen[model(item[0][None])[0, seen].argmax()] == item[1]
                for item in benchmark.test_stream[j].dataset
            ]
            assert record.accuracy_matrix[i][j] == pytest.approx(sum(right) / len(right))
    assert record.accuracy_matrix[0][0] > record.accuracy_matrix[1][0]  # as classes join
    assert record.config["class_order"] != sorted(record.config["class_order"])


def test_another_template_is_used_and_written_down(recipe, tmp_path):
    flags = ("--no-controls", "--methods", "zero_shot")
    usual, other = (
        recipe("clip_incremental", tmp_path / folder, *flags, "--template", template)[0]
        for folder, template in {"a": "a {}", "b": "{} on the left"}.items()
    )
    assert other.config["job"]["template"] == "{} on the left"
    assert other.accuracy_matrix != usual.accuracy_matrix


def test_measuring_is_no_training_time(recipe, tmp_path, monkeypatch):
    def slow(model):
        time.sleep(0.5)
        return {"slow": 1.0}

    monkeypatch.setattr(clip_incremental, "measures_of", lambda benchmark: [slow])
    flags = ("--no-controls", "--methods", "zero_shot")
    (record,) = recipe("clip_incremental", tmp_path, *flags)
    assert record.zero_shot["slow"] == [1.0] * 3
    assert 0 <= record.train_seconds < 1.5


def test_real_images_are_learned_by_the_names_of_their_classes(recipe, miniature, tmp_path):
    root = shutil.copytree(miniature("image_folder"), tmp_path / "data")
    for folder in root.glob("*/class_*"):  # the tiny CLIP knows the names of its characters alone
        folder.rename(
            folder.with_name(NAMES["BEGMPRXbdn"[int(folder.name.removeprefix("class_"))]])
        )
    data = ("--benchmark", "image_folder", "--data-root", str(root))
    flags = (*QUICK, *data, "--options", "n_experiences=2", "--methods", "plain")
    (record,) = recipe("clip_incremental", tmp_path / "out", *flags)
    assert record.zero_shot.keys() == OF_THE_WHOLE
    assert record.config["job"]["template"] == "a photo of a {}."


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--head", "lda"), "--head: invalid choice: 'lda' (choose from"),
        (("--methods", "frozen"), "--methods: invalid choice: 'frozen' (choose from"),
        (("--pet", "key"), "--pet: invalid choice: 'key' (choose from"),
        (("--template", "a glyph"), "template='a glyph': must have one {} for the class name"),
        (("--template", ""), "template='': must have one {} for the class name"),
        (("--template", "very " * 13 + "{}"), "at most 16 tokens; shorten it, or the template"),
        (
            ("--backbone", "ViT-B-16"),
            "ViT-B-16 takes images of 224 pixels, and named_glyphs has 32",
        ),
        (("--backbone", "tiny_vit_32.latin"), "tiny_vit_32.latin"),
        (("--weights", "nowhere.pt"), "nowhere.pt"),
        (
            ("--backbone", "ViT-B-16", "--methods", "zscl", "vr_lwf", "pegp_references"),
            "--methods pegp_references vr_lwf zscl with --backbone ViT-B-16: the reference images and "
            "words are what tiny_clip_32.glyphs was pretrained on",
        ),
        (("--data-root", "."), "--benchmark named_glyphs with --data-root .: "),
        (("--options", "n_colours=3"), "unexpected keyword argument 'n_colours'"),
        (("--energy", "0"), "energy=0.0: must be a number above 0 and at most 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_flags_are_refused_before_anything_is_written(refused, flags, message):
    refused(clip_incremental, flags, message)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((), "pretrained=True does not say which weights of ViT-B-16: choose from openai, "),
        (
            ("--weights", "nothing"),
            "'nothing' is neither a tag of ViT-B-16 nor a file: choose from",
        ),
    ],
)
def test_a_large_clip_without_the_tag_of_its_weights_is_refused(
    refused, miniature, weights, message
):
    data = ("--benchmark", "image_folder", "--data-root", str(miniature("image_folder")))
    flags = (*data, "--options", "n_experiences=2", "--backbone", "ViT-B-16", *weights)
    refused(clip_incremental, flags, message)


def test_controls_run_unless_told_not_to(tiny, monkeypatch, launch, tmp_path):
    asked = []
    monkeypatch.setattr(clip_incremental, "run_all", lambda jobs, *_: asked.append(jobs))
    for i, flags in enumerate(((), ("--no-controls",))):
        launch(clip_incremental, tmp_path / str(i), *flags, "--pet", "lora", "context")
    usual, without = ([(job.pet, job.method) for job in jobs] for jobs in asked)
    assert without == [("lora", "pegp"), ("context", "pegp")]
    assert usual == [
        ("none", "zero_shot"),
        *((pet, method) for pet in ("lora", "context") for method in (*CLIP_CONTROLS[1:], "pegp")),
    ]
    assert [job.tuning for job in asked[1]] == [CLIP_PETS["lora"], CLIP_PETS["context"]]


@pytest.mark.parametrize("method", CLIP_METHODS)
def test_a_job_is_described_by_plain_values_alone(method):
    (job,) = Job("", "").variants([("lora", method)], [0], CLIP_METHODS, pets=CLIP_PETS)
    described = job.described()
    assert described == in_json(described)
    assert described["does"] == in_json(dataclasses.asdict(CLIP_METHODS[method]))


def in_json(values):
    return json.loads(json.dumps(values))
