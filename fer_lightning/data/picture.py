"""A picture's file, decoded as any viewer shows it."""

import io
import warnings
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fer_lightning.data.faces import SIZE
from fer_lightning.data.faults import in_a_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
SUFFIXES |= {".ppm", ".pgm", ".heic", ".heif", ".hif"}
RIGHT = "right: a whole jpg, png, webp, bmp, gif, tiff, avif or heic"
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # what such a file says it is
_USUAL_BYTES = 1 << 16  # for a read of more, Python takes all that memory before it reads
MOST_BYTES = 1 << 28  # no picture of as many pixels as Pillow takes, 179 million, needs more


def open_picture(file: IO[bytes]) -> Image.Image:
    """The picture of a file, in any mode of Pillow's with 8 bits or fewer a channel, turned as its EXIF says.

    Of 16 bits the upper 8 are taken, unless they are all 0: then it was written with values from 0 to 255. Any error,
    of ten different types of Pillow's decoders, where it is damaged, of another format, of fractions, of more bits or
    too large; and Pillow's warnings, of EXIF of a wrong length and the like.
    """
    read = file.read(_USUAL_BYTES)
    if len(read) == _USUAL_BYTES:
        read += file.read(MOST_BYTES)
    if len(read) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES:,} bytes")
    content = io.BytesIO(read)
    if read[:4] == b"\x89PNG":
        Image.open(content, formats=("PNG",)).verify()  # the checksums, which reading the pixels passes over
    content.seek(0)
    image = _opened(content, read[:12])
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "F":  # perhaps from 0 to 1, perhaps to 255
        raise ValueError("its pixels are no whole numbers")
    if image.mode.startswith("I"):  # 16 bits or more, which convert("L") would clip at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("its pixels have more than 16 bits")
        image = Image.fromarray((values >> 8 if values.max() > 255 else values).astype(np.uint8))
    image.load()
    return image


def _opened(content: io.BytesIO, start: bytes) -> Image.Image:
    """An image of FORMATS or a telephone's heic, for which ImportError says what is missing.

    That is turned as the file says, and leaves EXIF nothing to turn.
    """
    try:
        return Image.open(content, formats=FORMATS)
    except UnidentifiedImageError:
        if start[4:8] != b"ftyp" or start[8:] not in _HEIC:
            raise
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError:
        raise ImportError("a telephone's heic needs a package: pip install 'fer_lightning[heic]'") from None
    register_heif_opener()
    content.seek(0)
    return Image.open(content, formats=("HEIF",))


def as_face(file: IO[bytes]) -> np.ndarray:
    """uint8 (48, 48): the pixels of a gray picture of that size, others converted (ITU-R 601 luma) and resampled.

    Transparency is passed over. Any error, as of `open_picture`.
    """
    with warnings.catch_warnings(action="ignore"):  # Pillow's
        image = open_picture(file)
        if image.mode != "L":
            image = image.convert("L")
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)  # antialiased where it shrinks
    return np.asarray(image)


def fault(error: Exception) -> str:
    """What a user is told of a file that is no picture, or none that can be read here."""
    if isinstance(error, ImportError):
        return str(error)
    unknown = isinstance(error, UnidentifiedImageError)
    return f"no picture ({'not a picture of a known form' if unknown else in_a_line(error)}); {RIGHT}"
