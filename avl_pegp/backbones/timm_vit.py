"""Vision transformers of timm: their names, and the weights that these stand for."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from timm.models import PretrainedCfg
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos

from avl_pegp.backbones.registry import VITS, register_vit
from avl_pegp.backbones.state_dicts import WeightsError
from avl_pegp.backbones.weights import HEAD, WeightsSource
from avl_pegp.pet.towers import towers_of
from avl_pegp.pet.trainable import classifier_of

#: What is built: DINOv3, and all with rotary positions, are of the class Eva.
ViT = VisionTransformer | Eva | Beit | VisionTransformerRelPos

_OTHER_SOURCES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")


@register_vit("*")
def create_timm_vit(name: str, num_classes: int, pretrained: bool = False, **options: Any) -> ViT:
    """Build a vision transformer of timm with a new head; see ``create_vit``.

    Args:
        name: as timm has it; the tag that is taken where it has none is in
            ``model.weights_source`` and ``model.pretrained_cfg``.
        num_classes: outputs of the head, at least 1.
        pretrained: load the weights of the tag, downloaded once into the cache of the Hugging Face
            hub.
        options: of ``timm.create_model``, but for those that name weights.

    Raises:
        ValueError: an unknown name, one that changed its meaning, one without weights, or an option
            that names weights.
        TypeError: the model is of no class of ``ViT``, or of a form that ``attach`` does not take.
        WeightsError: the weights are not in the cache and can't be downloaded.

    Example:
        >>> model = create_timm_vit("vit_tiny_patch16_224", num_classes=3, depth=1)
        >>> model.weights_source.tag
        'vit_tiny_patch16_224.augreg_in21k_ft_in1k'
    """
    check_name(name)
    for option in _OTHER_SOURCES:
        if option in options:
            raise ValueError(
                f"{option}={options[option]!r}: weights are named by pretrained alone, so that "
                "their source is on record; pass pretrained=FILE"
            )
    config = timm.models.get_pretrained_cfg(name) or PretrainedCfg()
    if pretrained and not config.has_weights:
        known = timm.list_models(f"{name.split('.')[0]}.*", pretrained=True)
        raise ValueError(
            f"name={name!r} stands for no weights; choose from {', '.join(known) or 'other names'}, "
            "or pass pretrained=FILE"
        )
    build = partial(_with_weights, config) if pretrained else timm.create_model
    model: Any = build(name, num_classes=num_classes, **options)
    _require_taken(name, model)
    found: Any = model.pretrained_cfg
    tag = ".".join(part for part in (found["architecture"], found.get("tag")) if part)
    cache = options.get("cache_dir")
    source = source_in_cache(config, tag, cache) if pretrained else WeightsSource(tag)
    model.weights_source = source
    built: ViT = model
    return built


def _require_taken(name: str, model: Any) -> None:
    """Raise TypeError for a model that PETs can't be attached to."""
    if not isinstance(model, ViT):
        raise TypeError(
            f"name={name!r} builds a {type(model).__name__}, not a VisionTransformer, Eva, Beit or "
            "VisionTransformerRelPos; choose a model of those, for example vit_base_patch16_224 or "
            "vit_base_patch16_dinov3, or build it with timm.create_model and tune it with peft"
        )
    try:
        classifier_of(model)
        towers_of(model, lambda *_: None)
    except TypeError as error:
        raise TypeError(f"name={name!r}: {error}") from error


def _with_weights(config: PretrainedCfg, name: str, **options: Any) -> Any:
    """A model of timm with the weights of its name, but not with their head."""
    # timm keeps a head of as many classes as are asked for: no number of classes is its own here.
    overlay = {"num_classes": -1}
    try:
        model: Any = timm.create_model(name, True, pretrained_cfg_overlay=overlay, **options)
    except OSError as error:
        raise WeightsError(
            f"the weights of {name} are not in the cache and can't be downloaded ({error}): go "
            f"online once, or download {address_of(config)} elsewhere and pass pretrained=FILE"
        ) from error
    model.pretrained_cfg["num_classes"] = config.num_classes
    return model


_ORIGINAL = (
    " Published code (L2P, DualPrompt, LAE, PGP) loaded Google's original weights, "
    "imagenet21k/ViT-B_16.npz and its like, which are .orig_in21k today."
)


def check_name(name: str) -> None:
    """Refuse a name that timm does not have, or that meant other weights in other versions of it.

    Raises:
        ValueError: an unknown architecture or tag, with the nearest known ones; or a name from
            before timm 0.9, with the names of today that it may mean.

    Example:
        >>> check_name("vit_base_patch16_224.orig_in21k")
    """
    deprecated = timm.models.get_deprecated_models()
    architecture = name.split(".")[0]
    if architecture in deprecated:
        names = todays_names(deprecated[architecture])
        raise ValueError(
            f"name={name!r} is a name of older versions of timm, not all of which meant the same "
            f"weights by it; say which ones you mean: {' or '.join(names)}."
            + _ORIGINAL
            * any(other.endswith(".orig_in21k") for other in names)
        )
    if not _is_known(name):
        own = VITS.names()
        names = [*timm.list_models(pretrained=True), *timm.list_models(), *own]
        nearest = difflib.get_close_matches(name, names, n=4, cutoff=0.0)
        raise ValueError(
            f"name={name!r} is not a known model; choose {', '.join(own)} or a name of timm, "
            f"nearest are {', '.join(nearest)}. timm.list_models('vit*', pretrained=True) lists more."
        )


def todays_names(successor: str | None) -> list[str]:
    """The full names that may be meant where timm gives one successor of an old name.

    They are all recipes of the architecture on the same data: tags that differ in the first word
    alone. Where there are none, those that begin with the tag: some have grown since. Where there
    is no tag, the successor itself.

    Example:
        >>> todays_names("vit_base_patch16_224.augreg_in21k")
        ['vit_base_patch16_224.orig_in21k', 'vit_base_patch16_224.augreg_in21k']
        >>> todays_names("vit_base_patch16_224.sam")
        ['vit_base_patch16_224.sam_in1k']
    """
    architecture, _, tag = (successor or "").partition(".")
    data = tag.partition("_")[2]
    tags = {
        name: name.partition(".")[2].partition("_")
        for name in timm.models.get_arch_pretrained_cfgs(architecture)
    }
    same_data = [name for name, (_, _, other) in tags.items() if data and other == data]
    grown = [name for name, (word, _, _) in tags.items() if tag and word == tag]
    return same_data or grown or [successor or "none, it was removed"]


def _is_known(name: str) -> bool:
    if not timm.is_model(name):
        return False
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # the tag after the dot is not one of this architecture
        return False
    return True


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
