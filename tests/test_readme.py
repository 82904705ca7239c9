"""What the README shows must exist: names, commands, files."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

from avl_pegp import create_clip

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PETS = ("lora", "adapter", "prefix", "prompt")
README = (ROOT / "README.md").read_text()


BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def in_the_table(title: str, column: str) -> tuple[float, float]:
    """Mean and standard deviation of a cell of the README's table, as shares."""
    head, _, *rows = re.search(r"results: begin -->\n(.*?)<!--", README, re.S)[1].splitlines()
    at = [name.strip() for name in head.split("|")].index(column)
    (row,) = [row.split("|") for row in rows if title in row]
    mean, spread = (float(number) / 100 for number in row[at].split("±"))
    return mean, spread


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_the_first_block_to_the_letter_gives_what_the_table_says(seed, capsys):
    torch.manual_seed(seed)
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    last = capsys.readouterr().out.splitlines()[-1]
    mean, spread = in_the_table("five experiences of two real digits", "pegp")
    frozen, _ = in_the_table("five experiences of two real digits", "frozen")
    assert abs(float(last) - mean) <= 2 * spread
    assert 0.8 < frozen < mean  # or the comparison would say nothing


@pytest.mark.long
def test_the_first_block_forgets_without_masks_and_statistics():
    (claimed,) = re.findall(r"without the two, the same model ends at (0\.\d+)", README)
    code = BLOCKS[0].replace("MaskedCrossEntropy(),", "torch.nn.CrossEntropyLoss(),")
    code = code.replace(", ClassStatisticsPlugin()]", "]")
    torch.manual_seed(0)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert not any("Statistics" in type(p).__name__ for p in names["strategy"].plugins)
    (ends,) = [
        value for name, value in names["results"].items() if name.startswith("Top1_Acc_Stream")
    ]
    assert abs(ends - float(claimed)) <= 0.05


@pytest.mark.long
def test_the_block_of_clip_runs_but_for_the_download():
    code = BLOCKS[1].replace('pretrained="openai"', "pretrained=False")
    assert code != BLOCKS[1]
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["model"](torch.zeros(1, 3, 224, 224)).shape == (1, 2)


def test_the_tiny_clip_has_words_for_the_names_that_it_is_shown_with():
    (call,) = re.findall(r"`create_clip\((\"tiny.*?)\)`", README)
    model = eval(f"create_clip({call})", {"create_clip": create_clip})
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_the_loop_without_avalanche_keeps_old_answers():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    old, new = torch.eye(6)[:4].split(2)
    answers = []

    def experiences():
        for x, classes in ((old, {0, 1}), (new, {0, 1, 2, 3})):
            answers.append((model(old)[:, :2].detach(), model(new).detach()))
            yield [(x, torch.tensor(sorted(classes)[-2:]))], classes

    names = {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters(), lr=0.1),
        "loss": torch.nn.functional.cross_entropy,
        "experiences": experiences(),
    }
    exec(compile(BLOCKS[2].replace("0.97", "1.0"), "README.md", "exec"), names)
    torch.testing.assert_close(model(old)[:, :2], answers[1][0])
    assert (model(new) - answers[1][1]).norm() > 1e-2


def test_the_settings_and_metrics_that_are_shown_can_be_made():
    names: dict = {}
    exec(compile(BLOCKS[3], "README.md", "exec"), names)
    names["plugin"] = names["PEGPPlugin"]()
    exec(compile(BLOCKS[4], "README.md", "exec"), names)
    assert len(names["metrics"]) == 4


def cells_of(page: str) -> list[list[str]]:
    """The rows of a page's tables."""
    lines = (DOCS / page).read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in lines
        if line[:1] == "|"
    ]


def test_the_table_is_that_of_the_results_page():
    sections = (DOCS / "results.md").read_text().split("\n## ")[1:]
    for section in sections:
        title = section.splitlines()[0]
        for pet, method in (
            ("none", "frozen"),
            ("lora", "plain"),
            ("lora", "pegp"),
            ("lora", "joint"),
        ):
            (final,) = re.findall(rf"^\| {pet} \| {method} \| (\S+) ± (\S+) \|", section, re.M)
            assert in_the_table(title, method) == tuple(float(number) / 100 for number in final)
    assert len(sections) == 8


def test_pegp_forgets_at_most_a_tenth_of_what_plain_tuning_does():
    shares = [float(row[3]) for row in cells_of("results.md") if len(row) == 7 and row[0] in PETS]
    assert len(shares) == 8 * len(PETS)
    assert max(shares) <= 0.1


def test_the_numbers_on_clip_are_those_of_its_page():
    page = (DOCS / "clip_results.md").read_text()
    named, _, domains = page.split("\n## ")[1:4]
    below, references, above = (
        re.search(rf"{words}.*?(\d\.\d ± \d\.\d)", README, re.S)[1]
        for words in ("in changing domains, it", "with references", "LoRA under PEGP ends")
    )
    assert re.search(rf"^\| lora \| plain_tuned \|.*\+{below} \|$", named, re.M)
    assert re.search(rf"^\| lora \| pegp_references \|.*\+{references} \|", named, re.M)
    assert re.search(rf"^\| lora \| plain_tuned \|.*-{above} \|$", domains, re.M)


@pytest.mark.parametrize("block", BLOCKS)
def test_code_parses_and_its_imports_exist(block):
    imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        module = import_module(node.module)
        assert all(hasattr(module, alias.name) for alias in node.names)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([\w-]+)", README, re.M):
        assert f"\n{target}:" in makefile


def test_linked_files_and_recipes_exist():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    recipes = re.findall(r"python (experiments/\S+\.py)", README)
    assert links
    assert recipes
    for path in (*links, *recipes):
        assert (ROOT / path).is_file(), path
