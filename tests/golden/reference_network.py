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

The ten steps start elsewhere and learn other images. Adam makes a whole step of a tiny
gradient's sign, so from the usual starts one crossed kink grows to 1e-3 or 1e-2 of the loss
within ten steps, whichever images were tried. With all gammas 1/16, and betas of 1/2 and biases of 3 before
the relus, positive on even channels and negative on odd ones, a relu passes or cuts whole
channels, none comes near its zero, and ten losses hold to 2e-5.

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

import golden_json
import philox
from network import (
    BATCH,
    BIASES_BEFORE_BATCH_NORM,
    CLASSES,
    EPS,
    MOMENTUM,
    PURPOSE_TENSORS,
    RUNNING,
    SEED,
    TEN_STEPS_BATCH,
    TEN_STEPS_START,
    TEN_STEPS_ZERO_GRADIENTS,
    UPDATED,
    ZERO_GRADIENTS,
    Network,
    batch,
    class_template,
    initial_tensors,
    ten_steps_batch,
    ten_steps_tensors,
)

FEW_IMAGES = 4
STEPS = 10
OTHER_ORDERS = 8
PURPOSE_ORDERS = 2003
ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7}


@dataclass
class Samples:
    """How much of a tensor is stored."""

    largest_whole: int  # elements
    of_a_larger_one: int


# Primes: a step that shares a factor with the number of channels would miss whole channels.
FINE = Samples(2048, 1021)
MIDDLE = Samples(256, 251)
COARSE = Samples(256, 127)


@dataclass
class Pass:
    """What one training-mode pass from the initial tensors leaves."""

    logits: torch.Tensor
    loss: torch.Tensor
    gradients: dict[str, torch.Tensor]
    running_statistics: dict[str, torch.Tensor]


def training_pass(precision, images):
    """Run (a): forward and backward over the first images of batch 0."""
    network = Network(precision, initial_tensors())
    logits, loss, gradients = network.gradients(*(values[:images] for values in batch(0)))
    running = {name: network.tensors[name] for name in RUNNING}
    return Pass(logits.detach(), loss.detach(), gradients, running)


def inference_logits(precision):
    """Run (b): batch 0 with the initial running statistics."""
    network = Network(precision, initial_tensors())
    with torch.no_grad():
        return network.logits(network.load(*batch(0))[0], training=False)


def keras_adam_steps(precision, batches):
    """Run (c): ten steps of Adam in Keras's form; returns the losses and all tensors."""
    network = Network(precision, ten_steps_tensors())
    beta1, beta2 = ADAM["beta1"], ADAM["beta2"]
    first = {name: torch.zeros_like(network.tensors[name]) for name in UPDATED}
    second = {name: torch.zeros_like(network.tensors[name]) for name in UPDATED}
    losses = []
    for t, (pixels, labels) in enumerate(batches, start=1):
        _, loss, gradients = network.gradients(pixels, labels)
        losses.append(loss.item())
        alpha = ADAM["learning_rate"] * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        with torch.no_grad():
            for name in UPDATED:
                gradient = gradients[name]
                first[name] = beta1 * first[name] + (1 - beta1) * gradient
                second[name] = beta2 * second[name] + (1 - beta2) * gradient * gradient
                network.tensors[name] -= alpha * first[name] / (second[name].sqrt() + ADAM["eps"])
    return losses, {name: tensor.detach() for name, tensor in network.tensors.items()}


def torch_adam_losses(precision, batches):
    """The same ten steps with torch.optim.Adam, whose eps stands after the bias correction."""
    network = Network(precision, ten_steps_tensors())
    parameters = [network.tensors[name] for name in UPDATED]
    optimizer = torch.optim.Adam(parameters, ADAM["learning_rate"], (ADAM["beta1"], ADAM["beta2"]), ADAM["eps"])
    losses = []
    for pixels, labels in batches:
        _, loss, gradients = network.gradients(pixels, labels)
        losses.append(loss.item())
        for name in UPDATED:
            network.tensors[name].grad = gradients[name]
        optimizer.step()
    return losses


def noise(single, double):
    """L2 distance of the float32 result to the float64 one, relative to the latter's norm."""
    return float((single.double() - double).norm() / double.norm())


def two_digits(value):
    return float(f"{value:.2g}")


def entry(single, double, samples, exactly_zero=False):
    """A tensor for the file. Value j is element floor(j * size / count) in row-major order."""
    flat = single.contiguous().flatten().numpy()
    count = flat.size if flat.size <= samples.largest_whole else samples.of_a_larger_one
    return {
        "shape": list(single.shape),
        "norm": np.float32(single.double().norm().item()),
        "noise": None if exactly_zero else two_digits(noise(single, double)),
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
        "batches": described([batch(step) for step in range(STEPS)]),
    }


def described(batches):
    """Enough of each batch to see that a reader has made the same."""
    return [
        {
            "step": step,
            "pixels_sha256": sha256([pixels]),
            "first_pixels": pixels.flatten()[:8],
            "labels": labels,
        }
        for step, (pixels, labels) in enumerate(batches)
    ]


def losses_as_float32(losses):
    return [np.float32(loss) for loss in losses]


def reordered(batches, number):
    """The batches with their images in another order: the same sums, rounded differently."""
    order = np.argsort(philox.stream(SEED, number, PURPOSE_ORDERS, TEN_STEPS_BATCH), kind="stable")
    return [(pixels[order], labels[order]) for pixels, labels in batches]


def ten_steps():
    """Run (c) for the file."""
    batches = [ten_steps_batch(step) for step in range(STEPS)]
    losses, tensors = keras_adam_steps(torch.float32, batches)
    exact, exact_tensors = keras_adam_steps(torch.float64, batches)
    others = [keras_adam_steps(torch.float32, reordered(batches, number))[0] for number in range(OTHER_ORDERS)]
    deviations = np.abs(np.array([losses, *others]) / exact - 1)
    return {
        "inputs": {
            "batch": TEN_STEPS_BATCH,
            "start": TEN_STEPS_START,
            "tensors_sha256": sha256(ten_steps_tensors().values()),
            "templates_sha256": sha256([class_template(label) for label in range(CLASSES)]),
            "batches": described(batches),
        },
        "losses": losses_as_float32(losses),
        "losses_float64": exact,
        "zero_gradients": TEN_STEPS_ZERO_GRADIENTS,
        "noise": [two_digits(deviation) for deviation in deviations[0]],
        "noise_other_orders": [two_digits(deviation) for deviation in deviations[1:].max(axis=0)],
        "losses_torch_adam": losses_as_float32(torch_adam_losses(torch.float32, batches)),
        "tensors": entries(tensors, exact_tensors, COARSE, BIASES_BEFORE_BATCH_NORM),
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
