"""What a run leaves for TensorBoard, read back from its event files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from runs import parts
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVERYTHING = {"scalars": 0, "images": 0, "histograms": 0, "compressedHistograms": 1}
TRAIN, EVAL = "train_phase/train_stream", "eval_phase/test_stream"


@pytest.fixture
def plugins(monkeypatch):
    """PEGP's, of the runs so far."""
    made, make = [], parts.pegp_of

    def noted(job):
        made.append(make(job))
        return made[-1]

    monkeypatch.setattr(parts, "pegp_of", noted)
    return made


def events_in(folder):
    return EventAccumulator(str(folder), size_guidance=EVERYTHING).Reload()


def test_a_run_leaves_every_number_histogram_and_image(recipe, plugins, tmp_path):
    """Of two experiences of six iterations; the one look is at the first of the second."""
    flags = ("--no-controls", "--epochs", "2", "--benchmark", "split_glyphs")
    (record,) = recipe("class_incremental", tmp_path, *flags)
    events = events_in(tmp_path / "tensorboard" / "lora-pegp-seed0")
    past = plugins[0].pegp.past
    assert past.memories.keys() == record.ranks.keys()
    expected = {metric: {} for metric in ("Rank", "FreeDimensions", "CapturedEnergy", "Drift")}
    for site, memory in past.memories.items():
        d = memory.reference.shape[-1]
        U, C = memory.bases[0].columns.numpy(), memory.moment.matrix[0].numpy()
        mean, count = C[-1, :d] / C[-1, -1], C[-1, -1]
        C = C[:d, :d] - count * np.outer(mean, mean)  # the PETs' protection is centred
        expected["Rank"][site] = U.shape[1]
        expected["FreeDimensions"][site] = d - U.shape[1]
        expected["CapturedEnergy"][site] = np.trace(U.T @ C @ U) / np.trace(C)
        expected["Drift"][site] = memory.changed / memory.output_energy
        spectrum = events.Histograms(f"SingularValues/{TRAIN}/{site}")[-1].histogram_value
        values = np.linalg.eigvalsh(memory.moment.of_width(d)[0].numpy())
        assert spectrum.max == pytest.approx(np.log10(values[-1]) / 2)
        assert spectrum.num == (values > d * np.finfo(float).eps * values[-1]).sum()
    for metric, by_site in expected.items():
        for site, value in by_site.items():
            logged = [event.value for event in events.Scalars(f"{metric}/{TRAIN}/{site}")]
            assert logged[-1] == pytest.approx(value, rel=1e-5, abs=1e-9), (metric, site)
        assert events.Scalars(f"{metric}/{TRAIN}")
    for metric in ("RemovedShare", "RemovedGradientShare", "Leak"):
        for site in ("", *(f"/{site}" for site in past.memories)):
            (event,) = events.Scalars(f"{metric}/{TRAIN}{site}")
            assert event.step == 6 and 0 < event.value < (1e-3 if metric == "Leak" else 1)
    for tag in (f"RankGrowth/{TRAIN}", f"DriftOverTime/{TRAIN}", f"AccuracyMatrix/{EVAL}"):
        images = events.Images(tag)
        assert len(images) == 2
        for image in images:
            decoded = Image.open(io.BytesIO(image.encoded_image_string))
            assert decoded.convert("RGB").getcolors(9) is None  # more than nine: not a blank one


def test_a_run_without_pegp_leaves_its_accuracy_matrix(recipe, tmp_path):
    recipe("class_incremental", tmp_path, "--no-controls", "--methods", "plain", "--epochs", "1")
    tags = events_in(tmp_path / "tensorboard" / "lora-plain-seed0").Tags()
    assert tags["images"] == [f"AccuracyMatrix/{EVAL}"]
    assert not any(tag.startswith("Rank") for tag in tags["scalars"])
