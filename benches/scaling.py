"""How toile's training speed grows with the batch, the threads and the network.

    cargo build --release --example throughput
    python3 benches/scaling.py                      # about five minutes on two cores
    python3 benches/scaling.py --plot docs/scaling.png          # needs matplotlib
    python3 benches/scaling.py --threads 2 4 8 16 --widths 1
    python3 benches/scaling.py --processes          # what the machine has to give

Images/s of training for batches from 1 to 2,048, on one thread and on others, for the reference
network and for one four times as wide, whose layers cost up to sixteen times as much. Prints a
table in Markdown and the peak memory of the process that trains with batches of 128: of the
speed probe, whose images are one batch, and with --with-data of the program `train` as well, data
set, validation and evaluation included.

All numbers of threads are measured right after each other, since a machine's speed drifts, and
a ratio, always to one thread, is the median over rounds of a round's ratio. With --processes as
many processes of one thread as there are threads train beside each other, each a network of its
own: they wait for nobody, so what they reach together, compared with one alone, is how much more
those cores can do at once.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

BINARIES = pathlib.Path(__file__).resolve().parent.parent / "target/release"
PROBE = BINARIES / "examples/throughput"
BATCHES = [1, 8, 32, 128, 512, 2048]
REFERENCE_BATCH = 128
# Safe for the colour-blind (Okabe and Ito); threads differ by line and marker as well.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"]


def start(command, stdout=subprocess.PIPE):
    return subprocess.Popen([str(part) for part in command], stdout=stdout, text=True)


def end(child):
    """What a program printed, and its peak memory in MB."""
    output = child.stdout.read() if child.stdout else ""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{child.args[0]} ended with status {child.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return output, usage.ru_maxrss * unit / 1e6


def probe(width, batch, threads):
    command = [PROBE, "--mode", "train", "--width", width, "--batch", batch]
    return start([*command, "--threads", threads])


def measure(width, batch, threads):
    output, megabytes = end(probe(width, batch, threads))
    return {**json.loads(output), "megabytes": megabytes}


def measure_processes(width, batch, count):
    """Images/s of so many processes of one thread together."""
    children = [probe(width, batch, 1) for _ in range(count)]
    return sum(json.loads(end(child)[0])["train_images_per_s"] for child in children)


def memory_with_data(threads):
    with tempfile.TemporaryDirectory() as folder:
        sizes = ["--batch-size", REFERENCE_BATCH, "--threads", threads, "--max-steps", 100]
        train = [BINARIES / "train", "--quiet", "--out", folder, *sizes]
        return end(start(train, subprocess.DEVNULL))[1]


def rate(figures, width, batch, threads):
    return figures[width, batch, threads]["train_images_per_s"]


def median(rounds, width, batch, threads):
    return statistics.median(rate(figures, width, batch, threads) for figures in rounds)


def median_ratio(rounds, width, batch, threads, of="train_images_per_s"):
    """How many times as fast several threads, or processes, are as one thread."""
    return statistics.median(
        figures[width, batch, threads][of] / rate(figures, width, batch, 1) for figures in rounds
    )


def name_of(width):
    return "reference network" if width == 1 else f"{width} times as wide"


def table(rounds, widths, threads, processes):
    def heads_of(count):
        heads = [f"{count} threads", "ratio"]
        return heads + [f"of {count} processes"] * processes

    heads = ["batch"]
    for width in widths:
        heads += [f"{name_of(width)}: 1 thread", *(head for t in threads for head in heads_of(t))]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for batch in BATCHES:
        cells = [f"{batch:,}"]
        for width in widths:
            cells.append(f"{median(rounds, width, batch, 1):,.0f}")
            for count in threads:
                cells.append(f"{median(rounds, width, batch, count):,.0f}")
                cells.append(f"{median_ratio(rounds, width, batch, count):.2f}")
                if processes:
                    ratio = median_ratio(rounds, width, batch, count, of="processes")
                    cells.append(f"{ratio:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rounds, widths, threads, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    pyplot.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for width, colour in zip(widths, COLOURS):
        # The labels keep apart even where the lines meet.
        styles = ((threads, "-", colour, 7), (1, "--", "white", -7))
        for count, line, fill, raised in styles:
            rates = [median(rounds, width, batch, count) for batch in BATCHES]
            axes.plot(
                BATCHES, rates, line, color=colour, marker="o", markerfacecolor=fill, lw=1.8
            )
            label = f"{name_of(width)}, {count} thread{'s' if count > 1 else ''}"
            axes.annotate(
                label, (BATCHES[-1], rates[-1]), (9, raised), textcoords="offset points",
                va="center", color=colour, annotation_clip=False,
            )
    axes.set(xscale="log", yscale="log", xlabel="images of a batch")
    axes.set_title("Trained images a second", loc="left", fontsize=12)
    axes.xaxis.set_major_locator(FixedLocator(BATCHES))
    axes.xaxis.set_minor_locator(NullLocator())
    thousands = FuncFormatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_major_formatter(thousands)
    low, high = axes.get_ylim()
    ticks = [m * 10**e for e in range(6) for m in (1, 2, 5)]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(thousands)
    axes.grid(color="#DDDDDD", linewidth=0.7)
    figure.savefig(path, dpi=100)
    print(f"\n{path}: {os.path.getsize(path) / 1e3:.0f} KB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[2], help="each compared with one thread"
    )
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[1, 4], help="of the networks, up to four of them"
    )
    parser.add_argument(
        "--processes", action="store_true", help="beside as many processes of one thread each"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the figures as well")
    parser.add_argument("--with-data", action="store_true", help="memory of the program train too")
    arguments = parser.parse_args()
    needed = [PROBE] + [BINARIES / "train"] * arguments.with_data
    for program in needed:
        if not program.exists():
            sys.exit(f"{program} is missing: cargo build --release --bins --example throughput")
    widths, threads = arguments.widths, arguments.threads
    if len(widths) > len(COLOURS) or min(widths + threads) < 1:
        parser.error("threads and widths must be 1 or more, and widths at most four")
    most = max(threads)
    rounds = []
    for number in range(1, arguments.rounds + 1):
        figures = {}
        for width in widths:
            for batch in BATCHES:
                for count in (1, *threads):
                    found = figures[width, batch, count] = measure(width, batch, count)
                    if arguments.processes and count in threads:
                        found["processes"] = measure_processes(width, batch, count)
                    print(
                        f"round {number}: width {width}, batch {batch:4}, threads {count}: "
                        f"{found['train_images_per_s']:8,.1f} images/s, "
                        f"{found['train_gflops']:6,.1f} GFLOP/s, peak {found['peak_gflops']:.0f}",
                        file=sys.stderr, flush=True,
                    )
        rounds.append(figures)
    isa = rounds[0][widths[0], REFERENCE_BATCH, most]["isa"]
    print(f"Trained images/s on {isa}; rounds: {arguments.rounds}.\n")
    print(table(rounds, widths, threads, arguments.processes))
    megabytes = max(r[widths[0], REFERENCE_BATCH, most]["megabytes"] for r in rounds)
    print(f"\nPeak memory at batch {REFERENCE_BATCH}, {most} threads: {megabytes:.0f} MB", end="")
    if arguments.with_data:
        print(f"; of `train`, data set included: {memory_with_data(most):.0f} MB", end="")
    print()
    if arguments.plot:
        draw(rounds, widths, most, arguments.plot)


if __name__ == "__main__":
    main()
