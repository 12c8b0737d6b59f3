"""Times toile and PyTorch on the reference network, in turn, and prints the ratios.

    pip install torch
    cargo build --release --example throughput
    python3 benches/against_pytorch.py --rounds 5 --threads 2

A machine's speed drifts, so only the two figures of one round are comparable: the result is the
median over rounds of their ratio. Above 1, toile is faster. PyTorch runs channels-last, its
fastest mode for this network; training is forward, backward and Adam with dropout on, one fixed
batch in memory; inference is in inference mode.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

PROBE = pathlib.Path(__file__).parent.parent / "target" / "release" / "examples" / "throughput"
# Key of the probe's JSON line, and whether more is better.
MEASURES = {"train_images_per_s": True, "infer_images_per_s": True, "one_image_us": False}


def network(nn):
    def conv(inputs, outputs, *after):
        return [nn.Conv2d(inputs, outputs, 3), *after]

    def norm(kind, channels):
        return kind(channels, eps=1e-3, momentum=0.01)

    pool = [nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
    return nn.Sequential(
        *conv(1, 32, norm(nn.BatchNorm2d, 32), nn.ReLU()),
        *conv(32, 32, *pool),
        *conv(32, 64, norm(nn.BatchNorm2d, 64), nn.ReLU()),
        *conv(64, 64, *pool),
        *conv(64, 128, norm(nn.BatchNorm2d, 128), nn.Dropout(0.25), nn.Flatten()),
        *[nn.Linear(512, 512), norm(nn.BatchNorm1d, 512), nn.ReLU(), nn.Dropout(0.5)],
        *[nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10)],
    )


def median_seconds(body, warm_up, rounds):
    seconds = []
    for i in range(warm_up + rounds):
        start = time.perf_counter()
        body()
        if i >= warm_up:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure_pytorch(threads, batch):
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layout = {"memory_format": torch.channels_last}
    model = network(torch.nn).to(**layout)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7, foreach=True)
    images = torch.rand(batch, 1, 28, 28).to(**layout)
    labels = torch.randint(10, (batch,))

    def step():
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    train = median_seconds(step, 8, 40)
    model.eval()
    many = torch.rand(1000, 1, 28, 28).to(**layout)
    one = many[:1].contiguous(**layout)
    with torch.inference_mode():
        infer = median_seconds(lambda: model(many), 3, 8)
        single = median_seconds(lambda: model(one), 50, 300)
    return {
        "version": torch.__version__,
        "train_images_per_s": batch / train,
        "infer_images_per_s": 1000 / infer,
        "one_image_us": 1e6 * single,
    }


def run(*command):
    """The JSON object that a program prints, in a process of its own."""
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pytorch-only", action="store_true", help="print PyTorch's figures as JSON")
    arguments = parser.parse_args()
    sizes = ["--threads", str(arguments.threads), "--batch", str(arguments.batch)]
    if arguments.pytorch_only:
        print(json.dumps(measure_pytorch(arguments.threads, arguments.batch)))
        return
    if not PROBE.exists():
        sys.exit(f"{PROBE} is missing: cargo build --release --example throughput")
    rounds = []
    for number in range(1, arguments.rounds + 1):
        toile = run(str(PROBE), *sizes)
        pytorch = run(sys.executable, __file__, "--pytorch-only", *sizes)
        rounds.append((toile, pytorch))
        figures = (f"{key} {toile[key]:.0f} to {pytorch[key]:.0f}" for key in MEASURES)
        print(f"round {number}: toile to PyTorch: " + ", ".join(figures), flush=True)
    print(f"\ntoile on {toile['isa']} against PyTorch {pytorch['version']}, {arguments.threads} threads")
    for key, more_is_better in MEASURES.items():
        ratios = [t[key] / p[key] if more_is_better else p[key] / t[key] for t, p in rounds]
        spread = [f"{min(r[i][key] for r in rounds):.0f} to {max(r[i][key] for r in rounds):.0f}" for i in (0, 1)]
        print(f"{key:20} toile {spread[0]:14} PyTorch {spread[1]:14} ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
