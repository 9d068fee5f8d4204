"""Images and videos, read safely: what is missing, truncated or a decompression bomb is named with the place it came from.

A video is a folder of frames, read in sorted order and evenly spaced, or a file, for which PyAV must be installed. Frames are
taken at the middle of ``n`` equal parts, so that first and last frame weigh the same as any other.
"""

from __future__ import annotations

import importlib.util
import io
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from core.data.examples import Media, PreferenceExample, missing
from core.data.rows import Embedded
from core.errors import EnvironmentFault, TrialFailed

MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3
"""Largest image that is decoded, in pixels: the area (89 megapixels) from which Pillow warns of a decompression bomb. Larger ones
are refused before they are decoded."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
"""Frames of a video folder; other files in it are left alone."""


class MediaError(Exception):
    """A medium cannot be read; the message says which and why, the caller adds file and row."""


def media_missing(example: PreferenceExample) -> bool:
    """Whether any medium of the example is absent, so that a scorer that reads media must skip it."""
    return any(missing(media) for media in example.media)


def load_image(media: Media) -> Image.Image:
    """The image in RGB.

    Raises:
        MediaError: it is missing, truncated, no image, or larger than :data:`MAX_PIXELS`.
    """
    name = str(media.path) if media.data is None else "image in memory"
    if media.member is not None:
        name += f", image {media.member.name}"
    try:
        if media.data is None and media.path is None:
            raise MediaError("the image has neither a path nor data")
        data = media.data if media.member is None else embedded(media.member)
        with Image.open(io.BytesIO(data) if data is not None else media.path) as image:  # type: ignore[arg-type]  # one of the two is set
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise MediaError(f"{name} has {width} x {height} pixels; images above {MAX_PIXELS:,} pixels are not decoded")
            image.load()
            return image.convert("RGB")
    except FileNotFoundError as error:
        raise MediaError(f"{name} does not exist") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"{name} is refused as a decompression bomb: {error}") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{name} is no image that Pillow knows") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError(f"{name} cannot be read: {error}") from error


@lru_cache(maxsize=4)
def _column(file: Path, group: int, column: str) -> Any:
    """One column of one row group: neighbours in a batch often lie in the same one."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as parquet:
        return parquet.read_row_group(group, columns=[column]).column(0)


def embedded(member: Embedded) -> bytes:
    """The encoded bytes of an image inside a Parquet file; a row group is read, not the file.

    Raises:
        MediaError: the file cannot be read there, or holds no bytes.
    """
    import pyarrow

    try:
        value = _column(member.file, member.group, member.column)[member.index].as_py()
    except (OSError, pyarrow.ArrowException) as error:
        raise MediaError(f"{member.file} cannot be read in row group {member.group}: {error}; the way out is to fetch it again") from error
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise MediaError(f"{member.file} holds no image in row {member.index} of row group {member.group}")
    return data


def frame_indices(total: int, frames: int) -> list[int]:
    """Evenly spaced, ascending indices: the middle of each of ``frames`` equal parts, or all where there are fewer."""
    if total <= frames:
        return list(range(total))
    return [int((part + 0.5) * total / frames) for part in range(frames)]


def natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key under which ``frame_10`` stands after ``frame_9``."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.name) if part]


def load_frames(media: Media, frames: int) -> list[Image.Image]:
    """At most ``frames`` evenly spaced frames of a video, in order.

    Raises:
        MediaError: the video is missing, has no frames, or a frame cannot be read.
        EnvironmentFault: the video is a file and PyAV is not installed.
    """
    path = media.path
    if path is None:
        raise MediaError("a video needs a path")
    if path.is_dir():
        files = sorted((file for file in path.iterdir() if file.suffix.lower() in SUFFIXES), key=natural)
        if not files:
            raise MediaError(f"the frame folder {path} holds no images")
        return [load_image(Media("image", path=files[index])) for index in frame_indices(len(files), frames)]
    if not path.exists():
        raise MediaError(f"{path} does not exist")
    return _decode(path, frames)


def _decode(path: Path, frames: int) -> list[Image.Image]:
    """Frames of a video file, with PyAV where it is installed."""
    if importlib.util.find_spec("av") is None:
        raise EnvironmentFault(
            "a video file needs a decoder, and PyAV is not installed",
            found=str(path),
            allowed="a folder of frames beside it, named in the data instead of the file",
            next=f"mkdir {path.with_suffix('')} && ffmpeg -i {path} {path.with_suffix('')}/%06d.png, or pip install 'rewardsweep[video]'",
        )
    import av  # type: ignore[import-not-found,unused-ignore]  # optional

    try:
        with av.open(str(path)) as container:
            total = sum(1 for _ in container.decode(video=0))
        wanted = set(frame_indices(total, frames))
        with av.open(str(path)) as container:
            found = [frame for index, frame in enumerate(container.decode(video=0)) if index in wanted]
            return [frame.to_image() for frame in found]  # type: ignore[no-untyped-call,unused-ignore]  # PyAV leaves it untyped
    except Exception as error:  # PyAV raises a family of its own that is only known where it is installed
        raise MediaError(f"{path} cannot be decoded: {error}") from error


def refuse(example: PreferenceExample, error: Exception) -> TrialFailed:
    """The failure with which an attempt ends when an example's medium cannot be read: it names file and row."""
    return TrialFailed("data_error", f"{example.origin or example.id}: {error}")
