"""Recipes of published tables: each parses and trains, and what can not be is refused."""

from __future__ import annotations

from dataclasses import replace

import class_incremental
import clip_incremental
import pytest
from avalanche.benchmarks import benchmark_from_datasets
from reproduction.recipe import file_of, merged
from reproduction.recipe_files import FOLDER, PROTOCOL, load, tables
from runs import parts
from runs.job import RANDOM
from runs.training import Machine

from avl_pegp.backbones.clip.config import check_activation, config_of
from avl_pegp.benchmarks import create_benchmark
from avl_pegp.pet import trainable_tensors

ROWS = [(table, row) for table, rows in tables().items() for row in rows]
NAMES = ["/".join(row) for row in ROWS]
MINIATURES = {  # by benchmark
    "split_cifar100": "cifar100",
    "split_imagenet100": "imagenet100",
    "split_imagenet_r": "imagenet_r",
    "split_domainnet": "domainnet",
    "domainnet": "domainnet",
}


def test_there_are_all_rows_of_the_published_tables():
    assert {table: len(rows) for table, rows in tables().items()} == {
        "cifar100": 8,
        "clip_cifar100": 2,
        "clip_imagenet100": 2,
        "domainnet": 8,
        "domainnet_domains": 8,
        "imagenet_r": 8,
        "nsp2": 4,
        "online_cifar100": 2,
    }


@pytest.mark.parametrize(("table", "row"), ROWS, ids=NAMES)
def test_a_file_says_how_to_run_it_and_where_its_numbers_come_from(table, row):
    command, blank, source, *_ = (FOLDER / table / f"{row}.toml").read_text().splitlines()
    assert command == (
        f"# python experiments/reproduce.py {table} {row} --data-root DATA --out runs/reproduction"
    )
    assert blank == "#"
    assert "Table" in source
    recipe = load(table, row)
    assert {"plain", "pegp"} <= recipe.published.keys()
    control = "zero_shot" if recipe.head == "text" else "frozen"
    assert {control, "plain", "first_session", "pegp"} <= {*recipe.methods}
    shared = (FOLDER / table / PROTOCOL).read_text().partition("lr = ")[2].splitlines()
    _, pet, own = (FOLDER / table / f"{row}.toml").read_text().partition("pet]")
    own = own.partition("[pub")[0]
    settings = [line for line in (*shared, *own.splitlines()) if "=" in line and "{" not in line]
    assert bool(pet) is (table != "nsp2")
    assert all("#" in line or line.startswith("kind") for line in settings)


@pytest.fixture
def short(monkeypatch, miniature, tmp_path):
    """Run a row's method on the first experiences of its stream, one epoch on eight samples of each.

    Gives the record, the model, and by name those tensors that were trained, as they were before.
    """

    def run(recipe, row, method, experiences):
        machine = Machine(str(miniature(MINIATURES[recipe.benchmark])), "cpu")
        job = next(job for job in recipe.jobs(row, machine, RANDOM) if job.method == method)
        training = replace(job.training, epochs=1, batch_size=4)
        job = replace(job, backbone_options=smaller(recipe), training=training)
        found = []

        def cut(name, **options):
            whole = create_benchmark(name, **options)
            assert len(whole.train_stream) == recipe.size.experiences
            train = [spread_out(e.dataset) for e in whole.train_stream[:experiences]]
            pairs = zip(whole.test_stream, train, strict=False)
            test = [of_the_same_classes(e.dataset, known) for e, known in pairs]
            made = benchmark_from_datasets(train=train, test=test)
            made.class_names = whole.class_names
            return made

        def noted(job, model):
            found.extend((model, {n: p.clone() for n, p in trainable_tensors(model).items()}))
            return optimizer_of(job, model)

        optimizer_of = parts.optimizer_of
        setting = clip_incremental if recipe.head == "text" else class_incremental
        monkeypatch.setattr(setting, "create_benchmark", cut)
        monkeypatch.setattr(parts, "optimizer_of", noted)
        return setting.run(job, tmp_path), *found

    return run


@pytest.mark.long
@pytest.mark.parametrize(("table", "row"), ROWS, ids=NAMES)
def test_a_row_trains_two_steps_in_the_real_architecture(table, row, short):
    record, model, before = short(load(table, row), row, "pegp", experiences=1)
    assert record.trainable_parameters < sum(p.numel() for p in model.parameters()) / 20
    moved = [n for n, p in before.items() if not model.get_parameter(n).equal(p)]
    assert any(not name.startswith("head.") for name in moved)
    assert record.ranks
    assert 0 <= record.accuracy_matrix[0][0] <= 1


@pytest.mark.long
@pytest.mark.parametrize(("method", "contexts"), [("ewc", 2), ("lwf", 2), ("first_session", 0)])
def test_contexts_are_kept_per_experience_where_each_is_tuned(method, contexts, short, monkeypatch):
    made, baselines_of = [], parts.baselines_of

    def noted(job):
        made.extend(baselines_of(job))
        return made

    monkeypatch.setattr(parts, "baselines_of", noted)
    recipe = load("clip_cifar100", "adapter").changed({"methods": [method], "seeds": [1]})
    _, model, _ = short(recipe, "adapter", method, experiences=2)
    kept = [b for name, b in model.named_buffers() if name.endswith(".settled")]
    assert [len(b) for b in kept] == [contexts] * bool(contexts)
    if method == "ewc":  # nothing draws a new context to where an old one was
        fishers = {name: f for name, f in made[1].fisher.items() if f.any()}
        assert fishers
        assert not any(name.endswith("vectors.weight") for name in fishers)


def smaller(recipe):
    """Options of the backbone: few blocks, and images of 32 pixels."""
    if recipe.head == "text":
        return {"vision_cfg": {"layers": 2, "image_size": 32}, "text_cfg": {"layers": 2}}
    return {"img_size": 32, "depth": 5 if "blocks" in recipe.pet else 2}


def spread_out(dataset):
    """Eight samples of several classes; data sets are sorted by class."""
    return dataset.subset(range(0, len(dataset), max(1, len(dataset) // 8))[:8])


def of_the_same_classes(dataset, other):
    """Eight samples at most, of classes that another data set has too."""
    known = {int(y) for y in other.targets}
    return dataset.subset([i for i, y in enumerate(dataset.targets) if int(y) in known][:8])


@pytest.mark.parametrize("table", ["clip_cifar100", "clip_imagenet100"])
def test_a_clip_gets_weights_that_were_trained_with_its_activation(table):
    recipe = load(table, "prompt")
    check_activation(recipe.backbone, config_of(recipe.backbone, {}), recipe.weights)
    (job, *_) = recipe.jobs("prompt", Machine())
    assert (job.backbone, job.weights) == ("ViT-B-16-quickgelu", "openai")


def test_switches_change_one_thing_each():
    recipe = load("nsp2", "cifar100-10")
    plain = recipe.model_dump(exclude={"switches"})
    found = {
        name: sorted(
            key
            for key, value in recipe.switched(name).model_dump().items()
            if plain.get(key, {}) != value
        )
        for name in recipe.switches
    }
    assert found == {
        "gradient": ["pegp"],
        "lda_head": ["head"],
        "no_temperature": ["training"],
        "orig_weights": ["backbone"],
    }
    assert recipe.switched("gradient").pegp.project == "gradient"
    methods = [job.method for job in recipe.jobs("row", Machine())]
    assert methods[-3:] == ["pegp, orig_weights"] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "lda"}, "head='lda' in clip_incremental: must be text"),
        ({"template": None}, "template=None: a CLIP has one"),
        ({"weights": None}, "weights=None: a CLIP has one"),
        ({"methods": ["frozen"]}, "frozen: none of zero_shot, plain"),
        ({"pet": [{"kind": "context"}]}, "context: .*missing 1 required"),
        ({"published": {"plain": [1.0, 2.0, 3.0]}}, "published.plain"),
        ({"methods": ("plain", "zscl")}, "zscl: goes by images or words that the tiny CLIP was"),
        (
            {"methods": ("plain", "vr_lwf")},
            "vr_lwf: goes by images or words that the tiny CLIP was",
        ),
    ],
)
def test_what_a_clip_can_not_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        load("clip_cifar100", "prompt").changed(changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "text"}, "head='text' in class_incremental: must be lda or ncm or qda"),
        ({"template": "a {}"}, "template='a {}': a CLIP has one, and it alone"),
        ({"methods": ["zero_shot"]}, "zero_shot: none of frozen"),
    ],
)
def test_what_belongs_to_a_clip_is_refused_elsewhere(changes, message):
    with pytest.raises(ValueError, match=message):
        load("cifar100", "lora-10").changed(changes)


def test_the_upper_file_wins_and_another_pet_replaces_the_one_below():
    below = {
        "lr": 1,
        "training": {"epochs": 5, "batch_size": 2},
        "pet": {"kind": "lora", "rank": 4},
    }
    above = {"lr": 2, "training": {"epochs": 9}, "pet": {"kind": "prompt", "length": 3}}
    assert merged(below, above) == {
        "lr": 2,
        "training": {"epochs": 9, "batch_size": 2},
        "pet": {"kind": "prompt", "length": 3},
    }


def test_weights_are_the_one_file_named_after_the_tag(tmp_path):
    (tmp_path / "vit.a.npz").touch()
    (tmp_path / "vit.b.npz").touch()
    (tmp_path / "vit.b.pth").touch()
    (tmp_path / "ViT-B-16-quickgelu.openai.safetensors").touch()
    (job, *_) = load("clip_cifar100", "prompt").jobs("prompt", Machine(), str(tmp_path))
    assert job.weights == str(tmp_path / "ViT-B-16-quickgelu.openai.safetensors")
    assert file_of(str(tmp_path), "vit.a") == str(tmp_path / "vit.a.npz")
    assert (file_of(None, "vit.a"), file_of(RANDOM, "vit.a")) == (None, RANDOM)
    for tag, count in (("vit.b", 2), ("vit.c", 0)):
        with pytest.raises(ValueError, match=rf"has {count} files {tag}"):
            file_of(str(tmp_path), tag)
