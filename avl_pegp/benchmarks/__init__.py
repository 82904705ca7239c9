"""Streams to learn from: ordinary Avalanche benchmarks, embedded ones and ones of data on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from avalanche.benchmarks import CLScenario

from avl_pegp.benchmarks._images import normalise
from avl_pegp.benchmarks.blurry import BlurryTasks, si_blurry
from avl_pegp.benchmarks.blurry_streams import blurry_digits, blurry_glyphs
from avl_pegp.benchmarks.captioned import SCENE_DOMAINS, render_scenes
from avl_pegp.benchmarks.captioned_domains import CAPTION_DOMAINS, captioned_domains
from avl_pegp.benchmarks.cifar import split_cifar100
from avl_pegp.benchmarks.core50 import core50_classes, core50_instances
from avl_pegp.benchmarks.corruptions import CORRUPTIONS
from avl_pegp.benchmarks.cub200 import split_cub200
from avl_pegp.benchmarks.digits import split_digits
from avl_pegp.benchmarks.domainnet import DOMAINNET, domainnet, split_domainnet
from avl_pegp.benchmarks.domains import DOMAINS, domain_glyphs, join_domains
from avl_pegp.benchmarks.glyphs import GLYPHS, split_glyphs
from avl_pegp.benchmarks.image_files import DataError, ImageFiles, check_images, class_folders
from avl_pegp.benchmarks.image_folder import image_folder
from avl_pegp.benchmarks.image_streams import join_images, resized, split_images
from avl_pegp.benchmarks.imagenet import split_imagenet100, split_imagenet_r
from avl_pegp.benchmarks.named_datasets import NAMED_DATASETS, named_datasets
from avl_pegp.benchmarks.named_glyphs import (
    NAMED_GLYPH_DOMAINS,
    NAMED_GLYPHS,
    UNTOUCHED_CHARACTERS,
    named_glyphs,
)
from avl_pegp.benchmarks.online import OnlineStream, online_benchmark
from avl_pegp.benchmarks.rendering import FONTS, render_glyphs
from avl_pegp.benchmarks.scenes import Scene, draw_scenes
from avl_pegp.benchmarks.shifted import STYLES, shifted_glyphs
from avl_pegp.benchmarks.tiny_imagenet import split_tiny_imagenet

__all__ = [
    "BENCHMARKS",
    "CAPTION_DOMAINS",
    "CORRUPTIONS",
    "DATASETS",
    "DOMAINNET",
    "DOMAINS",
    "FONTS",
    "GLYPHS",
    "NAMED_DATASETS",
    "NAMED_GLYPHS",
    "NAMED_GLYPH_DOMAINS",
    "SCENE_DOMAINS",
    "STYLES",
    "UNTOUCHED_CHARACTERS",
    "BlurryTasks",
    "DataError",
    "ImageFiles",
    "OnlineStream",
    "Scene",
    "blurry_digits",
    "blurry_glyphs",
    "captioned_domains",
    "check_images",
    "class_folders",
    "core50_classes",
    "core50_instances",
    "create_benchmark",
    "domain_glyphs",
    "domainnet",
    "draw_scenes",
    "image_folder",
    "join_domains",
    "join_images",
    "named_datasets",
    "named_glyphs",
    "normalise",
    "online_benchmark",
    "render_glyphs",
    "render_scenes",
    "resized",
    "shifted_glyphs",
    "si_blurry",
    "split_cifar100",
    "split_cub200",
    "split_digits",
    "split_domainnet",
    "split_glyphs",
    "split_imagenet100",
    "split_imagenet_r",
    "split_images",
    "split_tiny_imagenet",
]

#: The embedded benchmarks that ``create_benchmark`` knows; add a function of your own to use it by
#: name. Each takes ``order_seed``, and what it returns carries ``class_names`` and ``class_order``.
BENCHMARKS: dict[str, Callable[..., CLScenario[Any]]] = {
    "blurry_digits": blurry_digits,
    "blurry_glyphs": blurry_glyphs,
    "captioned_domains": captioned_domains,
    "domain_glyphs": domain_glyphs,
    "named_datasets": named_datasets,
    "named_glyphs": named_glyphs,
    "shifted_glyphs": shifted_glyphs,
    "split_digits": split_digits,
    "split_glyphs": split_glyphs,
}

#: The benchmarks of data on disk that ``create_benchmark`` knows. Each takes ``data_root`` besides,
#: ``train_transform`` and ``eval_transform``, and what it returns carries ``data`` besides: facts
#: for the record, such as how many images there are.
DATASETS: dict[str, Callable[..., CLScenario[Any]]] = {
    "core50_classes": core50_classes,
    "core50_instances": core50_instances,
    "domainnet": domainnet,
    "image_folder": image_folder,
    "split_cifar100": split_cifar100,
    "split_cub200": split_cub200,
    "split_domainnet": split_domainnet,
    "split_imagenet100": split_imagenet100,
    "split_imagenet_r": split_imagenet_r,
    "split_tiny_imagenet": split_tiny_imagenet,
}


def create_benchmark(name: str, **options: Any) -> CLScenario[Any]:
    """Build a benchmark by the name of its function.

    Args:
        name: a key of ``BENCHMARKS`` or ``DATASETS``.
        options: passed on to that function; those of ``DATASETS`` need ``data_root``.

    Raises:
        ValueError: the name is not known, or ``data_root`` is not given where it is needed.

    Example:
        >>> len(create_benchmark("split_digits", n_experiences=2, order_seed=0).train_stream)
        2
    """
    known = BENCHMARKS | DATASETS
    if name not in known:
        raise ValueError(
            f"name={name!r} is not a known benchmark; choose one of {', '.join(sorted(known))}."
        )
    if name in DATASETS and options.get("data_root") is None:
        raise ValueError(
            f"name={name!r} reads images from disk, but data_root is not given; pass the folder "
            "that the data set was unpacked into."
        )
    return known[name](**options)
