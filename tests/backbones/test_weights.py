"""Weights in files: what comes back, and what is refused."""

import argparse
import hashlib
import os
import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from avl_pegp.backbones import WeightsError, WeightsSource, create_vit
from avl_pegp.backbones.weights import read_local_weights

OPTIONS = {"num_classes": 4, "depth": 1, "img_size": 48}
TAG = "test_vit.r160_in1k"
HEAD = ("head.weight", "head.bias")


def save_torch(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path)


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "bare": lambda tensors: tensors,
    "state_dict": lambda tensors: {"state_dict": tensors, "epoch": 3},
    "model": lambda tensors: {"model": tensors, "args": argparse.Namespace(lr=1.0)},
    "model in state_dict": lambda tensors: {"state_dict": {"model": tensors}},
    "ddp": lambda tensors: {f"module.{name}": value for name, value in tensors.items()},
}


def assert_all_but_the_head_is(model: torch.nn.Module, state: dict[str, Tensor]) -> None:
    for name, value in model.state_dict().items():
        if name in HEAD:
            assert value.shape[0] == 4
        else:
            assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_a_torch_file_comes_back_but_for_its_head(
    state, tmp_path: Path, wrapping: str, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(WRAPPINGS[wrapping](state), path)
    model = create_vit("test_vit", pretrained=path, **OPTIONS)
    assert_all_but_the_head_is(model, state)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.weights_source == WeightsSource(TAG, path.name, digest, HEAD)


def test_a_safetensors_file_comes_back_but_for_its_head(state, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    model = create_vit("test_vit", pretrained=str(path), **OPTIONS)
    assert_all_but_the_head_is(model, state)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.weights_source.sha256 == digest
    assert set(model.weights_source.dropped) == set(HEAD)


def npz(tensors: dict[str, Tensor], path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in tensors.items()})


SAVERS = {
    ".safetensors": safetensors.torch.save_file,
    ".pth": save_torch,
    ".npz": npz,
}


@pytest.mark.parametrize("suffix", SAVERS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_as_damaged(
    state, tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / f"weights{suffix}"
    SAVERS[suffix](state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match=r"damaged, cut short .*copy or download it again") as c:
        create_vit("test_vit", pretrained=path, **OPTIONS)
    assert str(path) in str(c.value)


@pytest.mark.parametrize("suffix", SAVERS)
def test_a_file_with_something_else_in_it_is_refused_as_damaged(tmp_path: Path, suffix) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(b"<html>404: not found</html>" * 9)
    with pytest.raises(WeightsError, match="damaged"):
        create_vit("test_vit", pretrained=path, **OPTIONS)


@pytest.mark.parametrize("suffix", SAVERS)
def test_an_empty_file_is_refused_as_empty(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.touch()
    with pytest.raises(WeightsError, match="is empty: copy or download it again"):
        create_vit("test_vit", pretrained=path, **OPTIONS)


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot read the weights file .*gone\.pth: .*No such"):
        create_vit("test_vit", pretrained=tmp_path / "gone.pth", **OPTIONS)


@pytest.mark.parametrize("name", ["weights.ckpt", "weights", "True"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=r"read from \.safetensors, \.pth, \.pt, \.bin, \.npz"):
        create_vit("test_vit", pretrained=tmp_path / name, **OPTIONS)


class Intruder:
    """Unpickled, it leaves a folder behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def in_a_checkpoint(intruder: Intruder, path: Path) -> None:
    torch.save({"model": {}, "extra": intruder}, path)


def in_a_plain_pickle(intruder: Intruder, path: Path) -> None:
    path.write_bytes(pickle.dumps(intruder, protocol=2))


def in_a_newer_pickle(intruder: Intruder, path: Path) -> None:
    path.write_bytes(pickle.dumps(intruder, protocol=4))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4:UserWarning")
@pytest.mark.parametrize(
    ("hide", "what"),
    [
        (in_a_checkpoint, r"posix\.mkdir"),
        (in_a_plain_pickle, r"posix\.mkdir"),
        (in_a_newer_pickle, "more than tensors, or is damaged"),
    ],
)
def test_code_in_a_checkpoint_is_not_run_and_the_remedy_is_told(
    tmp_path: Path, hide, what: str
) -> None:
    path = tmp_path / "weights.pth"
    hide(Intruder(tmp_path / "trace"), path)
    remedy = rf"holds {what}; .*save its tensors with safetensors\.torch\.save_file"
    with pytest.raises(WeightsError, match=remedy):
        create_vit("test_vit", pretrained=path, **OPTIONS)
    assert not (tmp_path / "trace").exists()
    with path.open("rb") as file:  # the trap is real
        inside = zipfile.ZipFile(file) if zipfile.is_zipfile(file) else None
        content = inside.read("weights/data.pkl") if inside else path.read_bytes()
    pickle.load(BytesIO(content))
    assert (tmp_path / "trace").exists()


def test_code_in_an_npz_file_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    with path.open("wb") as file:
        np.savez(file, cls=np.array([Intruder(tmp_path / "trace")], dtype=object))
    with pytest.raises(WeightsError, match="allow_pickle=False"):
        create_vit("test_vit", pretrained=path, **OPTIONS)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "holds a Tensor: it must hold tensors by their names"),
        ({"model": [1, 2]}, "holds a list"),
        ({"student": {"a": torch.zeros(1)}, "epoch": 3}, r"'student' \(dict\), 'epoch' \(int\)"),
    ],
)
def test_a_checkpoint_without_named_tensors_is_refused(tmp_path, content, message: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        create_vit("test_vit", pretrained=path, **OPTIONS)


def test_a_bad_file_costs_no_random_numbers(tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with pytest.raises(WeightsError):
        create_vit("test_vit", pretrained=tmp_path / "gone.pth", **OPTIONS)
    assert torch.equal(torch.rand(3), expected)


def test_a_bit_that_has_turned_in_an_archive_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.ones(1000)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(b"\x00\x00\x80\x3f" * 9) + 2002] ^= 4
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged: the checksum of 'weights/data/0'"):
        create_vit("test_vit", pretrained=path, **OPTIONS)


def mutations(content: bytes, count: int) -> list[bytes]:
    """The content cut short, with bytes changed, and with bytes put in."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        at = int(rng.integers(len(content) if i % 2 else min(600, len(content))))
        piece = rng.bytes(int(rng.integers(1, 5)))
        found += [content[:at], content[:at] + piece + content[at + len(piece) :]]
        found.append(content[:at] + piece + content[at:])
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [*SAVERS, "old .pt"])
def test_a_damaged_file_is_refused_and_nothing_else_happens(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix.removeprefix('old ')}"
    tensors = {"cls": torch.ones(1, 1, 8), "norm.bias": torch.zeros(8)}
    if suffix == "old .pt":
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
    else:
        SAVERS[suffix](tensors, path)
    refused = 0
    for content in mutations(path.read_bytes(), 25):
        path.write_bytes(content)
        try:
            read_local_weights(path)
        except WeightsError:
            refused += 1
    assert refused > 25


def test_a_folder_and_a_pipe_are_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    os.mkfifo(tmp_path / "pipe.pth")
    for name in ("folder.pth", "pipe.pth"):
        with pytest.raises(WeightsError, match=f"{name} is a folder or a device"):
            read_local_weights(tmp_path / name)


def test_a_path_that_no_system_takes_is_refused() -> None:
    with pytest.raises(WeightsError, match="cannot read the weights file"):
        read_local_weights(Path("a\0b.pth"))


def test_the_index_of_a_sharded_file_says_that_its_files_are_to_be_joined(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    with pytest.raises(WeightsError, match="from the files that it lists, joined into one of"):
        read_local_weights(path)


def test_a_link_is_followed(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "blob")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "blob")
    assert read_local_weights(tmp_path / "link.safetensors").tensors["w"] == 1
