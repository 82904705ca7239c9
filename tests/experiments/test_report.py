"""The report page, read as a browser reads it."""

from __future__ import annotations

import base64
import io
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import report
from PIL import Image
from reporting import template

from avl_pegp.evaluation import write_records

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
            monkeypatch.setattr(template, "pictures_of", lambda rows, title: [])
        for name, records in folders.items():
            (tmp_path / name).mkdir()
            write_records(records, tmp_path / name / "results.json")
        out = tmp_path / "page.html"
        folders = [str(tmp_path / name) for name in folders]
        monkeypatch.setattr(sys, "argv", ["report.py", *folders, "--out", str(out)])
        report.main()
        return Page(out.read_text(encoding="utf-8"))

    return make


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


def test_every_part_says_which_folders_it_comes_from(page, record, tmp_path):
    def run(benchmark):
        return [record("lora", "pegp", 1, 0.5, benchmark=benchmark)]

    found = page(first=run("split_digits"), second=run("split_glyphs"), third=run("split_digits"))
    digits, glyphs = found.text.split("head · 2 experiences · tiny_vit_32.latin")[-2:]
    assert f"From {tmp_path / 'first'}, {tmp_path / 'third'}\n" in digits
    assert f"From {tmp_path / 'second'}\n" in glyphs


def test_a_folder_given_twice_stands_in_the_page_once(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(template, "pictures_of", lambda rows, title: [])
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    write_records(rows, Path("runs") / "results.json")
    (part,) = template.parts_of([tmp_path / "runs", Path("runs"), Path("runs/../runs")])
    assert len(part.folders) == 1
    assert [row.folder for row in part.rows] == [""] * 4


def test_folders_may_be_given_from_here_and_from_the_root(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(template, "pictures_of", lambda rows, title: [])
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        Path(name).mkdir()
        write_records(rows[:1], Path(name) / "results.json")
    (part,) = template.parts_of([Path("first"), tmp_path / "second"])
    assert part.folders == ["first", str(tmp_path / "second")]
    assert [row.folder for row in part.rows] == ["first", "second"]


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
        even = dict.fromkeys(("accuracy_matrix", "task_aware_accuracy_matrix"), matrix)
        means = ("average_accuracy", "average_incremental_accuracy", "task_aware_average_accuracy")
        lost = ("forgetting", "backward_transfer", "task_aware_forgetting")
        return replace(rows[0], **even, **dict.fromkeys(means, 0.5), **dict.fromkeys(lost, 0.0))

    assert len(page(figures=True, runs=[of(1), of(100)]).all("h2")) == 2


def test_an_older_record_has_all_of_its_page_but_a_command(page, record):
    job = {"training": {"epochs": 7}, "options": {"n_experiences": 2}}  # no template, no transforms
    found = page(runs=[record("none", "frozen", 1, 0.5, config={"job": job})])
    cells = [text.strip() for _, text in found.cells]
    assert cells[cells.index("job.training.epochs") + 1] == "7"
    assert "No row has a command" in found.text
    assert "or another version" in found.text
