"""Programs for vision transformers do without the extra that CLIP needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PROGRAMS = (
    "class_incremental",
    "task_incremental",
    "domain_incremental",
    "online",
    "studies.ablation",
    "studies.results",
    "studies.search",
    "studies.sweep_energy",
    "studies.benchmark_inspection",
    "studies.inspection",
    "reproduce",
    "report",
)
CODE = f"""
import sys
sys.modules["open_clip"] = None  # as if it were not installed
sys.path.insert(0, {str(EXPERIMENTS)!r})
import {", ".join(PROGRAMS)}
from runs.job import Job
from runs.parts import model_of
print(type(model_of(Job("", "", weights="random"), ["a", "b"])).__name__)
"""


@pytest.mark.long
def test_programs_start_and_vision_transformers_are_built_without_open_clip():
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("VisionTransformer\n", "")
