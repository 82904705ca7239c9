"""Vision transformers of timm, with the weights that their names stand for."""

from __future__ import annotations

from functools import partial
from typing import Any

import timm
from timm.models import PretrainedCfg
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos

from avl_pegp.backbones.checked_weights import WeightsError
from avl_pegp.backbones.hub_weights import address_of, source_in_cache
from avl_pegp.backbones.model_names import check_name
from avl_pegp.backbones.weights_source import WeightsSource
from avl_pegp.pet.towers import towers_of
from avl_pegp.pet.trainable import classifier_of

__all__ = ["ViT", "create_timm_vit"]

#: What is built: DINOv3, and all with rotary positions, are of the class Eva.
ViT = VisionTransformer | Eva | Beit | VisionTransformerRelPos

_OTHER_SOURCES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")


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
