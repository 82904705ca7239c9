"""Where a model's weights came from: what a result needs so that it can be had again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WeightsSource"]


@dataclass(frozen=True)
class WeightsSource:
    """The origin of a model's weights, as ``create_vit`` leaves it in ``model.weights_source``.

    ``dataclasses.asdict`` gives values that JSON can hold.

    Attributes:
        tag: the architecture with the tag that was resolved, which settles image size and
            normalisation; the weights too, where they are the ones that the tag stands for.
        file: the name of the file that was read, without its folder; ``None`` for random weights.
        sha256: the digest of the file's bytes in hexadecimal; ``None`` for random weights.
        dropped: keys of the file that were not used, that is, those of its head.

    Raises:
        ValueError: a file without its digest, or a digest or dropped keys without a file.

    Example:
        >>> WeightsSource("vit_base_patch16_224.orig_in21k").file is None
        True
    """

    tag: str
    file: str | None = None
    sha256: str | None = None
    dropped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.file is None) != (self.sha256 is None) or (self.dropped and self.file is None):
            raise ValueError(
                f"file={self.file!r}, sha256={self.sha256!r}, dropped={self.dropped!r}: give a file "
                "with its digest, or none of the three for random weights"
            )
