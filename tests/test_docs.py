"""The programs in the documentation run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.long
def test_the_page_on_hugging_face_runs_and_finds_the_classifier(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "hugging_face.md").read_text(), re.S)
    torch.manual_seed(0)
    names: dict = {}
    exec(compile(block, "hugging_face.md", "exec"), names)
    assert "classifier.modules_to_save.default" in capsys.readouterr().out
    assert names["plugin"].pegp.memory.experiences == 2
    assert max(names["plugin"].drift().values()) <= 1e-4
