"""The reference network in PyTorch, and the weights, images and labels it is given.

All of these come from Philox (philox.py), by whole-number arithmetic or with at most one
float32 rounding an element, so that any engine can make them again bit for bit.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

import philox

SEED = 2024
BATCH = 32
CLASSES = 10
PURPOSE_TENSORS = 1000  # plus the tensor's number in file order
PURPOSE_PIXELS = 2000
PURPOSE_LABELS = 2001
PURPOSE_TEMPLATES = 2002

TEN_STEPS_BATCH = 64
TEN_STEPS_START = {"gamma": 1 / 16, "beta": 1 / 2, "bias_before_relu": 3, "other_bias": 0, "mean": 0, "variance": 1}

EPS = 1e-3
MOMENTUM = 0.01  # PyTorch's meaning: the share of the new batch; Keras calls this 0.99

# Their exact gradient is zero, since batch norm takes the mean away again; what a
# framework computes is rounding noise, which Adam would turn into full-size steps.
BIASES_BEFORE_BATCH_NORM = ["conv1.bias", "conv3.bias", "conv5.bias", "dense1.bias"]

# The same holds for bn3.beta while dropout is off: between it and bn4 all is linear.
# It is updated all the same: the little that rounding moves it by, bn4 takes away.
ZERO_GRADIENTS = [*BIASES_BEFORE_BATCH_NORM, "bn3.beta"]

# Constants added to whole channels of these are taken away by the next batch norm as long as
# the relus between pass or cut whole channels, as they do in the ten steps.
TEN_STEPS_ZERO_GRADIENTS = [*ZERO_GRADIENTS, "bn1.beta", "conv2.bias", "bn2.beta", "conv4.bias"]

# Directly, that is without a batch norm between.
BIASES_BEFORE_RELU = ["conv2.bias", "conv4.bias", "dense2.bias"]


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


def ten_steps_tensors():
    """The weights of `initial_tensors`; every other tensor is one number, of alternating sign where a relu follows."""

    def start(name, values):
        kind = name.split(".")[1]
        if kind == "weight":
            return values
        if kind == "bias":
            kind = "bias_before_relu" if name in BIASES_BEFORE_RELU else "other_bias"
        started = np.full_like(values, TEN_STEPS_START[kind])
        if kind in ("beta", "bias_before_relu"):
            started[1::2] *= -1  # a relu passes the even channels and cuts the odd ones
        return started

    return {name: start(name, values) for name, values in initial_tensors().items()}


def class_template(label):
    """The picture of one class, uint8 [28, 28, 1]."""
    words = philox.stream(SEED, label, PURPOSE_TEMPLATES, 28 * 28)
    return (words >> np.uint32(24)).astype(np.uint8).reshape(28, 28, 1)


def ten_steps_batch(step):
    """Images uint8 [64, 28, 28, 1] and labels int64 [64] of one step.

    An image is three parts its class's template and one part noise, rounded down.
    """
    labels = philox.stream(SEED, step, PURPOSE_LABELS, TEN_STEPS_BATCH) % np.uint32(CLASSES)
    words = philox.stream(SEED, step, PURPOSE_PIXELS, TEN_STEPS_BATCH * 28 * 28)
    noise = (words >> np.uint32(24)).reshape(TEN_STEPS_BATCH, 28, 28, 1)
    templates = np.stack([class_template(label) for label in range(CLASSES)]).astype(np.uint32)
    return ((3 * templates[labels] + noise) // 4).astype(np.uint8), labels.astype(np.int64)


class Network:
    """The reference network at one precision, its leaves held in the engine's layouts."""

    def __init__(self, precision, tensors):
        self.precision = precision
        self.tensors = {name: torch.from_numpy(values).to(precision) for name, values in tensors.items()}
        for name in TRAINABLE:
            self.tensors[name].requires_grad_()

    def load(self, pixels, labels):
        """A batch as (images NCHW, labels); pixels are divided by 255 in float32."""
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

    def gradients(self, pixels, labels):
        """(logits, loss, name to gradient) of one training-mode pass over a batch."""
        images, labels = self.load(pixels, labels)
        logits = self.logits(images, training=True)
        loss = F.cross_entropy(logits, labels)
        found = torch.autograd.grad(loss, [self.tensors[name] for name in TRAINABLE])
        return logits, loss, dict(zip(TRAINABLE, found))
