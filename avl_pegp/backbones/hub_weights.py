"""Weights that timm downloads: which file it took, and what to do where there is none."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from timm.models import PretrainedCfg

from avl_pegp.backbones.checked_weights import WeightsError
from avl_pegp.backbones.local_weights import HEAD
from avl_pegp.backbones.weights_source import WeightsSource

__all__ = ["address_of", "source_in_cache"]

_FILES = ("model.safetensors", "pytorch_model.bin")  # in timm's order


def address_of(config: PretrainedCfg) -> str:
    """Where the weights of a configuration can be downloaded by hand.

    Example:
        >>> address_of(PretrainedCfg(hf_hub_id="timm/vit_base_patch16_224.orig_in21k"))
        'https://huggingface.co/timm/vit_base_patch16_224.orig_in21k/resolve/main/model.safetensors'
    """
    if not config.hf_hub_id:
        return str(config.url)
    repository, _, revision = config.hf_hub_id.partition("@")
    file = config.hf_hub_filename or _FILES[0]
    return f"https://huggingface.co/{repository}/resolve/{revision or 'main'}/{file}"


def source_in_cache(config: PretrainedCfg, tag: str, cache_dir: str | None) -> WeightsSource:
    """The file from which timm has just loaded these weights.

    Args:
        config: timm's configuration of the weights.
        tag: the full name of the model.
        cache_dir: as it was given to timm; ``None`` is the default.

    Raises:
        WeightsError: no cache has the file any more, or the one that is there is damaged.
    """
    path = next((path for path in _places(config, cache_dir) if path.is_file()), None)
    if path is None:
        raise WeightsError(
            f"the weights of {tag} were loaded, but their file is in no cache, so that it can't be "
            f"recorded: download {address_of(config)} and pass pretrained=FILE"
        )
    head: tuple[str, ...] = ()
    if path.suffix == ".safetensors":  # the few weights of timm in other formats have no head
        try:
            with safe_open(path, "pt") as file:
                head = tuple(key for key in file.keys() if HEAD.match(key))  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"the weights of {tag} were loaded, but {path} cannot be read ({error}): remove it "
                "from the cache, so that it is downloaded again"
            ) from error
    return WeightsSource(tag, path.name, hashlib.sha256(path.read_bytes()).hexdigest(), head)


def _places(config: PretrainedCfg, cache_dir: str | None) -> Iterator[Path]:
    """Where timm looks, in its order."""
    url = config.url if isinstance(config.url, str) else ""
    old = Path(cache_dir or f"{torch.hub.get_dir()}/checkpoints") / Path(url).name
    if int(os.environ.get("TIMM_USE_OLD_CACHE", 0)):
        yield old
    repository, _, revision = (config.hf_hub_id or "").partition("@")
    for name in (config.hf_hub_filename,) if config.hf_hub_filename else _FILES:
        if repository:
            found = try_to_load_from_cache(repository, name, cache_dir, revision or None)
            if isinstance(found, str):
                yield Path(found)
    yield old
