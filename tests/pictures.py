"""Pictures as cameras make them."""

import struct
import zlib
from io import BytesIO

from PIL import ExifTags, Image

RED, BLUE = (200, 30, 30), (30, 30, 200)


def picture(kind: str = "JPEG", size: tuple[int, int] = (900, 600), mode: str = "RGB") -> bytes:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    out = BytesIO()
    image.convert(mode).save(out, kind)
    return out.getvalue()


def photographed(orientation: int = 6) -> bytes:
    """A JPEG of a camera that was turned: it tells where and by what it was made."""
    image = Image.open(BytesIO(picture()))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "CAMERAMAKER"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (12.0, 58.0, 30.0)
    out = BytesIO()
    image.save(out, "JPEG", exif=exif, comment=b"SECRETPLACE")
    return out.getvalue()


def bomb(width: int = 8000, height: int = 8000) -> bytes:
    """A PNG of some kilobytes that holds 64 million pixels."""
    rows = zlib.compress(b"\0" * ((width // 8 + 1) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def opened(content: bytes) -> Image.Image:
    """As a browser sees it."""
    image = Image.open(BytesIO(content))
    image.load()
    return image


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
