"""Files of weights for CLIP: what comes back, and what is refused."""

import hashlib
import os
import warnings
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch
from torch import Tensor

from avl_pegp.backbones import WeightsError, WeightsSource, create_clip
from avl_pegp.backbones.clip import loading
from avl_pegp.backbones.tiny_clip import TINY_CLIP, WEIGHTS_FILE, WEIGHTS_SHA256

NAMES = ["capital a", "capital b"]
SMALL = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 1, "width": 64, "image_size": 32},
    "text_cfg": {"layers": 1, "width": 64, "heads": 2, "vocab_size": 49408},
}
TOWER_OF_TIMM = {
    "embed_dim": 64,
    "vision_cfg": {"timm_model_name": "test_vit", "image_size": 160},
    "text_cfg": {"layers": 1, "width": 64, "heads": 2},
}


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return create_clip("ViT-B-32", NAMES, **SMALL).clip.state_dict()


def save_torch(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save({"state_dict": {f"module.{k}": v for k, v in tensors.items()}, "epoch": 3}, path)


SAVERS = {
    ".safetensors": safetensors.torch.save_file,
    ".pth": save_torch,
    ".pt": torch.save,
    ".bin": torch.save,
}


@pytest.mark.parametrize("suffix", SAVERS)
def test_a_file_comes_back_whole(state, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    SAVERS[suffix](state, path)
    model = create_clip("ViT-B-32", NAMES, pretrained=str(path), **SMALL)
    assert all(torch.equal(value, state[name]) for name, value in model.clip.state_dict().items())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.weights_source == WeightsSource("ViT-B-32", path.name, digest)


def test_the_tiny_clip_takes_a_file_with_the_rows_in_use_or_with_all(tmp_path: Path) -> None:
    shipped = create_clip(TINY_CLIP, NAMES, pretrained=True)
    whole = tmp_path / "whole.safetensors"
    safetensors.torch.save_file(shipped.clip.state_dict(), whole)
    for path in (WEIGHTS_FILE, whole):
        state = create_clip(TINY_CLIP, NAMES, pretrained=path).clip.state_dict()
        assert all(torch.equal(v, state[k]) for k, v in shipped.clip.state_dict().items())
    assert shipped.weights_source.sha256 == WEIGHTS_SHA256


def test_older_names_of_the_text_tower_and_another_shape_of_the_scale_are_understood(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    state = create_clip("MobileCLIP-B", NAMES, **TOWER_OF_TIMM).clip.state_dict()
    older = {name.removeprefix("text."): value for name, value in state.items()}
    path = tmp_path / "weights.pth"
    torch.save({**older, "logit_scale": older["logit_scale"].view(1)}, path)
    model = create_clip("MobileCLIP-B", NAMES, pretrained=path, **TOWER_OF_TIMM).clip
    assert "text.text_projection" in state
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_numbers_of_openais_files_are_dropped_and_halves_are_taken(state, tmp_path: Path) -> None:
    numbers = {"input_resolution": 32, "context_length": 77, "vocab_size": 49408}
    path = tmp_path / "weights.safetensors"
    halves = {name: value.half() for name, value in state.items()}
    safetensors.torch.save_file(
        {**halves, **{name: torch.tensor(value) for name, value in numbers.items()}}, path
    )
    model = create_clip("ViT-B-32", NAMES, pretrained=path, **SMALL)
    assert model.weights_source.dropped == tuple(numbers)
    for name, value in model.clip.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, halves[name].float())


def test_a_file_of_another_architecture_is_refused_with_the_first_differing_keys(
    state, tmp_path: Path
) -> None:
    state["visual.proj"] = torch.zeros(64, 31)
    state["head.weight"] = torch.zeros(2, 64)
    del state["ln_final.bias"]
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match="does not fit ViT-B-32: ") as caught:
        create_clip("ViT-B-32", NAMES, pretrained=path, **SMALL)
    for part in (
        "1 missing (ln_final.bias (64,))",
        "1 unexpected (head.weight (2, 64))",
        "1 of another shape (visual.proj (64, 31) for (64, 32))",
        "with open_clip's names",
    ):
        assert part in str(caught.value)


def test_a_vision_transformer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"cls_token": torch.zeros(1, 1, 64), "head.weight": torch.zeros(2, 64)}, path)
    with pytest.raises(WeightsError, match=r"missing .*2 unexpected \(cls_token .*head\.weight"):
        create_clip("ViT-B-32", NAMES, pretrained=path, **SMALL)


class Intruder:
    """Unpickled, it leaves a folder behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_code_in_a_file_is_not_run(state, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({**state, "extra": Intruder(tmp_path / "trace")}, path)
    with pytest.raises(WeightsError, match=r"holds posix\.mkdir; .*safetensors\.torch\.save_file"):
        create_clip("ViT-B-32", NAMES, pretrained=path, **SMALL)
    assert not (tmp_path / "trace").exists()
    torch.load(path, weights_only=False)  # the trap is real
    assert (tmp_path / "trace").exists()


def test_a_torchscript_archive_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; OpenAI's files stay as they are
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(WeightsError, match=r"TorchScript archive.*pretrained='openai'"):
        create_clip("ViT-B-32", NAMES, pretrained=path, **SMALL)


@pytest.mark.parametrize("name", ["weights.npz", "weights.ckpt", "weights"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=r"read from \.safetensors, \.pt, \.pth, \.bin$"):
        create_clip("ViT-B-32", NAMES, pretrained=tmp_path / name, **SMALL)


def test_a_tag_stands_for_the_file_that_open_clip_has_for_it(
    state, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "open_clip_model.safetensors"
    safetensors.torch.save_file(state, path)
    asked = []
    monkeypatch.setattr(
        open_clip, "download_pretrained", lambda cfg: asked.append(cfg) or str(path)
    )
    model = create_clip("ViT-B-32", NAMES, pretrained="laion2b_s34b_b79k", **SMALL)
    assert asked == [open_clip.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")]
    assert torch.equal(model.clip.visual.proj, state["visual.proj"])
    assert model.weights_source.tag == "ViT-B-32.laion2b_s34b_b79k"
    assert model.weights_source.file == path.name


@pytest.mark.parametrize("error", [FileNotFoundError("no net"), RuntimeError("checksum")])
def test_a_failed_download_says_where_the_file_is(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(config):
        raise error

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    address = "https://huggingface.co/laion/CLIP-ViT-B-32-laion2B-s34B-b79K/"
    with pytest.raises(
        WeightsError, match=rf"{error}.*{address} elsewhere and pass pretrained=FILE"
    ):
        loading.download("ViT-B-32", "laion2b_s34b_b79k")


def test_a_bad_file_costs_no_random_numbers(tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    for name in ("ViT-B-32", TINY_CLIP):
        with pytest.raises(WeightsError):
            create_clip(name, NAMES, pretrained=tmp_path / "gone.pth")
    assert torch.equal(torch.rand(3), expected)


ROWS = torch.ones(2, 64)


@pytest.mark.parametrize(
    ("ids", "rows", "more", "message"),
    [
        (torch.tensor([0, 49408]), ROWS, {}, "1 token_ids outside 0 to 49407"),
        (torch.tensor([-1, 3]), ROWS, {}, "1 token_ids outside"),
        (torch.tensor([3, 3]), ROWS, {}, "1 token_ids more than once"),
        (torch.tensor([0.0, 1.0]), ROWS, {}, "token_ids of torch.float32"),
        (torch.tensor([0, 1, 2]), ROWS, {}, r"token_rows \(2, 64\) for token_ids \(3,\)"),
        (torch.tensor(0), ROWS, {}, r"for token_ids \(\)"),
        (torch.tensor([0, 1]), ROWS, {"token_embedding.weight": ROWS}, "besides token_rows"),
    ],
)
def test_rows_of_tokens_that_are_not_clear_are_refused(
    tmp_path: Path, ids: Tensor, rows: Tensor, more: dict, message: str
) -> None:
    packed = safetensors.torch.load_file(WEIGHTS_FILE)
    path = tmp_path / "weights.pth"
    torch.save({**packed, "token_ids": ids, "token_rows": rows, **more}, path)
    with pytest.raises(WeightsError, match=message):
        create_clip(TINY_CLIP, NAMES, pretrained=path)


def test_an_older_and_a_newer_name_of_one_tensor_are_refused(tmp_path: Path) -> None:
    state = create_clip("MobileCLIP-B", NAMES, **TOWER_OF_TIMM).clip.state_dict()
    path = tmp_path / "weights.pth"
    torch.save({**state, "text_projection": state["text.text_projection"] + 1}, path)
    with pytest.raises(WeightsError, match="text_projection a second time, under 'text.'"):
        create_clip("MobileCLIP-B", NAMES, pretrained=path, **TOWER_OF_TIMM)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to_sparse(), r"visual\.proj \(sparse_coo: to_dense\(\) it"),
        (lambda t: t.to("meta"), r"visual\.proj \(meta"),
        (lambda t: t.int(), r"visual\.proj torch\.int32 for torch\.float32"),
        (lambda t: t * float("nan"), r"visual\.proj at 2048 of 2048"),
    ],
)
def test_tensors_that_hold_no_weights_are_named(state, tmp_path, change, message: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save({**state, "visual.proj": change(state["visual.proj"])}, path)
    with pytest.raises(WeightsError, match=message):
        create_clip("ViT-B-32", NAMES, pretrained=path, **SMALL)
