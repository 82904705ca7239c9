"""Streams to learn from: ordinary Avalanche benchmarks, of embedded data and of data on disk.

A reader of ``READERS`` makes a data set, a stream of ``STREAMS`` cuts it into experiences, and any of
these goes with any of those: ``blurry_incremental(read_cub200(folder), 5)``. What is usual has a name
of its own, such as ``split_cifar100``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from avalanche.benchmarks import CLScenario

from avl_pegp.benchmarks.blurry import BlurryTasks, blurry_incremental, si_blurry
from avl_pegp.benchmarks.captioned import SCENE_DOMAINS, render_scenes
from avl_pegp.benchmarks.captioned_domains import (
    CAPTION_DOMAINS,
    captioned_domains,
    read_captioned_domains,
)
from avl_pegp.benchmarks.cifar import read_cifar100, split_cifar100
from avl_pegp.benchmarks.class_folders import class_folders
from avl_pegp.benchmarks.class_incremental import class_incremental, split_images
from avl_pegp.benchmarks.core50 import core50_classes, core50_instances, read_core50
from avl_pegp.benchmarks.corruptions import CORRUPTIONS
from avl_pegp.benchmarks.cub200 import read_cub200, split_cub200
from avl_pegp.benchmarks.data import ImageData, normalise, resized
from avl_pegp.benchmarks.digits import blurry_digits, read_digits, split_digits
from avl_pegp.benchmarks.domain_incremental import domain_incremental, join_domains, join_images
from avl_pegp.benchmarks.domainnet import DOMAINNET, domainnet, read_domainnet, split_domainnet
from avl_pegp.benchmarks.fashion_mnist import (
    FASHION,
    read_fashion_mnist,
    split_fashion_mnist,
)
from avl_pegp.benchmarks.few_per_class import few_per_class
from avl_pegp.benchmarks.glyphs import (
    DOMAINS,
    GLYPHS,
    STYLES,
    blurry_glyphs,
    domain_glyphs,
    read_domain_glyphs,
    read_glyphs,
    shifted_glyphs,
    split_glyphs,
)
from avl_pegp.benchmarks.image_files import ImageFiles, check_images
from avl_pegp.benchmarks.image_folder import image_folder, read_image_folder
from avl_pegp.benchmarks.imagenet import (
    read_imagenet100,
    read_imagenet_r,
    split_imagenet100,
    split_imagenet_r,
)
from avl_pegp.benchmarks.lists import DataError
from avl_pegp.benchmarks.named_glyphs import (
    NAMED_DATASETS,
    NAMED_GLYPH_DOMAINS,
    NAMED_GLYPHS,
    UNTOUCHED_CHARACTERS,
    named_datasets,
    named_glyphs,
    read_named_datasets,
)
from avl_pegp.benchmarks.online import OnlineStream, online_benchmark
from avl_pegp.benchmarks.rendering import FONTS, render_glyphs
from avl_pegp.benchmarks.scenes import Scene, draw_scenes
from avl_pegp.benchmarks.tiny_imagenet import read_tiny_imagenet, split_tiny_imagenet

__all__ = [
    "BENCHMARKS",
    "CAPTION_DOMAINS",
    "CORRUPTIONS",
    "DATASETS",
    "DOMAINNET",
    "DOMAINS",
    "FASHION",
    "FONTS",
    "GLYPHS",
    "NAMED_DATASETS",
    "NAMED_GLYPHS",
    "NAMED_GLYPH_DOMAINS",
    "READERS",
    "SCENE_DOMAINS",
    "STREAMS",
    "STYLES",
    "UNTOUCHED_CHARACTERS",
    "BlurryTasks",
    "DataError",
    "ImageData",
    "ImageFiles",
    "OnlineStream",
    "Scene",
    "blurry_digits",
    "blurry_glyphs",
    "blurry_incremental",
    "captioned_domains",
    "check_images",
    "class_folders",
    "class_incremental",
    "core50_classes",
    "core50_instances",
    "create_benchmark",
    "domain_glyphs",
    "domain_incremental",
    "domainnet",
    "draw_scenes",
    "few_per_class",
    "image_folder",
    "join_domains",
    "join_images",
    "named_datasets",
    "named_glyphs",
    "normalise",
    "online_benchmark",
    "read_captioned_domains",
    "read_cifar100",
    "read_core50",
    "read_cub200",
    "read_digits",
    "read_domain_glyphs",
    "read_domainnet",
    "read_fashion_mnist",
    "read_glyphs",
    "read_image_folder",
    "read_imagenet100",
    "read_imagenet_r",
    "read_named_datasets",
    "read_tiny_imagenet",
    "render_glyphs",
    "render_scenes",
    "resized",
    "shifted_glyphs",
    "si_blurry",
    "split_cifar100",
    "split_cub200",
    "split_digits",
    "split_domainnet",
    "split_fashion_mnist",
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
    "split_fashion_mnist": split_fashion_mnist,
    "split_imagenet100": split_imagenet100,
    "split_imagenet_r": split_imagenet_r,
    "split_tiny_imagenet": split_tiny_imagenet,
}

#: What reads or renders a data set, by name; add a function of your own to use it by name. One with
#: an argument ``data_root`` reads data on disk.
READERS: dict[str, Callable[..., ImageData]] = {
    reader.__name__.removeprefix("read_"): reader
    for reader in (
        read_captioned_domains,
        read_cifar100,
        read_core50,
        read_cub200,
        read_digits,
        read_domain_glyphs,
        read_domainnet,
        read_fashion_mnist,
        read_glyphs,
        read_image_folder,
        read_imagenet100,
        read_imagenet_r,
        read_named_datasets,
        read_tiny_imagenet,
    )
}

#: What cuts any data set into experiences, by the first word of a benchmark's name.
STREAMS: dict[str, Callable[..., CLScenario[Any]]] = {
    "blurry": blurry_incremental,
    "domain": domain_incremental,
    "split": class_incremental,
}


def create_benchmark(name: str, **options: Any) -> CLScenario[Any]:
    """Build a benchmark by name.

    Args:
        name: a key of ``BENCHMARKS`` or ``DATASETS``, or a key of ``STREAMS`` and one of ``READERS``,
            such as ``"blurry_cub200"``.
        options: passed on to that function, or to the reader and the stream, by what they take; data
            on disk needs ``data_root``.

    Raises:
        ValueError: the name is not known, or ``data_root`` is not given where it is needed.

    Example:
        >>> len(create_benchmark("split_digits", n_experiences=2, order_seed=0).train_stream)
        2
        >>> create_benchmark("domain_named_datasets", train_per_class=1).domains[:2]
        ('letters', 'colours')
    """
    known = BENCHMARKS | DATASETS
    stream, _, data = name.partition("_")
    crossed = name not in known and stream in STREAMS and data in READERS
    if name not in known and not crossed:
        raise ValueError(
            f"name={name!r} is not a known benchmark; choose one of {', '.join(sorted(known))}, or "
            f"join one of {', '.join(STREAMS)} and one of {', '.join(READERS)} by _."
        )
    taken = inspect.signature(READERS[data]).parameters if crossed else {}
    if (name in DATASETS or "data_root" in taken) and options.get("data_root") is None:
        raise ValueError(
            f"name={name!r} reads images from disk, but data_root is not given; pass the folder "
            "that the data set was unpacked into."
        )
    if not crossed:
        return known[name](**options)
    of_data = {option: options.pop(option) for option in taken.keys() & options.keys()}
    return STREAMS[stream](READERS[data](**of_data), **options)
