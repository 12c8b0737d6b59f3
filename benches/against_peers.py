"""Times toile and other engines on the reference network, in turn, and prints the ratios.

    pip install torch onnx onnxruntime openvino         # any of them; what is missing is skipped
    cargo build --release --example throughput
    python3 benches/against_peers.py --rounds 5 --threads 2

    cargo build --release --features gpu --example throughput
    python3 benches/against_peers.py --device gpu       # beside PyTorch, eager and compiled

A machine's speed drifts, so only figures of one round are comparable: a result is the median over
rounds of a round's ratio. Above 1, toile is faster. All compute in 32-bit floats on made-up
images of one fixed batch in memory. Training is forward, backward and Adam with dropout on;
PyTorch runs eager and channels-last, its fastest mode to train this network; on a graphics card
(CUDA, without TF32) eager and compiled, sixteen steps or calls timed together. Inference ends with
the logits. It is PyTorch's inference mode, and for ONNX Runtime and OpenVINO a file that is made
here, for the number of images that it is asked for, so that they may fold and plan as they like.
"""

import argparse
import importlib.util
import io
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

PROBE = pathlib.Path(__file__).resolve().parent.parent / "target/release/examples/throughput"
MANY = 1000
# Steps and calls that are timed together on a graphics card: a look at the last result waits for
# all of them.
GPU_STEPS = 16
# Key of a JSON line, its name, and whether more is better.
MEASURES = {
    "train_images_per_s": ("training, batch {batch}, images/s", True),
    "infer_images_per_s": (f"inference, batch {MANY:,}, images/s", True),
    "one_image_us": ("one image, µs", False),
}
# The reference network. Numbers are channels or units in and out, of a dropout its rate.
LAYERS = [
    ("conv", 1, 32), ("norm", 32), ("relu",), ("conv", 32, 32), ("relu",), ("pool",), ("dropout", 0.25),
    ("conv", 32, 64), ("norm", 64), ("relu",), ("conv", 64, 64), ("relu",), ("pool",), ("dropout", 0.25),
    ("conv", 64, 128), ("norm", 128), ("dropout", 0.25), ("flatten",),
    ("dense", 512, 512), ("norm", 512), ("relu",), ("dropout", 0.5),
    ("dense", 512, 256), ("relu",), ("dropout", 0.5), ("dense", 256, 10),
]
EPSILON = 1e-3


def median_seconds(body, warm_up, rounds):
    seconds = []
    for i in range(warm_up + rounds):
        start = time.perf_counter()
        body()
        if i >= warm_up:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def inference_figures(many, one, together=1):
    """The figures of two calls: one that answers 1,000 images so many times, and one that answers
    one image."""
    return {
        "infer_images_per_s": together * MANY / median_seconds(many, 3, 8),
        "one_image_us": 1e6 * median_seconds(one, 50, 300),
    }


def torch_network(nn):
    is_flat = False
    layers = []
    for kind, *sizes in LAYERS:
        is_flat |= kind == "flatten"
        norm = nn.BatchNorm1d if is_flat else nn.BatchNorm2d
        make = {
            "conv": lambda inputs, outputs: nn.Conv2d(inputs, outputs, 3),
            "norm": lambda channels: norm(channels, eps=EPSILON, momentum=0.01),
            "relu": nn.ReLU,
            "pool": lambda: nn.MaxPool2d(2),
            "dropout": nn.Dropout,
            "flatten": nn.Flatten,
            "dense": nn.Linear,
        }
        layers.append(make[kind](*sizes))
    return nn.Sequential(*layers)


def measure_pytorch(threads, batch, device, compiled=False):
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    on_gpu = device == "gpu"
    place = {"device": "cuda" if on_gpu else "cpu"}
    layout = {"memory_format": torch.channels_last}
    model = torch_network(torch.nn).to(**place, **layout)
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7, foreach=True)
    images = torch.rand(batch, 1, 28, 28).to(**place, **layout)
    labels = torch.randint(10, (batch,), **place)
    together = GPU_STEPS if on_gpu else 1

    def steps():
        for _ in range(together):
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
            loss.backward()
            optimizer.step()
        loss.item()

    train = median_seconds(steps, 8, 40) / together
    model.eval()
    many = torch.rand(MANY, 1, 28, 28).to(**place, **layout)
    one = many[:1].contiguous(**layout)
    with torch.inference_mode():
        figures = inference_figures(
            lambda: [forward(many) for _ in range(together)][-1].cpu(),
            lambda: forward(one).cpu(),
            together,
        )
    version = torch.__version__.split("+")[0]
    return {"version": version, "train_images_per_s": batch / train, **figures}


def measure_compiled_pytorch(threads, batch, device):
    return measure_pytorch(threads, batch, device, compiled=True)


def onnx_model(images):
    """The network with made-up weights as the bytes of an ONNX file, for so many images."""
    import numpy
    from onnx import TensorProto, helper, numpy_helper

    random = numpy.random.default_rng(0)
    nodes, weights = [], []
    last = "images"

    def tensor(numbers):
        weights.append(numpy_helper.from_array(numbers.astype("float32"), f"w{len(weights)}"))
        return weights[-1].name

    def uniform(*shape):
        limit = (6 / (shape[0] + numpy.prod(shape[1:]))) ** 0.5
        return tensor(random.uniform(-limit, limit, shape))

    def add(operator, *parameters, **attributes):
        nonlocal last
        result = f"y{len(nodes)}"
        nodes.append(helper.make_node(operator, [last, *parameters], [result], **attributes))
        last = result

    for kind, *sizes in LAYERS:
        if kind == "conv":
            add("Conv", uniform(sizes[1], sizes[0], 3, 3), tensor(numpy.zeros(sizes[1])))
        elif kind == "norm":
            numbers = [random.uniform(0.5, 1.5, sizes[0]) for _ in range(4)]
            add("BatchNormalization", *map(tensor, numbers), epsilon=EPSILON)
        elif kind == "relu":
            add("Relu")
        elif kind == "pool":
            add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        elif kind == "flatten":
            add("Flatten")
        elif kind == "dense":
            add("Gemm", uniform(*sizes), tensor(numpy.zeros(sizes[1])))

    def value(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    inputs, outputs = [value("images", images, 1, 28, 28)], [value(last, images, 10)]
    graph = helper.make_graph(nodes, "reference", inputs, outputs, weights)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()


def made_up_images(count):
    import numpy

    return numpy.random.default_rng(0).random((count, 1, 28, 28), dtype="float32")


def measure_onnxruntime(threads, *_):
    import onnxruntime

    def answer(count):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            onnx_model(count), options, providers=["CPUExecutionProvider"]
        )
        images = {"images": made_up_images(count)}
        return lambda: session.run(None, images)

    return {"version": onnxruntime.__version__, **inference_figures(answer(MANY), answer(1))}


def measure_openvino(threads, *_):
    import openvino

    core = openvino.Core()

    def answer(count):
        model = core.read_model(io.BytesIO(onnx_model(count)))
        hints = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = core.compile_model(model, "CPU", hints).create_infer_request()
        images = {0: made_up_images(count)}
        return lambda: request.infer(images)

    version = openvino.__version__.split("-")[0]
    return {"version": version, **inference_figures(answer(MANY), answer(1))}


# Name on the command line: name in the table, modules, and the function that measures.
PEERS = {
    "pytorch": ("PyTorch", ["torch"], measure_pytorch),
    "pytorch-compiled": ("PyTorch compiled", ["torch"], measure_compiled_pytorch),
    "onnxruntime": ("ONNX Runtime", ["onnx", "onnxruntime"], measure_onnxruntime),
    "openvino": ("OpenVINO", ["onnx", "openvino"], measure_openvino),
}
# Those that are measured unless others are asked for.
USUAL = {"cpu": ["pytorch", "onnxruntime", "openvino"], "gpu": ["pytorch", "pytorch-compiled"]}


def run(command, **environment):
    """The JSON object that a program prints, in a process of its own."""
    child = subprocess.run(
        [str(part) for part in command],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )
    if child.returncode != 0:
        sys.exit(f"{command[0]} ended with status {child.returncode}:\n{child.stderr[-2000:]}")
    return json.loads(child.stdout.splitlines()[-1])


def installed(names):
    """The peers that can be measured; says which cannot."""
    found = []
    for name in names:
        missing = [module for module in PEERS[name][1] if importlib.util.find_spec(module) is None]
        if missing:
            print(f"{PEERS[name][0]} is skipped: no Python module {', '.join(missing)}")
        else:
            found.append(name)
    return found


def ratio(key, toile, peer):
    """How many times as fast toile is, in one round."""
    return toile[key] / peer[key] if MEASURES[key][1] else peer[key] / toile[key]


def spread(key, figures):
    low, high = min(f[key] for f in figures), max(f[key] for f in figures)
    return f"{low:,.0f} to {high:,.0f}" if round(low) != round(high) else f"{low:,.0f}"


def table(rounds, batch):
    """Markdown: ranges over the rounds, and the median of the rounds' ratios."""
    peers = [name for name in rounds[0] if name != "toile"]
    heads = [f"{PEERS[name][0]} {rounds[0][name]['version']}" for name in peers]
    lines = ["| | toile | " + "".join(f"{head} | ratio | " for head in heads)]
    lines.append("|---|---|" + "---|---|" * len(peers))
    for key, (title, _) in MEASURES.items():
        cells = [title.format(batch=batch), spread(key, [r["toile"] for r in rounds])]
        for name in peers:
            if key in rounds[0][name]:
                ratios = [ratio(key, r["toile"], r[name]) for r in rounds]
                cells += [spread(key, [r[name] for r in rounds]), f"{statistics.median(ratios):.2f}"]
            else:
                cells += ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(line.rstrip() for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128, help="images of a training step")
    parser.add_argument("--isa", help="TOILE_ISA for toile alone, such as avx2")
    parser.add_argument("--device", choices=USUAL, default="cpu")
    parser.add_argument("--peers", nargs="+", choices=PEERS)
    parser.add_argument("--only", choices=PEERS, help="print the figures of one peer as JSON")
    arguments = parser.parse_args()
    threads, batch, device = arguments.threads, arguments.batch, arguments.device
    sizes = ["--threads", threads, "--batch", batch, "--device", device]
    if arguments.only:
        print(json.dumps(PEERS[arguments.only][2](threads, batch, device)))
        return
    if not PROBE.exists():
        sys.exit(f"{PROBE} is missing: cargo build --release --example throughput")
    toile_environment = {"TOILE_ISA": arguments.isa} if arguments.isa else {}
    names = installed(arguments.peers or USUAL[device])
    rounds = []
    for number in range(1, arguments.rounds + 1):
        figures = {"toile": run([PROBE, *sizes], **toile_environment)}
        for name in names:
            command = [sys.executable, __file__, "--only", name, *sizes]
            figures[name] = run(command, OMP_NUM_THREADS=str(threads))
        rounds.append(figures)
        print(f"round {number}")
        for name, found in figures.items():
            keys = [key for key in MEASURES if key in found]
            values = "".join(f"  {key} {found[key]:9,.1f}" for key in keys)
            print(f"  {PEERS[name][0] if name in PEERS else name:13}{values}", flush=True)
    isa = rounds[0]["toile"]["isa"]
    print(f"\ntoile on {isa}, all on {threads} threads; rounds: {arguments.rounds}. A ratio is the")
    print("median of the rounds' ratios; above 1, toile is faster.\n")
    print(table(rounds, batch))


if __name__ == "__main__":
    main()
