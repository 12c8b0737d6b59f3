"""Makes the four IDX files of a data set from folders of images, for `train --data OUT`.

    pip install pillow
    python3 docs/make_idx.py IMAGES OUT [--size 28]

IMAGES holds train/CLASS/*.png and test/CLASS/*.png (any format that Pillow reads). Classes are
numbered in the order of their names, and the numbering is printed. Images become grey and square.
"""
import argparse
import pathlib
import random

from PIL import Image


def read(folder, classes, size):
    """Pixels and labels of a part, shuffled: train takes its validation part from the end."""
    items = [(path, number) for number, name in enumerate(classes)
             for path in sorted((folder / name).iterdir()) if path.is_file()]
    random.Random(42).shuffle(items)
    images = (Image.open(path).convert("L").resize((size, size), Image.LANCZOS) for path, _ in items)
    return b"".join(image.tobytes() for image in images), bytes(label for _, label in items)


def write(path, sizes, body):
    header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    path.write_bytes(header + body)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("images", type=pathlib.Path)
    arguments.add_argument("out", type=pathlib.Path)
    arguments.add_argument("--size", type=int, default=28, help="24 to 128")
    options = arguments.parse_args()
    classes = sorted(path.name for path in (options.images / "train").iterdir() if path.is_dir())
    options.out.mkdir(parents=True, exist_ok=True)
    for part, name in [("train", "train"), ("test", "t10k")]:
        pixels, labels = read(options.images / part, classes, options.size)
        sizes = [len(labels), options.size, options.size]
        write(options.out / f"{name}-images-idx3-ubyte", sizes, pixels)
        write(options.out / f"{name}-labels-idx1-ubyte", sizes[:1], labels)
        print(f"{part}: {len(labels)} images")
    print("classes:", ", ".join(f"{number} {name}" for number, name in enumerate(classes)))
