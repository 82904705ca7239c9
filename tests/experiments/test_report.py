"""The report page, read as a browser reads it."""

from __future__ import annotations

import base64
import io
import json
import shlex
import sys
from dataclasses import asdict, replace
from html.parser import HTMLParser

import class_incremental
import online
import pytest
import report
from PIL import Image
from report_settings import command_of
from report_tables import rows_of, table_of

from avl_pegp.evaluation import write_records

#: What the table calls these numbers of a record.
TITLES = {
    "average_accuracy": "final accuracy",
    "forgetting": "forgetting",
    "task_aware_forgetting": "task-aware forgetting",
    "hallucination": "zero-shot hallucination",
    "text_to_image": "zero-shot text to image",
}
HOSTILE = "<script>alert('&')</script>" + "long_name_" * 30


class Page(HTMLParser):
    """Tags with their attributes, the text of table cells, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.text, self.in_cell = [], [], "", False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self.cells.append([dict(attributes).get("class", ""), ""])
            self.in_cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.cells[-1][1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page of these records by folder, written by the program; figures take their time."""

    def make(figures=False, **folders):
        if not figures:
            monkeypatch.setattr(report, "pictures_of", lambda rows, title: [])
        for name, records in folders.items():
            (tmp_path / name).mkdir()
            write_records(records, tmp_path / name / "results.json")
        out = tmp_path / "page.html"
        folders = [str(tmp_path / name) for name in folders]
        monkeypatch.setattr(sys, "argv", ["report.py", *folders, "--out", str(out)])
        report.main()
        return Page(out.read_text(encoding="utf-8"))

    return make


@pytest.fixture
def rows(record):
    """Frozen, plain, joint and PEGP on two seeds."""
    values = {"frozen": 0.5, "plain": 0.3, "pegp": 0.7, "joint": 0.9}
    ranks, drift = {"ranks": {"blocks.0.A": (3, 8)}}, {"drift": {"blocks.0.A": 0.02}}
    return [
        replace(
            record("none" if method == "frozen" else "lora", method, seed, accuracy + seed / 100),
            **(ranks | drift if method == "pegp" else {}),
        )
        for method, accuracy in values.items()
        for seed in (1, 2)
    ]


def test_the_page_needs_nothing_but_itself(page, rows):
    found = page(figures=True, runs=rows)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in found.tags}
    addresses = [a[k] for _, a in found.tags for k in ("src", "href", "srcset", "action") if k in a]
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert "@import" not in found.text
    assert "url(" not in found.text
    assert "http" not in found.text


def test_every_figure_is_an_image_with_words_beside_it(page, rows):
    pictures = page(figures=True, runs=rows).all("img")
    assert len(pictures) == 5  # curves, matrices, plasticity, ranks, drift
    for picture in pictures:
        data = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"))
        with Image.open(io.BytesIO(data)) as image:
            assert image.width > 300
        assert len(picture["alt"]) > 20


def test_all_numbers_are_there_with_the_best_and_the_controls_marked(page, rows):
    found = page(runs=rows)
    cells = [text.strip() for _, text in found.cells]
    for mean in ("51.5", "31.5", "71.5", "91.5"):
        assert f"{mean} ± 0.7" in cells
    assert "+20.0 ± 0.0" in cells  # joint over PEGP
    best = {text.strip() for kind, text in found.cells if "best" in kind.split()}
    assert "71.5 ± 0.7" in best
    assert not {"91.5 ± 0.7", "51.5 ± 0.7"} & best  # joint sees all data: it bounds
    names = [" ".join(text.split()) for text in cells]
    assert {"frozen control", "lora plain control", "lora joint bound", "lora pegp"} <= {*names}
    order = [names.index(name) for name in ("frozen control", "lora plain control", "lora pegp")]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("name", "of_plain", "of_pegp", "best"),
    [
        ("forgetting", 0.4, 0.1, "10.0"),
        ("task_aware_forgetting", 0.1, 0.4, "10.0"),
        ("average_accuracy", 0.4, 0.1, "40.0"),
        ("hallucination", 0.25, 0.125, "12.5"),
        ("text_to_image", 0.25, 0.125, "25.0"),
        ("average_accuracy", 0.4, 0.4, "40.0 40.0"),
    ],
)
def test_the_best_is_the_lowest_of_what_should_be_low(record, name, of_plain, of_pegp, best):
    def run(method, value):
        made = record("lora", method, 1, 0.5)
        if name in ("hallucination", "text_to_image"):
            return replace(made, zero_shot={name: [0.0, value]})
        return replace(made, **{name: value})

    table = table_of(rows_of({"": [run("plain", of_plain), run("pegp", of_pegp)]}))
    column = table.titles.index(TITLES[name])
    marked = [line[column].text for line in table.cells if line[column].best]
    assert " ".join(marked) == best


def test_one_row_is_not_the_best_of_anything(record):
    table = table_of(rows_of({"": [record("lora", "pegp", 1, 0.5)]}))
    assert not any(cell.best for line in table.cells for cell in line)


def test_runs_are_folded_with_their_matrices_and_ranks(page, rows):
    found = page(runs=rows)
    assert len(found.all("details")) == 3 + len(rows)
    assert not any("open" in details for details in found.all("details"))
    assert "  71.0     –\n  71.0  71.0" in found.text
    assert "   3 of    8   2.00e-02  blocks.0.A" in found.text


def test_settings_are_shared_or_told_apart_and_versions_are_there(page, record):
    rows = [
        record("lora", method, 1, 0.5, config={"job": {"options": {}}, "lr": lr, "epochs": 5})
        for method, lr in {"plain": 0.5, "pegp": 0.25}.items()
    ]
    rows = [replace(row, versions={"torch": f"2.{i}"}) for i, row in enumerate(rows)]
    cells = [text.strip() for _, text in page(runs=rows).cells]
    assert cells[cells.index("epochs") + 1] == "5"
    assert cells[cells.index("torch") + 1] == "2.0, 2.1"
    assert cells[cells.index("lr") + 1 :][:4] == ["lora plain", "0.5", "lora pegp", "0.25"]


def test_names_are_shown_as_they_are_and_never_run(page, record):
    rows = [
        record(HOSTILE, HOSTILE, 1, 0.5, benchmark=HOSTILE, config={HOSTILE: HOSTILE}),
        record(HOSTILE, "pegp", 1, 0.5, benchmark=HOSTILE),
    ]
    found = page(figures=True, runs=rows)
    assert not found.all("script")
    assert HOSTILE in found.text


def test_one_seed_is_said_to_have_no_spread(page, rows):
    alone = page(figures=True, runs=[row for row in rows if row.seed == 1])
    assert "One seed: no spread is known" in alone.text
    assert not any("±" in text for _, text in alone.cells)
    assert "71.0" in [text.strip() for _, text in alone.cells]


def test_two_seeds_are_not_said_to_be_one(page, rows):
    assert "One seed" not in page(runs=rows).text


def test_folders_are_compared_in_one_table(page, rows):
    found = page(first=rows, second=[row for row in rows if row.method == "pegp"])
    assert len(found.all("h2")) == 1
    names = [" ".join(text.split()) for _, text in found.cells]
    assert {"lora pegp first", "lora pegp second", "lora plain control first"} <= {*names}


@pytest.mark.parametrize(
    "other",
    [
        {"benchmark": "split_digits"},
        {"setting": "online"},
        {"head": "linear"},
        {"config": {"job": {"options": {"n_experiences": 2}}}},
        {"config": {"job": {"boundaries": False}}},
    ],
    ids=str,
)
def test_what_cannot_be_compared_stands_apart(page, rows, record, other):
    found = page(runs=[*rows, record("lora", "pegp", 1, 0.5, **other)])
    assert len(found.all("h2")) == 2
    links = [a["href"] for a in found.all("a")]
    assert links == [f"#{a['id']}" for a in found.all("h2")]


def test_one_experience_and_a_hundred_are_drawn(page, rows):
    def of(size):
        matrix = [[0.5 if j <= i else None for j in range(size)] for i in range(size)]
        return replace(rows[0], accuracy_matrix=matrix, task_aware_accuracy_matrix=matrix)

    assert len(page(figures=True, runs=[of(1), of(100)]).all("h2")) == 2


def test_a_folder_of_a_program_of_many_runs_is_read(tmp_path, rows):
    for i, row in enumerate(rows):
        write_records([row], tmp_path / f"{i}.json")
    assert len(report.read_folder(tmp_path)) == len(rows)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: None, "holds no records; give a folder with results.json"),
        (lambda folder: (folder / "results.json").write_text("[]"), "holds no records"),
        (lambda folder: folder.rmdir(), "is no folder"),
        (lambda folder: (folder / "results.json").write_text("[{}]"), "results.json does not hold"),
    ],
    ids=["empty", "no run", "absent", "older"],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, spoil, message, monkeypatch, capsys):
    folder = tmp_path / "runs"
    folder.mkdir()
    spoil(folder)
    monkeypatch.setattr(sys, "argv", ["report.py", str(folder), "--out", str(tmp_path / "p.html")])
    with pytest.raises(SystemExit):
        report.main()
    said = " ".join(capsys.readouterr().err.split())
    assert str(folder) in said
    assert message in said
    assert not (tmp_path / "p.html").exists()


def test_a_record_of_an_older_version_is_named_with_what_to_do(tmp_path, rows):
    write_records(rows, tmp_path / "results.json")
    older = json.loads((tmp_path / "results.json").read_text())
    del older[0]["ranks"]
    (tmp_path / "results.json").write_text(json.dumps(older))
    with pytest.raises(ValueError, match="results.json does not hold .*'ranks'.*run it again"):
        report.read_folder(tmp_path)


def test_a_folder_in_which_settings_are_mixed_is_refused(tmp_path, rows):
    write_records([*rows, rows[0]], tmp_path / "results.json")
    with pytest.raises(
        ValueError, match="holds none frozen seed 1 2 times on split_glyphs: runs of"
    ):
        report.parts_of([tmp_path])


@pytest.mark.parametrize("matrix", [[], [[0.5, None]]])
def test_a_matrix_that_is_none_is_refused(tmp_path, rows, matrix):
    write_records([replace(rows[0], accuracy_matrix=matrix)], tmp_path / "results.json")
    with pytest.raises(ValueError, match="accuracy_matrix of none frozen seed 1 is not square"):
        report.read_folder(tmp_path)


FLAGS = [
    (class_incremental, "--methods pegp --no-controls"),
    (class_incremental, "--benchmark shifted_glyphs --head ncm --seeds 1 2 --epochs 1 --lr 0.007"),
    (
        class_incremental,
        "--methods ewc l2 plain_tuned --pet adapter prompt --energy 0.9 --batch-size 8",
    ),
    (class_incremental, "--options train_per_class=3 test_per_class=2 --class-order-seed 4"),
    (online, "--benchmark blurry_glyphs --no-boundaries --every 5"),
    (online, "--weights random"),
]


@pytest.mark.parametrize(("program", "flags"), FLAGS, ids=[flags for _, flags in FLAGS])
def test_a_command_asks_for_the_same_runs_again(
    program, flags, record, tmp_path, launch, monkeypatch
):
    asked = []
    monkeypatch.setattr(program, "run_all", lambda jobs, *rest: asked.append(jobs))
    launch(program, tmp_path, *shlex.split(flags))
    for job in asked[0]:
        command = command_of([made_of(job, record)])
        python, script, *words = shlex.split(command)
        assert (python, script) == ("python", f"experiments/{program.__name__}.py")
        words = words[: words.index("--out")]
        launch(program, tmp_path / "again", *words)
        (again,) = asked[-1]
        assert again == job


def made_of(job, record):
    """The record of a run that was not done."""
    config = {"job": job.described(), "machine": asdict(job.machine)}
    if job.does.has_pet:
        config["lr"] = job.does.lr_factor * job.tuning.lr
    names = {name: getattr(job, name) for name in ("setting", "benchmark", "head")}
    made = record(job.pet, job.method, job.seed, 0.5, config=config, **names)
    return replace(made, backbone=job.backbone)


def test_runs_that_no_flags_can_say_have_no_command(record):
    base = class_incremental.Job("class_incremental", "split_glyphs", pet="lora", method="pegp")
    tuned = base.variants([("lora", "pegp")], [0])[0]
    assert command_of([made_of(tuned, record)])
    other = [
        replace(tuned, method="of_a_recipe"),
        replace(tuned, training=replace(tuned.training, optimizer="sgd")),
        replace(tuned, tuning=tuned.tuning._replace(pegp={"energy": 0.123})),
        replace(tuned, backbone_options={"img_size": 64}),
    ]
    assert [command_of([made_of(job, record)]) for job in other] == [""] * 4
    assert command_of([record("lora", "pegp", 1, 0.5)]) == ""  # an older version told no job
