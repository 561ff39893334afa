"""Which files are pictures, and that a picture is the same one in whatever form it is kept."""

import re
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from fer_lightning.errors import UserError
from fer_lightning.photographs.pictures import find_pictures, read_picture

ORIENTATION = 0x0112  # in EXIF


@pytest.fixture
def image(hopper: np.ndarray) -> Image.Image:
    return Image.fromarray(hopper).resize((60, 80))


def read(image: Image.Image, name: str, **how: object) -> np.ndarray:
    image.save(name, **how)
    return read_picture(Path(name)).astype(int)


def test_a_picture_is_the_same_in_every_form(image):
    pixels, gray = np.asarray(image).astype(int), np.asarray(image.convert("L"))
    for name in ("a.png", "a.bmp", "a.tiff", "a.ppm"):
        np.testing.assert_array_equal(read(image, name), pixels)
    palette = image.quantize(64)
    np.testing.assert_array_equal(read(palette, "palette.png"), np.asarray(palette.convert("RGB")))
    for mode, name in {"CMYK": "cmyk.jpg", "RGB": "a.webp", "YCbCr": "a.jpg"}.items():
        assert abs(read(image.convert(mode), name) - pixels).mean() < 12, mode
    moving = read(image, "moving.gif", save_all=True, append_images=[Image.new("RGB", image.size)])
    assert abs(moving - pixels).mean() < 12
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    for name in ("deep.png", "deep.tif"):
        np.testing.assert_array_equal(read(deep, name), np.stack([gray] * 3, 2))
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned clockwise
    np.testing.assert_array_equal(read(image.transpose(Image.Transpose.ROTATE_90), "turned.png", exif=exif), pixels)
    clear = image.convert("RGBA")
    clear.putalpha(0)
    assert (read(clear, "clear.png") == 255).all()
    with pytest.raises(UserError, match=r"float\.tif: no picture \(its pixels are no whole numbers\)"):
        read(Image.fromarray(gray / np.float32(255)), "float.tif")  # from 0 to 1, or to what?


def test_a_telephones_heic_stands_upright_and_is_known_by_its_content(image, monkeypatch):
    lying = pillow_heif.from_pillow(image.transpose(Image.Transpose.ROTATE_90))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    lying.info["exif"] = exif.tobytes()
    lying.save("IMG_0001.HEIC", quality=95)
    content = Path("IMG_0001.HEIC").read_bytes()
    assert b"irot" in content  # as telephones write it, EXIF and the file itself say how to turn it
    Path("named.jpg").write_bytes(content.replace(b"ftypheic", b"ftypmif1"))
    image.save("of mif1.avif", quality=95)
    avif = Path("of mif1.avif").read_bytes()
    Path("of mif1.avif").write_bytes(avif.replace(b"ftypavif", b"ftypmif1"))
    names = ["IMG_0001.HEIC", "named.jpg", "of mif1.avif"]
    assert [str(path) for path in find_pictures(["."])] == names
    for name in names:
        monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)  # what another test, or program, has told Pillow
        assert abs(read_picture(Path(name)).astype(int) - np.asarray(image)).mean() < 6
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # not installed
    for name in names[:2]:
        message = rf"^{re.escape(name)}: a telephone's heic needs a package: pip install '.*\[heic\]'$"
        with pytest.raises(UserError, match=message):
            read_picture(Path(name))
    read_picture(Path(names[2]))
    read(image, "b.jpg")


def test_files_folders_and_patterns_are_found_once(image):
    Path("folder/.thumbnails").mkdir(parents=True)
    names = ("folder/a10.png", "folder/a2.PNG", "folder/.hidden.png", "folder/.thumbnails/a.png", "[1] a.png")
    for name in names:
        image.save(name)
    Path("folder/gone.png").symlink_to("nowhere")
    Path("folder/note.txt").write_text("no picture")
    found = [str(path) for path in find_pictures(["[1] a.png", "folder/a10.png", "folder", "folder/*10*"])]
    assert found == ["[1] a.png", "folder/a10.png", "folder/a2.PNG"]
