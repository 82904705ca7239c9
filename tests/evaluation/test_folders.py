"""A place of results is one program's at a time, whatever becomes of that program."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from avl_pegp.evaluation import alone_at, folders, prepare_folder
from avl_pegp.evaluation.folders import LOCK

HOLD = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("folders", {source!r})
folders = importlib.util.module_from_spec(spec)
spec.loader.exec_module(folders)  # without the package, which takes its time to import
with folders.alone_at(Path(sys.argv[1]), file=sys.argv[2] == "file"):
    print("held", flush=True)
    sys.stdin.read()
    {then}
"""


@pytest.fixture
def holder():
    """Start a program that holds a place until its input ends, and then does something."""
    started = []

    def start(place, kind="folder", then="pass"):
        program = [
            sys.executable,
            "-c",
            HOLD.format(source=folders.__file__, then=then),
            str(place),
            kind,
        ]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(program, text=True, **pipes)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_place_that_another_program_holds_is_refused_until_it_ends(holder, tmp_path, kind):
    place = tmp_path / "out"
    process = holder(place, kind)
    for spelled in (place, tmp_path / "sub" / ".." / "out"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with (
            pytest.raises(
                ValueError, match=f"--out {re.escape(str(spelled))}: another program works"
            ),
            alone_at(spelled, file=kind == "file"),
        ):
            pytest.fail("two programs at one place")
    if kind == "folder":
        with pytest.raises(ValueError, match="another program works there; wait until it ends"):
            prepare_folder(place)
    process.communicate("")
    with alone_at(place, file=kind == "file"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == (
        ["out", "sub"] if kind == "folder" else ["sub"]
    )
    assert kind == "file" or prepare_folder(place) == place


def test_a_place_is_free_after_an_error(holder, tmp_path):
    process = holder(tmp_path / "out", then="raise RuntimeError('power cut')")
    assert "power cut" in process.communicate("")[1]
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(KeyError), alone_at(tmp_path / "out"):
        raise KeyError
    with alone_at(tmp_path / "out"):
        pass


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_place_is_free_after_a_program_was_killed(holder, tmp_path, how):
    out = tmp_path / "out"
    process = holder(out)
    os.kill(process.pid, how)
    process.wait(timeout=30)
    assert prepare_folder(out) == out  # a lock that was left is no other file
    with alone_at(out):
        assert [path.name for path in out.iterdir()] == [LOCK]
    assert list(out.iterdir()) == []


def test_other_places_are_free(holder, tmp_path):
    holder(tmp_path / "out")
    for other in (tmp_path, tmp_path / "out" / "below", tmp_path / "out2"):
        with alone_at(other):
            pass
    with alone_at(tmp_path / "out", file=True):  # the folder's name as that of a file
        pass


def test_a_file_in_a_folder_that_is_not_there_cannot_be_written(tmp_path):
    with (
        pytest.raises(ValueError, match=r"page.html: can't be written .*; choose another"),
        alone_at(tmp_path / "nowhere" / "page.html", file=True),
    ):
        pytest.fail("no such folder")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_accepted_and_a_new_one_made(tmp_path):
    assert prepare_folder(tmp_path) == tmp_path
    assert prepare_folder(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "results.json").touch()
    with pytest.raises(ValueError, match="it holds other files"):
        prepare_folder(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="can't be written"):
            prepare_folder(place)
