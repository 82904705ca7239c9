import hashlib
from pathlib import Path

import pytest
import torch
from timm.models import PretrainedCfg

from avl_pegp.backbones import WeightsError, WeightsSource
from avl_pegp.backbones.timm_vit import address_of, source_in_cache

URL = "https://example.org/some/weights.pth"
HUB = "timm/model"
BOTH = PretrainedCfg(url=URL, hf_hub_id=HUB)


def put(path: Path, content: bytes) -> str:
    """Write a file and give its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def put_in_hub(cache: Path, name: str, content: bytes, revision: str = "main") -> str:
    repository = cache / "models--timm--model"
    put(repository / "refs" / revision, b"01")
    return put(repository / "snapshots" / "01" / name, content)


@pytest.mark.parametrize(
    ("config", "address"),
    [
        (BOTH, "https://huggingface.co/timm/model/resolve/main/model.safetensors"),
        (
            PretrainedCfg(hf_hub_id=f"{HUB}@v2"),
            f"https://huggingface.co/{HUB}/resolve/v2/model.safetensors",
        ),
        (
            PretrainedCfg(hf_hub_id=HUB, hf_hub_filename="a.bin"),
            f"https://huggingface.co/{HUB}/resolve/main/a.bin",
        ),
        (PretrainedCfg(url=URL), URL),
    ],
)
def test_the_address_is_that_of_the_hub_or_the_url(config: PretrainedCfg, address: str) -> None:
    assert address_of(config) == address


@pytest.mark.parametrize(
    ("config", "name", "revision"),
    [
        (BOTH, "pytorch_model.bin", "main"),
        (PretrainedCfg(hf_hub_id=f"{HUB}@v2"), "pytorch_model.bin", "v2"),
        (PretrainedCfg(hf_hub_id=HUB, hf_hub_filename="a.bin"), "a.bin", "main"),
    ],
)
def test_a_file_of_the_hub_is_found(tmp_path: Path, config, name: str, revision: str) -> None:
    digest = put_in_hub(tmp_path, name, b"hub", revision)
    assert source_in_cache(config, "a.b", str(tmp_path)) == WeightsSource("a.b", name, digest)


def test_a_file_in_torchs_folder_is_found(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    digest = put(tmp_path / "checkpoints" / "weights.pth", b"torch")
    source = source_in_cache(PretrainedCfg(url=URL), "a.b", None)
    assert source == WeightsSource("a.b", "weights.pth", digest)


@pytest.mark.parametrize(("old_first", "file"), [("0", "pytorch_model.bin"), ("1", "weights.pth")])
def test_of_two_files_it_is_the_one_that_timm_prefers(
    tmp_path: Path, monkeypatch, old_first: str, file: str
) -> None:
    put_in_hub(tmp_path, "pytorch_model.bin", b"hub")
    put(tmp_path / "weights.pth", b"torch")
    monkeypatch.setenv("TIMM_USE_OLD_CACHE", old_first)
    assert source_in_cache(BOTH, "a.b", str(tmp_path)).file == file


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match="weights of a.b were loaded, but their file is in no cache"
    ):
        source_in_cache(BOTH, "a.b", str(tmp_path))


def test_a_damaged_file_in_the_cache_is_an_error(tmp_path: Path) -> None:
    put_in_hub(tmp_path, "model.safetensors", b"no tensors")
    with pytest.raises(WeightsError, match=r"a\.b were loaded, but .* cannot be read .*remove it"):
        source_in_cache(BOTH, "a.b", str(tmp_path))
