"""Golden numbers of the reference network, computed by PyTorch on the CPU.

    python reference_network.py                writes reference_network.json beside this file
    python reference_network.py --full DIR     also writes DIR/gradients.safetensors, complete

Everything is in the engine's layouts: images and activations NHWC, convolution
weights HWIO, dense weights [in, out], flattening in NHWC order. Weights, images
and labels come from Philox (philox.py) and are therefore not stored.

Each run is made twice, in float32 and in float64, from the same float32 numbers.
The stored values are float32's; the `noise` beside them is the L2 distance to
float64's, relative to float64's norm: what the framework's own rounding costs,
and so the scale for a tolerance. One activation that rounding carries across a kink
(a relu's zero, a tie in a max-pool) moves the gradients of the layers below it by some
1e-3. In the whole batch of 32 at least two do so; the first four images are run as a second
case because none comes near (the nearest is five standard deviations of the rounding
error away), so there every gradient holds to about 1e-5.

Dropout is off throughout. Batch norm: eps 1e-3, running' = 0.99 running + 0.01 batch,
where the running variance takes the batch's variance times n/(n-1).
"""
import argparse
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import golden_json
import philox

SEED = 2024
BATCH = 32
FEW_IMAGES = 4
STEPS = 10
CLASSES = 10
PURPOSE_TENSORS = 1000  # plus the tensor's number in file order
PURPOSE_PIXELS = 2000
PURPOSE_LABELS = 2001

EPS = 1e-3
MOMENTUM = 0.01  # PyTorch's meaning: the share of the new batch; Keras calls this 0.99
ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7}

# Their exact gradient is zero, since batch norm takes the mean away again; what a
# framework computes is rounding noise, which Adam would turn into full-size steps.
BIASES_BEFORE_BATCH_NORM = ["conv1.bias", "conv3.bias", "conv5.bias", "dense1.bias"]

# The same holds for bn3.beta while dropout is off: between it and bn4 all is linear.
# It is updated all the same, as the noise is far below Adam's eps.
ZERO_GRADIENTS = [*BIASES_BEFORE_BATCH_NORM, "bn3.beta"]

# Tensors with more elements than this are stored as samples.
@dataclass
class Samples:
    """How much of a tensor is stored."""

    largest_whole: int  # elements
    of_a_larger_one: int


FINE = Samples(2048, 1024)
MIDDLE = Samples(256, 256)
COARSE = Samples(256, 128)


def convolution(name, inputs, outputs):
    return {f"{name}.weight": (3, 3, inputs, outputs), f"{name}.bias": (outputs,)}


def batch_norm(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("gamma", "beta", "mean", "variance")}


def dense(name, inputs, outputs):
    return {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}


# Name to shape; the order is the file order, which numbers the tensors.
SHAPES = {
    **convolution("conv1", 1, 32), **batch_norm("bn1", 32),
    **convolution("conv2", 32, 32),
    **convolution("conv3", 32, 64), **batch_norm("bn2", 64),
    **convolution("conv4", 64, 64),
    **convolution("conv5", 64, 128), **batch_norm("bn3", 128),
    **dense("dense1", 512, 512), **batch_norm("bn4", 512),
    **dense("dense2", 512, 256),
    **dense("dense3", 256, CLASSES),
}  # fmt: skip
RUNNING = [name for name in SHAPES if name.endswith((".mean", ".variance"))]
TRAINABLE = [name for name in SHAPES if name not in RUNNING]
UPDATED = [name for name in TRAINABLE if name not in BIASES_BEFORE_BATCH_NORM]


def initial_tensor(name, shape, words):
    """One tensor's float32 values from its stream; at most one rounding an element."""
    u = philox.uniform(words)
    signed = np.float32(2) * u - np.float32(1)  # in [-1, 1), exact
    kind = name.split(".")[1]
    if kind == "weight":
        *window, inputs, outputs = shape
        fans = math.prod(window) * (inputs + outputs)
        # The limit is computed in float64 and rounded once; then one float32 product.
        values = signed * np.float32(math.sqrt(6.0 / fans))
    elif kind in ("bias", "mean"):
        values = signed * np.float32(0.1)
    elif kind == "beta":
        values = signed * np.float32(0.2)
    else:  # gamma, variance: in [0.5, 1.5]
        values = np.float32(0.5) + u
    assert values.dtype == np.float32
    return values.reshape(shape)


def initial_tensors():
    """All 32 tensors of the network, in file order: name to float32 array."""
    return {
        name: initial_tensor(name, shape, philox.stream(SEED, 0, PURPOSE_TENSORS + number, math.prod(shape)))
        for number, (name, shape) in enumerate(SHAPES.items())
    }


def batch(step):
    """Images uint8 [32, 28, 28, 1] and labels int64 [32] of one step."""
    pixels = philox.stream(SEED, step, PURPOSE_PIXELS, BATCH * 28 * 28) >> np.uint32(24)
    labels = philox.stream(SEED, step, PURPOSE_LABELS, BATCH) % np.uint32(CLASSES)
    return pixels.astype(np.uint8).reshape(BATCH, 28, 28, 1), labels.astype(np.int64)


class Network:
    """The reference network at one precision, its leaves held in the engine's layouts."""

    def __init__(self, precision):
        self.precision = precision
        self.tensors = {name: torch.from_numpy(values).to(precision) for name, values in initial_tensors().items()}
        for name in TRAINABLE:
            self.tensors[name].requires_grad_()

    def load(self, step, images=BATCH):
        """The first images of a batch as (images NCHW, labels); pixels are divided by 255 in float32."""
        pixels, labels = (values[:images] for values in batch(step))
        images = torch.from_numpy(pixels.astype(np.float32) / np.float32(255)).to(self.precision)
        return images.permute(0, 3, 1, 2), torch.from_numpy(labels)

    def convolve(self, name, x):
        weight = self.tensors[f"{name}.weight"].permute(3, 2, 0, 1)
        return F.conv2d(x, weight, self.tensors[f"{name}.bias"])

    def normalise(self, name, x, training):
        gamma, beta, mean, variance = (self.tensors[f"{name}.{part}"] for part in ("gamma", "beta", "mean", "variance"))
        return F.batch_norm(x, mean, variance, gamma, beta, training, MOMENTUM, EPS)

    def connect(self, name, x):
        return x @ self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def logits(self, images, training):
        """Logits [n, 10] of images [n, 1, 28, 28]; training mode moves the running statistics."""
        x = F.relu(self.normalise("bn1", self.convolve("conv1", images), training))
        x = F.max_pool2d(F.relu(self.convolve("conv2", x)), 2)
        x = F.relu(self.normalise("bn2", self.convolve("conv3", x), training))
        x = F.max_pool2d(F.relu(self.convolve("conv4", x)), 2)
        x = self.normalise("bn3", self.convolve("conv5", x), training)
        x = x.permute(0, 2, 3, 1).flatten(1)
        x = F.relu(self.normalise("bn4", self.connect("dense1", x), training))
        x = F.relu(self.connect("dense2", x))
        return self.connect("dense3", x)

    def gradients(self, step, images=BATCH):
        """(logits, loss, name to gradient) of one training-mode pass over a batch's first images."""
        images, labels = self.load(step, images)
        logits = self.logits(images, training=True)
        loss = F.cross_entropy(logits, labels)
        found = torch.autograd.grad(loss, [self.tensors[name] for name in TRAINABLE])
        return logits, loss, dict(zip(TRAINABLE, found))


@dataclass
class Pass:
    """What one training-mode pass from the initial tensors leaves."""

    logits: torch.Tensor
    loss: torch.Tensor
    gradients: dict[str, torch.Tensor]
    running_statistics: dict[str, torch.Tensor]


def training_pass(precision, images):
    """Run (a): forward and backward over the first images of batch 0."""
    network = Network(precision)
    logits, loss, gradients = network.gradients(0, images)
    running = {name: network.tensors[name] for name in RUNNING}
    return Pass(logits.detach(), loss.detach(), gradients, running)


def inference_logits(precision):
    """Run (b): batch 0 with the initial running statistics."""
    network = Network(precision)
    with torch.no_grad():
        return network.logits(network.load(0)[0], training=False)


def keras_adam_steps(precision):
    """Run (c): ten steps of Adam in Keras's form; returns the losses and all tensors."""
    network = Network(precision)
    beta1, beta2 = ADAM["beta1"], ADAM["beta2"]
    first = {name: torch.zeros_like(network.tensors[name]) for name in UPDATED}
    second = {name: torch.zeros_like(network.tensors[name]) for name in UPDATED}
    losses = []
    for step in range(STEPS):
        _, loss, gradients = network.gradients(step)
        losses.append(loss.item())
        t = step + 1
        alpha = ADAM["learning_rate"] * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        with torch.no_grad():
            for name in UPDATED:
                gradient = gradients[name]
                first[name] = beta1 * first[name] + (1 - beta1) * gradient
                second[name] = beta2 * second[name] + (1 - beta2) * gradient * gradient
                network.tensors[name] -= alpha * first[name] / (second[name].sqrt() + ADAM["eps"])
    return losses, {name: tensor.detach() for name, tensor in network.tensors.items()}


def torch_adam_losses(precision):
    """The same ten steps with torch.optim.Adam, whose eps stands after the bias correction."""
    network = Network(precision)
    parameters = [network.tensors[name] for name in UPDATED]
    optimizer = torch.optim.Adam(parameters, ADAM["learning_rate"], (ADAM["beta1"], ADAM["beta2"]), ADAM["eps"])
    losses = []
    for step in range(STEPS):
        _, loss, gradients = network.gradients(step)
        losses.append(loss.item())
        for name in UPDATED:
            network.tensors[name].grad = gradients[name]
        optimizer.step()
    return losses


def noise(single, double):
    """L2 distance of the float32 result to the float64 one, relative to the latter's norm."""
    return float((single.double() - double).norm() / double.norm())


def entry(single, double, samples, exactly_zero=False):
    """A tensor for the file. Value j is element floor(j * size / count) in row-major order."""
    flat = single.contiguous().flatten().numpy()
    count = flat.size if flat.size <= samples.largest_whole else samples.of_a_larger_one
    return {
        "shape": list(single.shape),
        "norm": np.float32(single.double().norm().item()),
        "noise": None if exactly_zero else float(f"{noise(single, double):.2g}"),
        "values": flat[np.arange(count) * flat.size // count],
    }


def entries(singles, doubles, samples, zeros=()):
    return {name: entry(singles[name], doubles[name], samples, name in zeros) for name in singles}


def pass_entries(single, double, samples):
    """One pass for the file, from its float32 and its float64 run."""
    return {
        "loss": np.float32(single.loss.item()),
        "loss_float64": double.loss.item(),
        "logits": entry(single.logits, double.logits, FINE),
        "gradients": entries(single.gradients, double.gradients, samples, ZERO_GRADIENTS),
        "running_statistics": entries(single.running_statistics, double.running_statistics, samples),
    }


def sha256(arrays):
    """Of the arrays' bytes one after another, little-endian, row-major."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def inputs():
    """What a reader needs to know that it makes the same weights, images and labels."""
    tensors = initial_tensors()
    batches = [batch(step) for step in range(STEPS)]
    return {
        "seed": SEED,
        "batch": BATCH,
        "tensors_sha256": sha256(tensors.values()),
        "tensors": [
            {
                "name": name,
                "shape": list(values.shape),
                "purpose": PURPOSE_TENSORS + number,
                "first_values": values.flatten()[:4],
            }
            for number, (name, values) in enumerate(tensors.items())
        ],
        "batches": [
            {
                "step": step,
                "pixels_sha256": sha256([pixels]),
                "first_pixels": pixels.flatten()[:8],
                "labels": labels,
            }
            for step, (pixels, labels) in enumerate(batches)
        ],
    }


def losses_as_float32(losses):
    return [np.float32(loss) for loss in losses]


def ten_steps():
    """Run (c) for the file."""
    losses, tensors = keras_adam_steps(torch.float32)
    losses_float64, tensors_float64 = keras_adam_steps(torch.float64)
    return {
        "losses": losses_as_float32(losses),
        "losses_float64": losses_float64,
        "losses_torch_adam": losses_as_float32(torch_adam_losses(torch.float32)),
        "tensors": entries(tensors, tensors_float64, COARSE),
    }


def golden_numbers(passes):
    """The whole content of reference_network.json; `passes` maps a name to its two passes."""
    return {
        "made_with": golden_json.versions(),
        "settings": {"batch_norm_eps": EPS, "batch_norm_momentum": 1 - MOMENTUM, "adam": ADAM},
        "not_updated": BIASES_BEFORE_BATCH_NORM,
        "zero_gradients": ZERO_GRADIENTS,
        "inputs": inputs(),
        "first_batch": pass_entries(*passes["first_batch"], FINE),
        "few_images": {"images": FEW_IMAGES, **pass_entries(*passes["few_images"], MIDDLE)},
        "inference_logits": entry(inference_logits(torch.float32), inference_logits(torch.float64), FINE),
        "ten_steps": ten_steps(),
    }


def write_complete_gradients(folder, passes):
    """Every gradient whole, as `<pass>/<tensor>` in float32 and `<pass>/float64/<tensor>`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    content = {}
    for name, (single, double) in passes.items():
        content |= {f"{name}/{tensor}": values.contiguous() for tensor, values in single.gradients.items()}
        content |= {f"{name}/float64/{tensor}": values.contiguous() for tensor, values in double.gradients.items()}
    save_file(content, folder / "gradients.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", type=Path, metavar="DIR", help="also write every gradient completely here")
    arguments = parser.parse_args()
    # One thread: the order of PyTorch's sums may depend on how many there are.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    passes = {
        name: [training_pass(precision, images) for precision in (torch.float32, torch.float64)]
        for name, images in (("first_batch", BATCH), ("few_images", FEW_IMAGES))
    }
    golden_json.write(Path(__file__).with_suffix(".json"), golden_numbers(passes))
    if arguments.full:
        write_complete_gradients(arguments.full, passes)


if __name__ == "__main__":
    main()
