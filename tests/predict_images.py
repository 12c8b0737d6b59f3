"""Shows the `predict` program images that nobody made for it.

Draws images of many kinds with Pillow and prints what was done to each, then writes test images
out as PNG files and compares the answers with a run's own predictions.csv:

    pip install pillow numpy
    cargo build --release --bin predict
    python tests/predict_images.py --run runs/latest --data data/fashion-mnist

Ends with exit code 1 if an image got no answer, or another one than `train` gave.
"""
import argparse
import csv
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

REPOSITORY = pathlib.Path(__file__).parent.parent


def shirt(size, colour, background, mode="RGB"):
    """A shirt drawn with polygons, `size` = (width, height)."""
    image = Image.new(mode, size, background)
    width, height = size
    outline = [(.35, .15), (.45, .2), (.55, .2), (.65, .15), (.9, .35), (.8, .48), (.7, .4), (.7, .85),
               (.3, .85), (.3, .4), (.2, .48), (.1, .35)]
    ImageDraw.Draw(image).polygon([(x * width, y * height) for x, y in outline], fill=colour)
    return image


def boot(size, colour, background):
    image = Image.new("RGB", size, background)
    width, height = size
    outline = [(.3, .15), (.55, .15), (.57, .5), (.85, .65), (.9, .85), (.3, .85)]
    ImageDraw.Draw(image).polygon([(x * width, y * height) for x, y in outline], fill=colour)
    return image


def photo(image, random, noise):
    """Softened, lit from the left, and noisy."""
    samples = np.array(image.filter(ImageFilter.GaussianBlur(2)), float)
    samples *= np.linspace(1, .85, samples.shape[1])[None, :, None]
    samples += random.normal(0, noise, samples.shape)
    return Image.fromarray(samples.clip(0, 255).astype(np.uint8))


def draw_all(folder, random):
    """Images that are no data set's; names say what is peculiar."""
    black, white = (0, 0, 0), (255, 255, 255)
    images = {
        "shirt-on-white.png": shirt((640, 480), (30, 60, 160), white),
        "shirt-on-black.png": shirt((640, 480), (220, 60, 60), black),
        "white-shirt-on-grey.png": shirt((600, 600), white, (190, 190, 190)),
        "dark-shirt-on-grey.png": shirt((600, 600), (20, 20, 20), (120, 120, 120)),
        "pale-shirt-on-white.png": shirt((500, 500), (235, 235, 230), white),
        "shirt-transparent.png": shirt((400, 400), (20, 30, 40, 255), (0, 0, 0, 0), "RGBA"),
        "light-shirt-transparent.webp": shirt((400, 400), (250, 240, 230, 255), (0, 0, 0, 0), "RGBA"),
        "half-transparent.png": shirt((300, 300), (200, 30, 40, 128), (0, 0, 0, 0), "RGBA"),
        "boot-photo.jpg": photo(boot((1200, 900), (90, 50, 20), (235, 235, 230)), random, 6),
        "boot-photo-dark.jpg": photo(boot((900, 1200), (200, 170, 120), (25, 25, 30)), random, 6),
        "large.jpg": photo(boot((6000, 4000), (90, 50, 20), (240, 240, 240)), random, 4),
        "large.png": boot((6000, 4000), (90, 50, 20), (240, 240, 240)),
        "boot.gif": boot((320, 240), (10, 10, 10), white).quantize(16),
        "boot.bmp": boot((320, 240), (10, 90, 10), white),
        "boot.tiff": boot((320, 240), (10, 90, 200), white),
        "boot.ppm": boot((320, 240), (90, 10, 200), white),
        "line-drawing.png": boot((500, 500), white, white).filter(ImageFilter.FIND_EDGES),
        "1-bit.png": shirt((200, 200), 0, 1, "1"),
        "16-bit.png": Image.fromarray((np.array(shirt((200, 200), 40, 250, "L"), np.uint16) * 257)),
        "cmyk.jpg": shirt((300, 300), (30, 60, 160), white).convert("CMYK"),
        "one-pixel.png": Image.new("RGB", (1, 1), (255, 0, 0)),
        "one-pixel-wide.png": Image.fromarray(np.repeat(np.arange(200, dtype=np.uint8)[:, None], 1, 1)),
        "one-pixel-high.png": Image.fromarray(np.arange(200, dtype=np.uint8)[None]),
        "narrow.png": Image.fromarray(random.integers(0, 256, (3, 3000), dtype=np.uint8)),
        "blank-white.png": Image.new("L", (300, 200), 255),
        "blank-black.png": Image.new("L", (300, 200), 0),
        "noise.png": Image.fromarray(random.integers(0, 256, (300, 300, 3), dtype=np.uint8)),
        "gradient.png": Image.linear_gradient("L").resize((500, 300)),
        "touches-the-border.png": shirt((400, 400), black, white).crop((60, 60, 340, 340)),
        "28x28-colour.png": boot((28, 28), (200, 30, 30), white),
        "28x28-light.png": boot((28, 28), (60, 60, 60), white).convert("L"),
        "27x29.png": boot((27, 29), (60, 60, 60), white).convert("L"),
        "a jpeg named.png": boot((300, 300), (60, 60, 60), white),
    }
    for name, image in images.items():
        image.save(folder / name, **({"format": "JPEG"} if "jpeg" in name else {}))
    return len(images)


def predict(arguments, run, folder):
    program = REPOSITORY / "target/release/predict"
    return subprocess.run([program, "--model", run, *arguments, folder], capture_output=True, text=True)


def read_idx(path):
    open_file = gzip.open if path.suffix == ".gz" else open
    with open_file(path, "rb") as file:
        content = file.read()
    count, rows, columns = (int.from_bytes(content[at:at + 4], "big") for at in (4, 8, 12))
    return np.frombuffer(content, np.uint8, offset=16).reshape(count, rows, columns)


def main():
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--run", type=pathlib.Path, default="runs/latest")
    flags.add_argument("--data", type=pathlib.Path, default="data/fashion-mnist")
    flags.add_argument("--images", type=int, default=200, help="test images written out")
    flags = flags.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        drawn = draw_all(folder, np.random.default_rng(7))
        told = predict([], flags.run, folder)
        print(told.stdout.replace(f"{folder}/", ""), told.stderr, sep="", end="")
        answered = len(predict(["--json"], flags.run, folder).stdout.splitlines())
        print(f"\n{drawn} drawn images, {answered} answers, exit code {told.returncode}")
    failed = told.returncode != 0 or answered != drawn

    test = next(path for path in flags.data.iterdir() if path.name.startswith("t10k-images"))
    test = read_idx(test)
    with open(flags.run / "predictions.csv", newline="") as file:
        answers = {int(row["index"]): row for row in csv.DictReader(file)}
    classes = json.loads((flags.run / "evaluation.json").read_text())["classes"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        chosen = [i * len(test) // flags.images for i in range(flags.images)]
        for index in chosen:
            Image.fromarray(test[index]).save(folder / f"{index:05}.png")
        lines = [json.loads(line) for line in predict(["--json"], flags.run, folder).stdout.splitlines()]
        found = {int(pathlib.Path(line["file"]).stem): line for line in lines}
    same = sum(found[i]["label"] == classes[int(answers[i]["predicted"])] for i in found)
    apart = max(abs(found[i]["confidence"] - float(answers[i]["confidence"])) for i in found)
    print(f"{same} of {len(chosen)} test images answered as in predictions.csv, "
          f"confidences at most {apart:.1e} apart")
    return int(failed or same != len(chosen))


if __name__ == "__main__":
    sys.exit(main())
