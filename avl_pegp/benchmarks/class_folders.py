"""A folder for each class: which image files lie in it; what cannot be read is refused."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from PIL import Image

from avl_pegp.benchmarks.lists import DataError, named, printable

_READ = (
    "jpg jpeg jpe jfif mpo png apng gif webp bmp dib tif tiff ppm pgm pbm pnm jp2 j2k j2c jpc jpf jpx "
    "tga qoi pcx psd ico icns cur dds sgi xbm xpm"
)
_NOT_READ = (
    "svg svgz eps ai emf wmf jxr wdp hdp exr hdr pfm pic pict xcf psb kra djvu djv dcm dicom fits fit "
    "cr2 cr3 crw nef nrw arw srf sr2 dng orf rw2 raf pef srw x3f 3fr iiq mrw erf kdc dcr bpg flif jng "
    "mng"
)
# What counts as an image file, in any case.
_SUFFIXES = frozenset(f".{name}" for name in _READ.split())
_OTHER_IMAGES = frozenset(f".{name}" for name in _NOT_READ.split())
# Images that Pillow reads in some builds, or with a plugin that was registered.
_BY_PLUGIN = frozenset({".avif", ".avifs", ".heic", ".heif", ".hif", ".jxl"})
_TEXTS = frozenset(
    {".txt", ".json", ".xml", ".csv", ".tsv", ".md", ".html", ".yaml", ".log", ".ini"}
)
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")

_LINK = "links that lead nowhere; restore what they lead to or remove them"
_CLOSED = "folders that cannot be read; allow it or remove them"
_TWICE = "folders that are found a second time, by a link; remove one of the two"
_FORMAT = "images in formats that are not read here; convert them to PNG, or remove them"
_NO_SUFFIX = "images by their content, but not by their suffix; rename or remove them"
_NO_FILE = "no ordinary files; remove them"
_NO_TEXT = "class folders whose names are no UTF-8; rename them"


def class_folders(folder: Path) -> dict[str, list[str]]:
    """Find the image files of each class, where a class is a folder.

    Images in subfolders of a class belong to it, and links are followed. Passed over are hidden files
    and folders (``.name``), ``__MACOSX``, whatever lies beside the class folders, and files that are
    no images (``.txt``, ``.json``, ``Thumbs.db`` and so on). An image that cannot be read is not
    passed over: it is refused.

    Args:
        folder: holds one folder for each class.

    Returns:
        The images of each class, relative to ``folder`` with forward slashes. Both classes and
        images are sorted by name, whatever order the file system has. Names of classes are in
        Unicode's composed form (NFC), paths as they are.

    Raises:
        DataError: there is no class folder, or one has no image; the names of two differ in nothing
            but case, spaces or the form of their letters; a link leads nowhere, or to a folder that
            was found already; a folder cannot be read; there are images in a format that is not read
            here (``.heic``, ``.svg`` and so on), or without the suffix of one.

    Example:
        >>> import tempfile
        >>> pets = Path(tempfile.mkdtemp())
        >>> for name in ("dog", "cat"):
        ...     (pets / name).mkdir()
        ...     Image.new("RGB", (8, 8)).save(pets / name / "1.png")
        >>> class_folders(pets)
        {'cat': ['cat/1.png'], 'dog': ['dog/1.png']}
    """
    search = ImageSearch(folder)
    images = {name: search.images(name) for name in search.class_names()}
    search.refuse()
    if not images:
        raise DataError(
            f"{printable(folder.absolute())} holds no class folder; put the images of each class into "
            f"a folder of its name there.{_still_packed(folder)}"
        )
    empty = [name for name, paths in images.items() if not paths]
    if empty:
        raise DataError(
            f"{len(empty)} of {len(images)} class folders in {printable(folder.absolute())} hold no "
            f"image: {named(empty)}. Put images ({', '.join(sorted(_SUFFIXES))}) there or remove "
            "the folders."
        )
    alike = defaultdict(list)
    for name in images:
        alike[_same_to_the_eye(name)].append(name)
    unclear = [" and ".join(map(repr, names)) for names in alike.values() if len(names) > 1]
    if unclear:
        raise DataError(
            f"In {printable(folder.absolute())} the names of class folders differ in case, spaces or "
            f"the encoding of letters alone: {named(unclear)}. Put the images of one class into one "
            "folder, or rename."
        )
    return dict(sorted((unicodedata.normalize("NFC", name), images[name]) for name in images))


def require_folder(folder: Path, layout: str) -> Path:
    """The folder if data lies there, as an absolute path with ``~`` resolved.

    Args:
        folder: where data is expected. One that is empty but for archives counts as absent.
        layout: what should lie there, in a few lines, for the message.

    Raises:
        DataError: there is no such folder. The message has its absolute path and ``layout``, and
            names the archives in it or beside it, for they have to be unpacked.

    Example:
        >>> require_folder(Path("/no/such/cats"), "CLASS/*.jpg")
        Traceback (most recent call last):
        avl_pegp.benchmarks.lists.DataError: There is no data in /no/such/cats. Put this there:
        CLASS/*.jpg
    """
    folder = folder.expanduser().absolute()
    if any(not entry.name.endswith(_ARCHIVES) for entry in _visible(folder)):
        return folder
    raise DataError(
        f"There is no data in {printable(folder)}. Put this there:\n{layout}"
        f"{_still_packed(folder, folder.parent)}"
    )


class ImageSearch:
    """The class folders in a folder, and the images in each.

    Faults are gathered, so that ``refuse`` can tell of all that were found.

    Args:
        root: holds the class folders.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "cat").mkdir()
        >>> search = ImageSearch(root)
        >>> search.class_names(), search.images("cat")
        (['cat'], [])
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: defaultdict[str, list[str]] = defaultdict(list)
        real = Path(os.path.realpath(root))
        self._seen = {str(folder) for folder in (real, *real.parents)}
        self._suffixes = _SUFFIXES | (_BY_PLUGIN & Image.registered_extensions().keys())

    def class_names(self) -> list[str]:
        """The names of the folders, sorted."""
        names = sorted(entry.name for entry in self._entries(self.root) if entry.is_dir())
        odd = [name for name in names if name != name.encode("utf-8", "replace").decode()]
        self.faults[_NO_TEXT] += odd
        return names

    def images(self, name: str) -> list[str]:
        """The image files at any depth below a class folder, relative to ``root``, sorted."""
        found, folders = [], [self.root / name]
        while folders:
            folder = folders.pop()
            real = os.path.realpath(folder)
            if real in self._seen:
                self.faults[_TWICE].append(str(folder))
                continue
            self._seen.add(real)
            for entry in self._entries(folder):
                if entry.is_dir():
                    folders.append(Path(entry.path))
                elif self._is_image(entry):
                    found.append(PurePath(entry.path).relative_to(self.root).as_posix())
        return sorted(found)

    def refuse(self) -> None:
        """Raise ``DataError`` where faults were found."""
        found = [
            f"{len(names)} {kind}: {named(sorted(names))}"
            for kind, names in self.faults.items()
            if names
        ]
        if found:
            raise DataError(
                f"In {printable(self.root.absolute())} there are {'. There are '.join(found)}."
            )

    def _entries(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        """What is in a folder but for hidden things and broken links."""
        try:
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if _is_visible(entry.name)]
        except OSError:
            self.faults[_CLOSED].append(str(folder))
            return
        for entry in visible:
            if entry.is_symlink() and not os.path.exists(entry.path):
                self.faults[_LINK].append(entry.path)
            else:
                yield entry

    def _is_image(self, entry: os.DirEntry[str]) -> bool:
        suffix = PurePath(entry.name).suffix.lower()
        if suffix in self._suffixes:
            if entry.is_file():
                return True
            self.faults[_NO_FILE].append(entry.path)
        elif suffix in _OTHER_IMAGES | _BY_PLUGIN:
            self.faults[_FORMAT].append(entry.path)
        elif suffix not in _TEXTS and entry.is_file() and _begins_as_an_image(entry.path):
            self.faults[_NO_SUFFIX].append(entry.path)
        return False


def _is_visible(name: str) -> bool:
    """Whether something is neither hidden nor what macOS leaves in archives."""
    return not name.startswith(".") and name != "__MACOSX"


def _same_to_the_eye(name: str) -> str:
    """What names have in common that are told apart by their encoding, case or spaces alone.

    A single letter keeps its case: letters themselves are classes.
    """
    plain = unicodedata.normalize("NFC", name).strip()
    return plain.casefold() if len(plain) > 1 else plain


def _begins_as_an_image(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    is_box = start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1")
    is_webp = start[:4] == b"RIFF" and start[8:] == b"WEBP"
    is_bitmap = start[:2] == b"BM" and start[6:10] == b"\0\0\0\0"
    return start.startswith(_BEGINNINGS) or is_box or is_webp or is_bitmap


def _visible(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if _is_visible(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"The folder {printable(folder)} cannot be read ({error.strerror}); allow it, or name "
            "another one."
        ) from error


def _still_packed(*folders: Path) -> str:
    """A sentence that names the archives in these folders, or nothing where there are none."""
    archives = []
    for folder in folders:
        with contextlib.suppress(DataError):  # a folder that cannot be read gives no advice
            archives += [e.absolute() for e in _visible(folder) if e.name.endswith(_ARCHIVES)]
    packed = named(sorted(map(str, archives)))
    return f"\nUnpack first, if this is the data: {packed}." if archives else ""
