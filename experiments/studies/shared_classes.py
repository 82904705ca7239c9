"""Which classes of CIFAR-100 show what classes of Tiny ImageNet show too.

Named by hand: the same thing, a kind of it, or what looks alike at 32 pixels (a goldfish in a tank).
Without them CIFAR-100 tells what features are worth for classes that pretraining has not shown.
"""

from __future__ import annotations

#: Tiny ImageNet's classes by CIFAR-100's.
SHARED: dict[str, tuple[str, ...]] = {
    "aquarium_fish": ("goldfish",),
    "bear": ("brown bear",),
    "bee": ("bee",),
    "beetle": ("ladybug",),
    "bottle": ("beer bottle", "pill bottle", "pop bottle", "water jug"),
    "bridge": ("steel arch bridge", "suspension bridge", "viaduct"),
    "bus": ("school bus", "trolleybus"),
    "butterfly": ("monarch", "sulphur butterfly"),
    "camel": ("Arabian camel",),
    "cattle": ("ox", "bison"),
    "chair": ("rocking chair",),
    "chimpanzee": ("chimpanzee", "orangutan"),
    "clock": ("stopwatch",),
    "cockroach": ("cockroach",),
    "crocodile": ("American alligator",),
    "cup": ("espresso",),
    "elephant": ("African elephant",),
    "hamster": ("guinea pig",),
    "keyboard": ("computer keyboard",),
    "lamp": ("lampshade",),
    "lawn_mower": ("lawn mower",),
    "leopard": ("cougar",),
    "lion": ("lion",),
    "lizard": ("European fire salamander",),
    "lobster": ("American lobster", "spiny lobster"),
    "mountain": ("alp", "cliff"),
    "mushroom": ("mushroom",),
    "orange": ("orange",),
    "plate": ("plate",),
    "rocket": ("projectile",),
    "sea": ("lakeside", "seashore"),
    "seal": ("dugong",),
    "snail": ("snail",),
    "snake": ("boa constrictor",),
    "spider": ("black widow", "tarantula"),
    "streetcar": ("trolleybus",),
    "sweet_pepper": ("bell pepper",),
    "table": ("desk", "dining table"),
    "telephone": ("pay-phone",),
    "tractor": ("tractor",),
    "train": ("bullet train", "freight car"),
    "wardrobe": ("chest",),
    "wolf": ("German shepherd",),
    "worm": ("centipede", "slug"),
}
