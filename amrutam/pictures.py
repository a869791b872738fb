"""Pictures that people send, opened with suspicion, in one thread: one picture at a time is in memory."""

import asyncio
import contextlib
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, TypeVar, cast

from PIL import ExifTags, Image, ImageCms

from amrutam.domain.documents import invalid
from amrutam.domain.errors import Unavailable

T = TypeVar("T")

FORMATS = ("JPEG", "PNG", "WEBP")
# What the cameras of telephones send fits; the worst, a WebP, takes some 390 MiB while it is drawn anew.
PHOTO_PIXELS = 25_000_000
# A4 at 600 dpi fits; a PNG with transparency takes 140 MiB while it is looked at.
SCAN_PIXELS = 36_000_000
# A photo's side in pixels, at most.
SIDE = 512
QUALITY = 82
# Some seconds of work for the thread; who comes later is better told at once.
MOST_WAITING = 16

# How to turn a picture upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class Pictures:
    """Decodes pictures of strangers. Nothing of what else a file carries, such as places, leaves it."""

    def __init__(self) -> None:
        Image.MAX_IMAGE_PIXELS = None  # ours is checked, before anything is decoded
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._waiting = 0

    async def photo(self, content: bytes) -> bytes:
        """The middle of the picture as a square WebP, at most `SIDE` wide, upright, without metadata.

        Raises ValidationFailed for what is broken or too many pixels, Unavailable when too many wait.
        """
        return await self._in_thread(lambda: _photo(content))

    async def check(self, content: bytes) -> None:
        """Raises ValidationFailed unless the whole picture can be seen, Unavailable when too many wait."""
        await self._in_thread(lambda: _opened(content, SCAN_PIXELS).close())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise Unavailable
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1


def _opened(content: bytes, most_pixels: int, *, draft: bool = False) -> Image.Image:
    """The decoded picture. `draft`: a JPEG may come smaller, as long as it is no smaller than a photo."""
    try:
        picture = Image.open(BytesIO(content), formats=FORMATS)
        width, height = picture.size
        if width * height <= most_pixels:
            if draft:
                picture.draft(None, (2 * SIDE, 2 * SIDE))
            picture.load()
            return picture
    except _BROKEN:
        raise invalid("broken", "The picture cannot be read; send the whole file, a JPEG, PNG or WebP.") from None
    raise invalid(
        "too_many_pixels", f"The picture has {width} by {height} pixels; at most {most_pixels // 1_000_000} million do."
    )


def _photo(content: bytes) -> bytes:
    with _opened(content, PHOTO_PIXELS, draft=True) as picture:
        side = min(SIDE, *picture.size)
        left, top = ((length - min(picture.size)) / 2 for length in picture.size)
        box = (left, top, left + min(picture.size), top + min(picture.size))
        orientation = _orientation(picture)
        profile = cast("bytes | None", picture.info.get("icc_profile"))
        if picture.mode not in {"RGB", "RGBA", "CMYK", "L"}:
            picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")  # noqa: PLW2901 - the same
        small = picture.resize((side, side), Image.Resampling.LANCZOS, box=box, reducing_gap=2.0)
    plain = _in_plain_colours(small, profile)
    upright = plain.transpose(_TURNS[orientation]) if orientation in _TURNS else plain
    fresh = Image.frombytes("RGB", upright.size, upright.tobytes())  # pixels alone: nothing else can come along
    out = BytesIO()
    fresh.save(out, "WEBP", quality=QUALITY, method=4)
    return out.getvalue()


def _orientation(picture: Image.Image) -> int:
    """As EXIF has it; upright where that cannot be read."""
    with contextlib.suppress(*_BROKEN, struct.error):
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    return 1


def _in_plain_colours(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """As sRGB on white, which is what a browser takes a picture without a profile for."""
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            known = ImageCms.ImageCmsProfile(BytesIO(profile))
            plain = ImageCms.ImageCmsProfile(cast("Any", ImageCms.createProfile("sRGB")))
            shown = ImageCms.profileToProfile(picture, known, plain, outputMode="RGB")
            if shown is not None:
                return shown
    return picture.convert("RGB")
