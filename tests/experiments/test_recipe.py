"""Recipes of published tables: each parses, and what is wrong with one is said all at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from avalanche.benchmarks import benchmark_from_datasets
from job import RANDOM
from learning import learn_experiences
from recipe import FOLDER, PROTOCOL, file_of, load, make_pet, merged, tables
from training import Machine

ROWS = [(table, row) for table, rows in tables().items() for row in rows]
NAMES = ["/".join(row) for row in ROWS]
MINIATURES = {  # by benchmark
    "split_cifar100": "cifar100",
    "split_imagenet_r": "imagenet_r",
    "split_domainnet": "domainnet",
    "domainnet": "domainnet",
}


def test_there_are_all_rows_of_the_published_tables():
    assert {table: len(rows) for table, rows in tables().items()} == {
        "cifar100": 8,
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
    assert {"frozen", "plain", "first_session", "pegp"} <= {*recipe.methods}
    shared = (FOLDER / table / PROTOCOL).read_text().partition("lr = ")[2].splitlines()
    own = (FOLDER / table / f"{row}.toml").read_text().partition("[pet]")[2].partition("[pub")[0]
    settings = [line for line in (*shared, *own.splitlines()) if "=" in line and "{" not in line]
    assert all("#" in line or line.startswith("kind") for line in settings)


@pytest.mark.parametrize(("table", "row"), ROWS, ids=NAMES)
def test_a_row_trains_two_steps_in_the_real_architecture(table, row, miniature, tmp_path):
    recipe = load(table, row)
    machine = Machine(str(miniature(MINIATURES[recipe.benchmark])), "cpu")
    (job,) = [job for job in recipe.jobs(row, machine, RANDOM) if job.method == "pegp"][:1]
    small = {"img_size": 32, "depth": 5 if "blocks" in recipe.pet else 2}
    training = replace(job.training, epochs=1, batch_size=4)
    job = replace(job, backbone_options=small, training=training)
    stream = job.stream()
    assert len(stream.train_stream) == recipe.size.experiences
    learner = job.learner(len(stream.class_names))
    assert learner.trained_parameters < sum(p.numel() for p in learner.model.parameters()) / 20
    before = {n: p.detach().clone() for n, p in learner.model.named_parameters() if p.requires_grad}
    train, test = (spread_out(s[0].dataset) for s in (stream.train_stream, stream.test_stream))
    two_steps = benchmark_from_datasets(train=[train], test=[test])
    accuracy, _ = learn_experiences(learner, two_steps, title="", logs=tmp_path)
    moved = [n for n, p in before.items() if not learner.model.get_parameter(n).equal(p)]
    assert any(not name.startswith("head.") for name in moved)
    assert learner.pegp.ranks()
    assert 0 <= accuracy.class_incremental[0][0] <= 1


def spread_out(dataset):
    """Eight samples of several classes; data sets are sorted by class."""
    return dataset.subset(range(0, len(dataset), max(1, len(dataset) // 8))[:8])


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


WRONG = """
hed = "lda"
lr = -1.0
benchmark = "split_mnist"
[training]
epoch = 5
epochs = 0
[pegp]
energy = 1.5
prject = "step"
[pet]
kind = "lora"
rank = 4
length = 7
"""


def test_everything_wrong_with_a_recipe_is_said_at_once(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / PROTOCOL).write_text((FOLDER / "cifar100" / PROTOCOL).read_text())
    (tmp_path / "t" / "row.toml").write_text(WRONG)
    with pytest.raises(ValueError) as raised:
        load("t", "row", tmp_path)
    message = str(raised.value)
    assert message.startswith(str(tmp_path / "t" / "row.toml"))
    for part in (
        "hed: no such key; did you mean head?",
        "lr: Input should be greater than 0",
        "'split_mnist' is none of ",
        "training.epoch: no such key; did you mean epochs?",
        "pegp.energy: Input should be less than or equal to 1",
        "pegp.prject: no such key; did you mean project?",
        "lora has no length; it has rank, alpha, targets, blocks",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("pet", "message"),
    [
        ({"rank": 4}, "kind=None: must be one of adapter, lora, prefix, prompt"),
        ({"kind": "lora"}, "lora: .*missing 1 required positional argument: 'rank'"),
        ({"kind": "lora", "rank": 0}, "LoRA.rank=0"),
        ({"kind": "prompt", "length": 3, "width": 2}, "prompt has no width; it has length, blocks"),
    ],
)
def test_an_impossible_pet_is_refused(pet, message):
    with pytest.raises(ValueError, match=message):
        make_pet(pet)


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / PROTOCOL).write_text("")
    (tmp_path / "row.toml").write_text("lr = ")
    with pytest.raises(ValueError, match=r"row\.toml or the protocol\.toml beside it is not TOML"):
        load("", "row", tmp_path)


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
    assert file_of(str(tmp_path), "vit.a") == str(tmp_path / "vit.a.npz")
    assert (file_of(None, "vit.a"), file_of(RANDOM, "vit.a")) == (None, RANDOM)
    for tag, count in (("vit.b", 2), ("vit.c", 0)):
        with pytest.raises(ValueError, match=rf"has {count} files {tag}"):
            file_of(str(tmp_path), tag)
