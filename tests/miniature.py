"""Write miniatures of the data sets, each in its own layout, to try programs without a download.

    python tests/miniature.py --out miniatures --only cub200 domainnet
    python experiments/class_incremental.py --benchmark split_cub200 --data-root miniatures/cub200 ...

A miniature has all classes (and domains, sessions, lists) of the original but two or three images of
32x32 pixels (Fashion-MNIST's have 28x28) in each: a pattern of the class under noise. Numbers that
come out of it mean nothing.
``NAME`` lies in ``DIR/NAME``. The same seed writes the same files.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image
from timm.data.imagenet_info import ImageNetInfo
from tqdm import tqdm

SIDE = 32
TRAIN, TEST = 2, 1  # images of a class
DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
CORE50_SESSIONS, CORE50_OBJECTS = 11, 50
# PEGP's hundred; prompts of CLIP need WordNet ids that are real.
IMAGENET100 = Path(__file__).parents[1] / "experiments/reproduction/clip_imagenet100/classes.txt"


def new_folder(root: Path | str) -> Path:
    """Make the folder, or take an empty one: nothing of the user's is mixed with made-up images."""
    folder = Path(root)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not an empty folder; name a new or an empty one.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Painter:
    """Makes up images; those of one class resemble one another."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.patterns: dict[int, np.ndarray] = {}

    def pixels(self, label: int) -> np.ndarray:
        """The next image of a class, uint8 (SIDE, SIDE, 3)."""
        if label not in self.patterns:
            self.patterns[label] = self.rng.integers(0, 192, (SIDE // 8, SIDE // 8, 3))
        coarse = self.patterns[label].repeat(8, axis=0).repeat(8, axis=1)
        return (coarse + self.rng.integers(0, 64, coarse.shape)).astype(np.uint8)

    def save(self, path: Path, label: int) -> None:
        """Write the next image of a class; the file's suffix is its format."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.pixels(label)).save(path)


def wnids(count: int) -> list[str]:
    """Names that look like WordNet's: ``n00000001`` and so on."""
    return [f"n{i + 1:08d}" for i in range(count)]


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file of these lines."""
    path.write_text("".join(f"{line}\n" for line in lines))


def write_image_folder(root: Path | str, seed: int = 0) -> None:
    """``train/CLASS/*.png`` and ``test/CLASS/*.png`` of ten classes."""
    folder, painter = new_folder(root), Painter(seed)
    for part, count in (("train", TRAIN), ("test", TEST)):
        for label in range(10):
            for i in range(count):
                painter.save(folder / part / f"class_{label}" / f"{i}.png", label)


def write_cifar100(root: Path | str, seed: int = 0) -> None:
    """``cifar-100-python``: images in two pickles, names in a third, as Python 2 wrote them."""
    folder, painter = new_folder(root) / "cifar-100-python", Painter(seed)
    folder.mkdir()
    for part, count in (("train", TRAIN), ("test", TEST)):
        fine = [label for _ in range(count) for label in range(100)]
        planes = [painter.pixels(label).transpose(2, 0, 1).ravel() for label in fine]
        content = {
            "filenames": [f"image_s_{i:06d}.png" for i in range(len(fine))],
            "batch_label": f"{part}ing batch 1 of 1",
            "fine_labels": fine,
            "coarse_labels": [label // 5 for label in fine],
            "data": np.stack(planes),
        }
        (folder / part).write_bytes(python2_pickle(content))
    names = {
        "fine_label_names": [f"class_{label}" for label in range(100)],
        "coarse_label_names": [f"group_{label}" for label in range(20)],
    }
    (folder / "meta").write_bytes(python2_pickle(names))


def write_cifar100_folders(root: Path | str, seed: int = 0) -> None:
    """The same data set as others pack it: ``train/CLASS/*.png`` and ``test/CLASS/*.png``."""
    folder, painter = new_folder(root), Painter(seed)
    for part, count in (("train", TRAIN), ("test", TEST)):
        for label in range(100):
            for i in range(count):
                painter.save(folder / part / f"class_{label:02d}" / f"{i:04d}.png", label)


class _Python2Pickler(pickle._Pickler):
    """Python 2 has one kind of string, of bytes; today's picklers no longer write it."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    def save_str(self, value: str) -> None:
        self.save_bytes(value.encode("latin1"))

    def save_bool(self, value: bool) -> None:
        self.save_long(int(value))  # as numpy did then; 2.4.0 to 2.4.4 warn when they read that

    dispatch |= {bytes: save_bytes, str: save_str, bool: save_bool}


def python2_pickle(content: object) -> bytes:
    """Pickle by protocol 2, with strings and numpy's names as in files of that time."""
    file = BytesIO()
    _Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_tiny_imagenet(root: Path | str, seed: int = 0) -> None:
    """``tiny-imagenet-200``: training images in class folders, the others in one, with a list."""
    folder, painter = new_folder(root) / "tiny-imagenet-200", Painter(seed)
    classes = wnids(200)
    for label, name in enumerate(classes):
        for i in range(TRAIN):
            painter.save(folder / "train" / name / "images" / f"{name}_{i}.JPEG", label)
        painter.save(folder / "val" / "images" / f"val_{label}.JPEG", label)
    boxes = [f"val_{i}.JPEG\t{name}\t0\t0\t31\t31" for i, name in enumerate(classes)]
    write_lines(folder / "val" / "val_annotations.txt", boxes)
    # Not in alphabetical order, as in the original; and words.txt has many more names than needed.
    write_lines(folder / "wnids.txt", classes[100:] + classes[:100])
    entries = [f"{name}\tthing {i}, kind of thing" for i, name in enumerate(wnids(300))]
    write_lines(folder / "words.txt", entries)


def write_cub200(root: Path | str, seed: int = 0) -> None:
    """``CUB_200_2011``: images in class folders, four lists that say what they are."""
    folder, painter = new_folder(root) / "CUB_200_2011", Painter(seed)
    classes = [f"{label + 1:03d}.Made_up_Bird_{label + 1}" for label in range(200)]
    images, labels, parts = [], [], []
    for label, name in enumerate(classes):
        for is_train in (0, *[1] * TRAIN):
            number = len(images) + 1
            file = f"{name}/{name[4:]}_{number:04d}.jpg"
            painter.save(folder / "images" / file, label)
            images.append(f"{number} {file}")
            labels.append(f"{number} {label + 1}")
            parts.append(f"{number} {is_train}")
    write_lines(folder / "images.txt", images)
    write_lines(folder / "image_class_labels.txt", labels)
    write_lines(folder / "train_test_split.txt", parts)
    write_lines(folder / "classes.txt", [f"{i + 1} {name}" for i, name in enumerate(classes)])


def write_imagenet_r(root: Path | str, seed: int = 0) -> None:
    """``imagenet-r``: 200 class folders; file names decide which images are test ones."""
    folder, painter = new_folder(root) / "imagenet-r", Painter(seed)
    for label, name in enumerate(ImageNetInfo().label_names()[:200]):
        for file in hashed_names(name):
            painter.save(folder / file, label)


def hashed_names(wnid: str) -> Iterator[str]:
    """Paths of which TRAIN have a sha256 below 80 % of its range, and TEST one above."""
    wanted, number = {True: TRAIN, False: TEST}, 0
    while any(wanted.values()):
        path, number = f"{wnid}/art_{number}.jpg", number + 1
        is_train = int(hashlib.sha256(path.encode()).hexdigest(), 16) < 0.8 * 2**256
        if wanted[is_train]:
            wanted[is_train] -= 1
            yield path


def write_imagenet100(root: Path | str, seed: int = 0) -> None:
    """``train`` and ``val`` of 100 class folders each."""
    folder, painter = new_folder(root), Painter(seed)
    for label, name in enumerate(IMAGENET100.read_text().split()):
        for i in range(TRAIN):
            painter.save(folder / "train" / name / f"{name}_{i}.JPEG", label)
        painter.save(folder / "val" / name / f"ILSVRC2012_val_{label:08d}.JPEG", label)


def write_domainnet(root: Path | str, seed: int = 0) -> None:
    """Six domains of 345 classes, each with a list of its training and one of its test images."""
    folder, painter = new_folder(root), Painter(seed)
    for domain in DOMAINS:
        lists: dict[str, list[str]] = {"train": [], "test": []}
        for label in range(345):
            for i in range(TRAIN + TEST):
                file = f"{domain}/class_{label:03d}/{domain}_{label + 1:03d}_{i + 1:06d}.jpg"
                painter.save(folder / file, label)
                lists["train" if i < TRAIN else "test"].append(f"{file} {label}")
        for part, lines in lists.items():
            write_lines(folder / f"{domain}_{part}.txt", lines)


def write_fashion_mnist(root: Path | str, seed: int = 0) -> None:
    """Four files of the form idx: images of 28x28 grey pixels, and labels; the test ones packed."""
    folder, painter = new_folder(root), Painter(seed)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        labels = [label for _ in range(count) for label in range(10)]
        images = np.stack([painter.pixels(label)[2:-2, 2:-2, 0] for label in labels])
        for name, array in (("images-idx3", images), ("labels-idx1", np.array(labels, np.uint8))):
            content = idx(array)
            if part == "train":
                (folder / f"{part}-{name}-ubyte").write_bytes(content)
            else:
                (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content, mtime=0))


def idx(array: np.ndarray) -> bytes:
    """A uint8 array in the form idx."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_core50(root: Path | str, seed: int = 0) -> None:
    """``core50_128x128``: eleven sessions in which the same 50 objects are filmed.

    Three frames each: the test sessions then have enough for all eight experiences.
    """
    folder, painter = new_folder(root) / "core50_128x128", Painter(seed)
    for s in range(1, CORE50_SESSIONS + 1):
        for o in range(1, CORE50_OBJECTS + 1):
            for frame in range(3):
                file = f"s{s}/o{o}/C_{s:02d}_{o:02d}_{frame:03d}.png"
                painter.save(folder / file, o - 1)


#: Each takes an empty or new folder, which is then a ``data_root``, and a seed.
WRITERS: dict[str, Callable[..., None]] = {
    "cifar100": write_cifar100,
    "cifar100_folders": write_cifar100_folders,
    "core50": write_core50,
    "cub200": write_cub200,
    "domainnet": write_domainnet,
    "fashion_mnist": write_fashion_mnist,
    "image_folder": write_image_folder,
    "imagenet100": write_imagenet100,
    "imagenet_r": write_imagenet_r,
    "tiny_imagenet": write_tiny_imagenet,
}


def main() -> None:
    """Read the flags, write the miniatures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="each data set is DIR/NAME in it")
    parser.add_argument("--only", nargs="+", choices=WRITERS, default=list(WRITERS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    names = list(dict.fromkeys(args.only))
    try:
        folders = {name: new_folder(args.out / name) for name in names}
    except OSError as error:
        parser.error(str(error))
    for name, folder in tqdm(folders.items(), unit="data set", disable=None):
        WRITERS[name](folder, args.seed)


if __name__ == "__main__":
    main()
