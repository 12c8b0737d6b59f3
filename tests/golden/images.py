"""Writes the image files that tests/images.rs reads, and what Pillow sees in them.

Needs Pillow and NumPy (written with Pillow 13.0.0):  python tests/golden/images.py
Each file's size, brightness and opacity go to tests/images/pillow.json. Pillow's mode "L" is
its own weighting of red, green and blue. It reads 16-bit colours as their high bytes only, so
files of 16 bits are written, and their answers worked out, from the samples themselves.
"""
import json
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).parent.parent / "images"
EXPECTED = {}

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, colour_type, interlaced=False):
    """A PNG file of uint8 or uint16 samples [height, width, channels]."""
    height, width, _ = samples.shape
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    rows = b""
    for left, top, step_x, step_y in passes:
        part = samples[top::step_y, left::step_x]
        if part.size:
            big_endian = part.astype(part.dtype.newbyteorder(">"))
            rows += b"".join(b"\0" + row.tobytes() for row in big_endian)
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, colour_type, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9))
            + chunk(b"IEND", b""))


def expect(name, luma, alpha=None):
    height, width = luma.shape
    if alpha is not None and (alpha == 255).all():
        alpha = None
    EXPECTED[name] = {"width": width, "height": height, "luma": luma.flatten().tolist(),
                      "alpha": None if alpha is None else alpha.flatten().tolist()}


def expect_pillows(name):
    with Image.open(FOLDER / name) as image:
        image = ImageOps.exif_transpose(image)
        alpha = np.array(image.convert("RGBA"))[..., 3] if image.has_transparency_data else None
        if image.mode in ("RGBA", "P", "PA"):
            image = image.convert("RGBA").convert("RGB")
        expect(name, np.array(image.convert("L")), alpha)


def save(name, image, **options):
    image.save(FOLDER / name, **options)
    expect_pillows(name)


def write(name, content):
    (FOLDER / name).write_bytes(content)


def high(samples):
    """16 bits to the nearest of 8."""
    return np.rint(samples / 257).astype(np.uint8)


def luma_of(rgb):
    return np.array(Image.fromarray(rgb, "RGB").convert("L"))


FOLDER.mkdir(exist_ok=True)
random = np.random.default_rng(7)
WIDTH, HEIGHT = 13, 9
noise = random.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
noise[:, :3, 3] = [0, 255, 128]
grey = Image.fromarray(noise[..., 0], "L")
rgb = Image.fromarray(noise[..., :3].copy(), "RGB")
rgba = Image.fromarray(noise, "RGBA")

save("grey.png", grey)
save("grey-1-bit.png", grey.convert("1", dither=Image.Dither.NONE))
save("grey-alpha.png", Image.fromarray(noise[..., [0, 3]].copy(), "LA"))
save("rgb.png", rgb)
save("rgba.png", rgba)
save("rgba-opaque.png", Image.fromarray(np.dstack([noise[..., :3], np.full((HEIGHT, WIDTH), 255, np.uint8)]), "RGBA"))
save("palette.png", rgb.quantize(8))
save("palette-2-bit.png", rgb.quantize(4), bits=2)
save("palette-transparent.png", rgb.quantize(8), transparency=bytes([0, 128]))
save("grey-colour-key.png", grey, transparency=int(noise[0, 0, 0]))
write("interlaced.png", png(noise[..., :3], 2, interlaced=True))
expect_pillows("interlaced.png")

wide = random.integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
wide[0, :6, 0] = [0, 128, 129, 65406, 65407, 65535]
write("grey-16-bit.png", png(wide[..., :1], 0))
expect("grey-16-bit.png", high(wide[..., 0]))
write("rgb-16-bit.png", png(wide[..., :3], 2))
expect("rgb-16-bit.png", luma_of(high(wide[..., :3])))
write("rgba-16-bit.png", png(wide, 6))
expect("rgba-16-bit.png", luma_of(high(wide[..., :3])), high(wide[..., 3]))

save("rgb.bmp", rgb)
save("palette.bmp", rgb.quantize(8))
save("palette.gif", rgb.quantize(8))
save("animated.gif", rgb.quantize(8), save_all=True, append_images=[grey.convert("RGB").quantize(8)])
save("animated.png", rgb, save_all=True, append_images=[rgb.transpose(Image.Transpose.ROTATE_180)])
save("rgb.webp", rgb, lossless=True)
save("rgba.webp", rgba, lossless=True, exact=True)
save("rgb.tiff", rgb)
save("deflated.tiff", rgb, compression="tiff_deflate")
save("rgb.ppm", rgb)
save("grey.pgm", grey)
save("bits.pbm", grey.convert("1", dither=Image.Dither.NONE))

# A smooth picture: decoders of JPEG may round differently, by little.
y, x = np.mgrid[0:24, 0:40]
smooth = np.dstack([6 * x, 10 * y, 255 - 3 * x - 5 * y]).clip(0, 255).astype(np.uint8)
smooth = Image.fromarray(smooth, "RGB")
save("rgb.jpg", smooth, quality=95)
save("grey.jpg", smooth.convert("L"), quality=95)
save("progressive.jpg", smooth, quality=95, progressive=True)
turned = Image.Exif()
turned[0x0112] = 6  # to be turned by 90 degrees clockwise
save("turned.jpg", smooth, quality=95, exif=turned)
(FOLDER / "jpeg-named.png").write_bytes((FOLDER / "rgb.jpg").read_bytes())
expect_pillows("jpeg-named.png")

(FOLDER / "pillow.json").write_text(
    "{\n" + ",\n".join(f'"{name}": {json.dumps(case)}' for name, case in EXPECTED.items()) + "\n}\n")
