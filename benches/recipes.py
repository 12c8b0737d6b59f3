"""What a recipe reaches on the test images: mean and deviation over seeds.

    cargo build --release
    python3 benches/recipes.py quick --seeds 10         # about half an hour on two cores
    python3 benches/recipes.py reference standard --seeds 5

    cargo build --release --features gpu
    python3 benches/recipes.py quick --seeds 5 --device gpu   # into runs/recipes-gpu, one at a time

Trains the recipe with seeds 1 to N into runs/recipes/<recipe>-<seed>; runs that are there already
and have finished are not made again, so a stopped call goes on. The first seed has the machine to
itself and gives the minutes. The others share it, one thread and one core each, which is quicker
together; threads do not change the weights. Prints every seed and then a row in Markdown: mean,
sample deviation, least and greatest of single models, the mean of each with mirror images
(`evaluate --tta`), and the mean answers of the first three and five models together.

Each call opens the test images. The choices behind a recipe were made on the validation part; when
the test images were looked at is written down in docs/test-looks.md.
"""

import argparse
import concurrent.futures
import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target/release"
TOGETHER = [3, 5]


def output(*command):
    finished = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if finished.returncode != 0:
        sys.exit(f"{command[0]} ended with status {finished.returncode}: {finished.stderr}")
    return finished.stdout


def trained(recipe, seed, out, flags, more):
    """The folder of a finished run."""
    folder = out / f"{recipe}-{seed}"
    if not (folder / "evaluation.json").is_file():
        name = ["--out", out, "--name", folder.name]
        go_on = ["--resume", folder] if (folder / "last.ckpt").is_file() else None
        fresh = ["--recipe", recipe, "--seed", seed, *name, "--overwrite", *flags]
        output(BINARIES / "train", "--quiet", *more, *(go_on or fresh))
    return folder


def accuracy(*arguments):
    """In percent."""
    return 100 * json.loads(output(BINARIES / "evaluate", "--json", *arguments))["accuracy"]


def history(run):
    """How many epochs a run took, and its minutes of training and validation."""
    with open(run / "training_history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return len(rows), sum(float(row["seconds"]) for row in rows) / 60


def spread(values):
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def train_all(recipe, seeds, out, flags, device):
    """The run folders of all seeds, in order."""
    if device == "gpu":
        return [trained(recipe, seed, out, flags, ["--device", device]) for seed in seeds]
    first = trained(recipe, seeds[0], out, flags, [])
    one = ["--threads", 1]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as sharing:
        others = sharing.map(lambda seed: trained(recipe, seed, out, flags, one), seeds[1:])
        return [first, *others]


def measure(recipe, seeds, out, flags, device):
    plain, mirrored, epochs = [], [], []
    runs = train_all(recipe, seeds, out, flags, device)
    print(f"{recipe}: seed, accuracy, with mirror images, epochs", flush=True)
    for seed, run in zip(seeds, runs):
        plain.append(accuracy(run))
        mirrored.append(accuracy(run, "--tta"))
        epochs.append(history(run)[0])
        print(f"{seed:>4} {plain[-1]:.2f} {mirrored[-1]:.2f} {epochs[-1]:>3}", flush=True)
    together = {n: f"{accuracy(*runs[:n]):.2f}" for n in TOGETHER if n <= len(runs)}
    cells = [
        f"`{recipe}`",
        f"{statistics.mean(epochs):.0f}",
        f"{history(runs[0])[1]:.1f}",
        f"{len(runs)}",
        spread(plain),
        f"{min(plain):.2f} to {max(plain):.2f}",
        spread(mirrored),
        *(together.get(n, "") for n in TOGETHER),
    ]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 1 [default: 5]")
    parser.add_argument("--out", type=pathlib.Path, help="[default: runs/recipes, runs/recipes-gpu]")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--data", help="another data set, as train's --data")
    arguments = parser.parse_args()
    flags = ["--data", arguments.data] if arguments.data else []
    seeds, device = range(1, arguments.seeds + 1), arguments.device
    out = arguments.out or ROOT / ("runs/recipes-gpu" if device == "gpu" else "runs/recipes")
    rows = [measure(recipe, seeds, out, flags, device) for recipe in arguments.recipes]
    heads = ["recipe", "epochs", "minutes", "seeds", "test accuracy, %", "range", "with mirror images"]
    heads += [f"{n} models together" for n in TOGETHER]
    print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
