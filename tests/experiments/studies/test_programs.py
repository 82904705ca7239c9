"""The programs of many runs: what they ask for, and what they write of it."""

from __future__ import annotations

import importlib
import re
import shlex
from collections import Counter
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from runs import parts, resumable
from runs.methods import METHODS, PETS, VIT
from studies import ablation, results, search, sections, sweep_energy

from avl_pegp.evaluation import Record
from avl_pegp.pet import trainable_tensors

PROGRAMS = (results, ablation, search, sweep_energy)
MARKS = "<!-- results: begin -->\nold\n<!-- results: end -->"


@pytest.fixture
def asked(monkeypatch, tmp_path, record, launch):
    """Run a program that writes below ``tmp_path`` only, on made-up records; the jobs it asked for."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(f"before\n{MARKS}\nafter\n")
    monkeypatch.setattr(results, "README", tmp_path / "README.md")
    monkeypatch.setattr(results, "PAGE", tmp_path / "docs" / "results.md")
    monkeypatch.setattr(ablation, "PAGE", tmp_path / "docs" / "ablation.md")
    monkeypatch.setattr(sweep_energy, "FIGURE", tmp_path / "docs" / "energy.png")

    def run(program, *flags):
        found = []

        def made_up(jobs, recipes, folder, workers):
            found.extend(jobs)
            return [made_of(job, record) for job in jobs]

        monkeypatch.setattr(resumable, "complete", made_up)
        launch(program, tmp_path, *flags)
        return found

    return run


def made_of(job, record) -> Record:
    """A record whose numbers follow from its names."""
    accuracy = 0.4 + 0.3 * (job.method == "pegp") + 0.01 * job.seed
    forgetting = 0.3 * (job.method == "plain") + 0.01 * (job.method == "pegp")
    fields = {name: getattr(job, name) for name in ("setting", "benchmark", "head")}
    return record(job.pet, job.method, job.seed, accuracy, forgetting, **fields)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_runs_are_well_formed_and_have_names_of_their_own(asked, program):
    jobs = asked(program, "--seeds", "1", "2")
    assert {job.seed for job in jobs} == {1, 2}
    assert max(Counter(job.label for job in jobs).values()) == 1
    for job in jobs:
        setting = importlib.import_module(job.setting)
        method = job.does
        assert callable(setting.run)
        assert job.benchmark in setting.BENCHMARKS
        assert job.head in VIT.heads
        assert (job.pet in PETS) if method.has_pet else (job.pet == "none")
        assert job.boundaries or not method.baseline
        assert not (method.refit and job.head == "linear")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.long
def test_every_run_has_a_model_that_pegp_accepts(asked, program):
    rows = {(job.pet, job.method): job for job in asked(program, "--seeds", "1")}
    for job in rows.values():
        model, plugin = parts.tuned_model(job, ["a class"] * 3), parts.pegp_of(job)
        assert trainable_tensors(model)
        if plugin is not None:
            plugin.pegp.model = model
            plugin.pegp.begin([0])  # refuses what no condition covers


def test_results_asks_for_every_pet_and_control_of_every_section_on_every_seed(asked):
    jobs = asked(results, "--seeds", "1", "2", "3")
    assert len(jobs) == 3 * sum(rows_of(section) for section in results.SECTIONS)
    for section in results.SECTIONS:
        rows = {(job.pet, job.method) for job in section.jobs([1])}
        basic = {(pet, method) for pet in PETS for method in ("plain", "first_session", "pegp")}
        assert rows >= basic | {("none", "frozen")}
        assert {method for _, method in rows} >= {*section.controls}
        trained = {(pet, method) for pet, method in rows - basic if METHODS[method].has_pet}
        assert {pet for pet, _ in trained} == {"lora"}


def rows_of(section):
    with_pet = [METHODS[control].has_pet for control in section.controls]
    return 1 + with_pet.count(False) + 3 * len(PETS) + with_pet.count(True)


@pytest.mark.parametrize("section", results.SECTIONS, ids=lambda section: section.title)
def test_the_command_of_a_section_asks_for_the_same_setting(section, monkeypatch, launch, tmp_path):
    _, script, *flags = shlex.split(section.command.replace("\\\n", ""))
    setting = importlib.import_module(Path(script).stem)
    ran = []
    monkeypatch.setattr(setting, "run_all", lambda jobs, *_: ran.extend(jobs))
    out = flags.index("--out")
    launch(setting, tmp_path / "out", *flags[:out], *flags[out + 2 :])
    assert {job.method for job in ran} == {job.method for job in section.jobs([1])}
    varied, without_flags = {"pet", "method", "seed", "does", "tuning"}, {"options"}
    for name in {field.name for field in fields(section.job)} - varied - without_flags:
        assert all(getattr(job, name) == getattr(section.job, name) for job in ran), name


def test_the_results_page_has_every_section_pet_and_method(asked, tmp_path):
    asked(results, "--seeds", "4", "5")
    page = (tmp_path / "docs" / "results.md").read_text()
    opening, *sections = re.split(r"^## ", page, flags=re.M)
    assert "seeds 4, 5" in opening
    for section, text in zip(results.SECTIONS, sections, strict=True):
        assert text.startswith(section.title)
        assert section.flags in text
        rows = re.findall(r"^\| (\w+) \| ([a-z]\w+) \|", text, flags=re.M)[1:]
        assert sorted(rows) == sorted((job.pet, job.method) for job in section.jobs([4]))
        assert "No row lies above PEGP" in text
        for pet in PETS:  # made up: 1 and 30 points
            assert f"| {pet} | 1.0 ± 0.0 | 30.0 ± 0.0 | 0.03 |" in text
    for method in {job.method for section in results.SECTIONS for job in section.jobs([4])}:
        stem, _, change = method.rpartition("_")
        assert method in opening.lower() or (f"`..._{change}`" in opening and stem in METHODS)
    assert list((tmp_path / "docs").glob("*.png"))


def test_the_readme_gets_a_table_between_its_marks_again_and_again(asked, tmp_path):
    asked(results, "--seeds", "4")
    readme = (tmp_path / "README.md").read_text()
    before, table, after = re.split(r"<!-- results: (?:begin|end) -->\n", readme)
    assert (before, after) == ("before\n", "after\n")
    lines = table.strip().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        f"| {section.title}" for section in results.SECTIONS
    ]
    assert "old" not in table
    (tmp_path / "docs" / "results.md").unlink()
    asked(results, "--seeds", "4")
    assert (tmp_path / "README.md").read_text() == readme


def test_the_readme_of_the_repository_has_the_marks():
    readme = Path(__file__).parents[3] / "README.md"
    assert re.findall(r"<!-- results: (\w+) -->", readme.read_text()) == ["begin", "end"]


def test_the_ablation_page_has_every_row_and_explains_every_change(asked, tmp_path):
    asked(ablation, "--seeds", "4", "5")
    page = (tmp_path / "docs" / "ablation.md").read_text()
    assert "seeds 4, 5" in page
    for pet, rows in ablation.ROWS.items():
        for method in rows:
            assert f"| {pet} | {method} |" in page
    used = {method for rows in ablation.ROWS.values() for method in rows}
    assert used == ablation.METHODS.keys()
    explained = "\n".join(re.findall(r"^\| (.*) \| .* \|$", ablation.TEXT, flags=re.M))
    for method in used - METHODS.keys() - {"default"}:
        assert method.partition(",")[0] in explained


@pytest.mark.parametrize(("pet", "free"), [("lora", "A"), ("adapter", "down")])
def test_the_papers_condition_leaves_a_and_down_unprotected_and_nothing_else(pet, free):
    (job,) = sections.template("", "").variants([(pet, "plain")], [1])
    trained = [*trainable_tensors(parts.tuned_model(job, ["a class"] * 2))]
    (pattern,) = ablation.METHODS["up and B only"].pegp["exclude"]
    excluded = [name for name in trained if fnmatchcase(name, pattern)]
    assert excluded == [name for name in trained if free in name.split(".")] != []


def test_search_shows_as_many_candidates_for_each_baseline_and_writes_no_page(asked, capsys):
    jobs = asked(search)
    assert {job.seed for job in jobs} == {*search.SEEDS}
    assert not {*search.SEEDS} & {1, 2, 3}  # those that are reported
    reported = {section.job.options.get("seed", 0) for section in results.SECTIONS}
    assert {job.options["seed"] for job in jobs}.isdisjoint(reported)
    assert {job.benchmark for job in jobs if job.seed != search.SEEDS[0]} == {"shifted_glyphs"}
    once = [job for job in jobs if job.seed != search.SEEDS[0]]
    families = Counter(job.method.split()[0] for job in once if not is_pegp(job))
    per_pet = Counter(job.pet for job in once if is_pegp(job))
    assert set(families.values()) == set(per_pet.values()) == {8}
    assert per_pet.keys() == PETS.keys()
    assert families.keys() == {"plain", "first_session", "l2", "ewc", "lwf"}
    *rows, last = capsys.readouterr().out.splitlines()
    assert len([row for row in rows if row.startswith("| ")]) == 2 * (2 + len(once))
    assert re.fullmatch(r"prompt: (un)?centred 0\.\d+, \d\d\.\d", last)


def is_pegp(job):
    return search.METHODS[job.method].pegp is not None


def test_the_sweep_leaves_a_figure_and_a_table(asked, tmp_path):
    jobs = asked(sweep_energy, "--seeds", "1", "2")
    assert len(jobs) == 2 * len(PETS) * (len(sweep_energy.ENERGIES) + 2)
    assert (tmp_path / "docs" / "energy.png").stat().st_size > 10_000
    lines = (tmp_path / "energy.md").read_text().splitlines()
    assert len(lines) == 2 + len(jobs) / 2


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_folder_of_other_settings_ends_the_program(
    program, monkeypatch, launch, tmp_path, capsys
):
    def refuse(jobs, folder):
        raise ValueError("give another folder")

    monkeypatch.setattr(resumable, "missing_of", refuse)
    with pytest.raises(SystemExit, match="2"):
        launch(program, tmp_path)
    assert "give another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--workers", "0"), "--workers 0: must be at least 1"),
        (("--seeds", "1", "1"), "is asked for twice: give each seed once"),
    ],
)
def test_wrong_flags_of_many_runs_are_refused_before_anything_is_written(
    launch, tmp_path, capsys, flags, message
):
    with pytest.raises(SystemExit, match="2"):
        launch(results, tmp_path / "out", *flags)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(launch, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        launch(results, tmp_path / "out")
    assert "File exists" in capsys.readouterr().err
