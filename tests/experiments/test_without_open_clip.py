"""Programs for vision transformers do without the extra that CLIP needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PROGRAMS = (
    "class_incremental",
    "task_incremental",
    "domain_incremental",
    "online",
    "ablation",
    "results",
    "search",
    "sweep_energy",
    "benchmark_inspection",
    "reproduce",
    "report",
)
CODE = f"""
import sys
sys.modules["open_clip"] = None  # as if it were not installed
sys.path.insert(0, {str(EXPERIMENTS)!r})
import {", ".join(PROGRAMS)}
from job import Job
print(type(Job("", "", weights="random").model(["a", "b"])).__name__)
"""


def test_programs_start_and_vision_transformers_are_built_without_open_clip():
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("VisionTransformer\n", "")
