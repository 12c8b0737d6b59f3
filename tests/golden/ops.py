"""Golden numbers of single operations, computed by PyTorch in float64.

    python ops.py       writes ops.json beside this file

Everything is in the engine's layouts (NHWC, HWIO, [in, out]) and every list is
row-major. Convolution, pooling and linear take multiples of 1/4 of at most 1,
so that their results are exact in float32 in any order of summation: a test
may ask for equality. The others hold float64's results in full.
"""
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import golden_json
import philox

SEED = 7
NAN, INF = math.nan, math.inf

streams_used = 0


def quarters(*shape):
    """A tensor of multiples of 1/4 in [-1, 1]; each call draws from its own stream."""
    global streams_used
    streams_used += 1
    words = philox.stream(SEED, 0, streams_used, math.prod(shape))
    return torch.from_numpy((words % np.uint32(9)).astype(np.float64) / 4 - 1).reshape(shape)


def positions(shape):
    """1, 2, 3, ...: an output gradient that tells where each element went."""
    return torch.arange(1, math.prod(shape) + 1, dtype=torch.float64).reshape(shape)


def stored(tensor):
    """A tensor for the file: shape and row-major values."""
    return {"shape": list(tensor.shape), "values": tensor.detach().contiguous().flatten().numpy()}


def to_nchw(x):
    return x.permute(0, 3, 1, 2)


def to_nhwc(x):
    return x.permute(0, 2, 3, 1)


def gradients(output, output_gradient, *inputs):
    return [stored(g) for g in torch.autograd.grad(output, inputs, output_gradient)]


def conv2d(name, input_shape, kernel, outputs, stride=1, padding=0):
    """Forward and the three gradients; input NHWC, weight HWIO."""
    x = quarters(*input_shape).requires_grad_()
    weight = quarters(*kernel, input_shape[3], outputs).requires_grad_()
    bias = quarters(outputs).requires_grad_()
    y = to_nhwc(F.conv2d(to_nchw(x), weight.permute(3, 2, 0, 1), bias, stride, padding))
    output_gradient = quarters(*y.shape)
    dx, dweight, dbias = gradients(y, output_gradient, x, weight, bias)
    return {
        "name": name,
        "stride": stride,
        "padding": padding,
        "input": stored(x),
        "weight": stored(weight),
        "bias": stored(bias),
        "output_gradient": stored(output_gradient),
        "output": stored(y),
        "input_gradient": dx,
        "weight_gradient": dweight,
        "bias_gradient": dbias,
    }


def max_pool2d(name, x, kernel, stride):
    """Values, the winner's row-major place in its window, and the gradient for `positions`."""
    x = x.clone().requires_grad_()
    y, flat_index = F.max_pool2d(to_nchw(x), kernel, stride, return_indices=True)
    height, width = y.shape[2:]
    # PyTorch's index counts in the whole plane; subtract the window's corner.
    row = flat_index // x.shape[2] - torch.arange(height)[:, None] * stride[0]
    column = flat_index % x.shape[2] - torch.arange(width) * stride[1]
    y = to_nhwc(y)
    output_gradient = positions(y.shape)
    (dx,) = gradients(y, output_gradient, x)
    return {
        "name": name,
        "kernel": kernel,
        "stride": stride,
        "input": stored(x),
        "output": stored(y),
        "winner": stored(to_nhwc(row * kernel[1] + column)),
        "output_gradient": stored(output_gradient),
        "input_gradient": dx,
    }


def plane(rows):
    """One image of one channel from its rows."""
    return torch.tensor(rows, dtype=torch.float64)[None, :, :, None]


def batch_norm(name, shape, offset=0.0):
    """Training forward, backward and running statistics; inference with the old statistics.

    `offset` is added to the input: a mean that is large against the deviation.
    """
    channels = shape[-1]
    x = (quarters(*shape) + offset).requires_grad_()
    gamma, beta = (1 + quarters(channels) / 2).requires_grad_(), quarters(channels).requires_grad_()
    running_mean, running_variance = quarters(channels), 1.5 + quarters(channels)
    eps, momentum = 1e-3, 0.99
    n = x.numel() // channels
    axes = list(range(x.dim() - 1))
    mean, variance = x.mean(axes), x.var(axes, unbiased=False)
    y = (x - mean) / torch.sqrt(variance + eps) * gamma + beta
    # With a single value per channel n/(n-1) has no value; it is taken as 1.
    unbiased = variance * (n / (n - 1) if n > 1 else 1)
    new_mean = momentum * running_mean + (1 - momentum) * mean
    new_variance = momentum * running_variance + (1 - momentum) * unbiased
    output_gradient = quarters(*shape)
    dx, dgamma, dbeta = torch.autograd.grad(y, (x, gamma, beta), output_gradient)
    if n > 1:
        check_batch_norm(x, gamma, beta, running_mean, running_variance, y, dx, new_mean, new_variance, output_gradient)
    inference = (x - running_mean) / torch.sqrt(running_variance + eps) * gamma + beta
    tensors = {
        "input": x, "gamma": gamma, "beta": beta,
        "running_mean": running_mean, "running_variance": running_variance,
        "output_gradient": output_gradient,
        "output": y, "batch_mean": mean, "batch_variance": variance,
        "new_running_mean": new_mean, "new_running_variance": new_variance,
        "input_gradient": dx, "gamma_gradient": dgamma, "beta_gradient": dbeta,
        "inference_output": inference,
    }  # fmt: skip
    return {"name": name, "eps": eps, "momentum": momentum} | {key: stored(value) for key, value in tensors.items()}


def check_batch_norm(x, gamma, beta, mean, variance, y, dx, new_mean, new_variance, output_gradient):
    """The formula above against PyTorch's own layer, which refuses a single value."""
    mean, variance = mean.clone(), variance.clone()
    channels_first = x.movedim(-1, 1)
    layer = F.batch_norm(channels_first, mean, variance, gamma, beta, True, 0.01, 1e-3).movedim(1, -1)
    (layer_dx,) = torch.autograd.grad(layer, x, output_gradient)
    for found, expected in ((y, layer), (dx, layer_dx), (new_mean, mean), (new_variance, variance)):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def softmax_cross_entropy(name, logits, labels):
    """Loss of each row, their mean, and the mean's gradient."""
    logits = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    losses = F.cross_entropy(logits, torch.tensor(labels), reduction="none")
    (dlogits,) = torch.autograd.grad(losses.mean(), logits)
    return {
        "name": name,
        "logits": stored(logits),
        "labels": labels,
        "losses": stored(losses),
        "loss": losses.mean().item(),
        "probabilities": stored(torch.softmax(logits, 1)),
        "logits_gradient": stored(dlogits),
    }


def soft_cross_entropy(name, logits, labels, smoothing, shares=None):
    """As softmax_cross_entropy, with smoothed labels; with shares, each row's target is mixed with
    that of the row at the same distance from the other end."""
    logits = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    classes = logits.shape[1]
    targets = F.one_hot(torch.tensor(labels), classes).double() * (1 - smoothing) + smoothing / classes
    if shares is None:
        losses = F.cross_entropy(logits, torch.tensor(labels), reduction="none", label_smoothing=smoothing)
    else:
        share = torch.tensor(shares, dtype=torch.float64)[:, None]
        targets = share * targets + (1 - share) * targets.flip(0)
        losses = F.cross_entropy(logits, targets, reduction="none")
    (dlogits,) = torch.autograd.grad(losses.mean(), logits)
    return {
        "name": name,
        "logits": stored(logits),
        "labels": labels,
        "smoothing": smoothing,
        "shares": shares,
        "targets": stored(targets),
        "losses": stored(losses),
        "loss": losses.mean().item(),
        "probabilities": stored(torch.softmax(logits, 1)),
        "logits_gradient": stored(dlogits),
    }


def linear(name, batch, inputs, outputs):
    x, weight = quarters(batch, inputs).requires_grad_(), quarters(inputs, outputs).requires_grad_()
    bias = quarters(outputs).requires_grad_()
    y = F.linear(x, weight.T, bias)
    output_gradient = quarters(*y.shape)
    dx, dweight, dbias = gradients(y, output_gradient, x, weight, bias)
    return {
        "name": name,
        "input": stored(x),
        "weight": stored(weight),
        "bias": stored(bias),
        "output_gradient": stored(output_gradient),
        "output": stored(y),
        "input_gradient": dx,
        "weight_gradient": dweight,
        "bias_gradient": dbias,
    }


def adam(name, scale):
    """Three updates in Keras's form, in which eps stands beside the uncorrected root."""
    rate, beta1, beta2, eps = 1e-3, 0.9, 0.999, 1e-7
    parameter, first, second = quarters(7), torch.zeros(7).double(), torch.zeros(7).double()
    content = {"name": name, "learning_rate": rate, "beta1": beta1, "beta2": beta2, "eps": eps}
    content["parameter"] = stored(parameter)
    content["steps"] = []
    for t in range(1, 4):
        gradient = quarters(7) * scale
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        alpha = rate * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        parameter = parameter - alpha * first / (second.sqrt() + eps)
        after = {"gradient": gradient, "parameter": parameter, "first_moment": first, "second_moment": second}
        content["steps"].append({key: stored(value) for key, value in after.items()})
    return content


def conv2d_cases():
    return [
        conv2d("odd sizes", (2, 7, 5, 3), (3, 3), 4),
        conv2d("one channel, one image", (1, 9, 8, 1), (3, 3), 5),
        conv2d("kernel as large as the image", (2, 3, 3, 2), (3, 3), 3),
        conv2d("kernel 1x1", (2, 3, 4, 5), (1, 1), 3),
        conv2d("kernel 3x2", (2, 6, 5, 2), (3, 2), 3),
        conv2d("stride 2, last row unused", (2, 8, 7, 2), (3, 3), 3, stride=2),
        conv2d("padding 1", (1, 5, 6, 3), (3, 3), 4, padding=1),
        conv2d("stride 2, padding 1", (1, 7, 7, 4), (3, 3), 2, stride=2, padding=1),
        conv2d("more channels than sixteen lanes", (1, 4, 3, 17), (2, 2), 18),
    ]


def max_pool2d_cases():
    return [
        max_pool2d("windows side by side", quarters(2, 4, 6, 3), [2, 2], [2, 2]),
        max_pool2d("last row and column unused", quarters(2, 5, 7, 3), [2, 2], [2, 2]),
        max_pool2d("overlapping, 3x3 stride 2", quarters(1, 7, 7, 2), [3, 3], [2, 2]),
        max_pool2d("overlapping, 2x2 stride 1", quarters(1, 4, 5, 2), [2, 2], [1, 1]),
        max_pool2d("kernel 3x2, stride 2x1", quarters(1, 7, 5, 2), [3, 2], [2, 1]),
        max_pool2d("ties: the first wins", quarters(1, 5, 5, 2).round() + 0.0, [3, 3], [1, 1]),
        max_pool2d("all equal", torch.full((1, 4, 4, 1), -0.5, dtype=torch.float64), [2, 2], [2, 2]),
        max_pool2d("-inf", plane([[-INF, -INF, -INF, -2], [-INF, -INF, -INF, -INF]]), [2, 2], [2, 2]),
        max_pool2d("inf", plane([[1, INF, -INF, 2], [INF, 3, INF, 1]]), [2, 2], [2, 2]),
        max_pool2d(
            "NaN wins wherever it stands",
            plane([[NAN, 1, 2, NAN, 1, INF, -INF, 3], [3, 4, 5, 6, NAN, 2, 7, NAN]]), [2, 2], [2, 2],
        ),
        max_pool2d("one NaN in overlapping windows", plane([[1, 2, 3], [4, NAN, 5], [6, 7, 8]]), [2, 2], [1, 1]),
        max_pool2d(
            "several NaN: PyTorch takes the last", plane([[NAN, 1, 2, NAN], [NAN, 3, 1, NAN]]), [2, 2], [2, 2]
        ),
    ]  # fmt: skip


def softmax_cross_entropy_cases():
    return [
        softmax_cross_entropy("ordinary", (quarters(5, 10) * 4).tolist(), [0, 3, 9, 5, 5]),
        softmax_cross_entropy("all equal", [[0.5] * 10, [-3.0] * 10], [2, 7]),
        softmax_cross_entropy(
            "extreme",
            [[1e4, -1e4, 0, 1], [1e4, -1e4, 0, 1], [-1e4, -1e4, -1e4, -1e4], [1e4, 1e4, -1e4, 9999], [0, 100, -100, 90]],
            [0, 1, 2, 3, 0],
        ),
        softmax_cross_entropy("one class, one image", [[12.5]], [0]),
        softmax_cross_entropy("one image", [[0.25, -1.5, 2]], [1]),
    ]


def soft_cross_entropy_cases():
    labels = [0, 3, 9, 5, 5]
    return [
        soft_cross_entropy("smoothed", (quarters(5, 10) * 4).tolist(), labels, 0.125),
        soft_cross_entropy("not smoothed", (quarters(5, 10) * 4).tolist(), labels, 0.0),
        soft_cross_entropy("mixed", (quarters(5, 10) * 4).tolist(), labels, 0.0, [0.25, 1.0, 0.5, 0.0, 0.875]),
        soft_cross_entropy("smoothed and mixed", quarters(2, 3).tolist(), [2, 0], 0.25, [0.75, 0.5]),
        soft_cross_entropy("extreme", [[1e4, -1e4, 0, 1], [-1e4, -1e4, -1e4, -1e4], [0, 100, -100, 90]], [1, 2, 0], 0.5),
        soft_cross_entropy("one class, one image", [[12.5]], [0], 0.5),
    ]


def main():
    torch.set_num_threads(1)
    content = {
        "made_with": golden_json.versions(),
        "conv2d": conv2d_cases(),
        "max_pool2d": max_pool2d_cases(),
        "batch_norm": [
            batch_norm("images", (3, 4, 5, 3)),
            batch_norm("rows", (6, 5)),
            batch_norm("one image", (1, 3, 3, 2)),
            batch_norm("one value per channel", (1, 4)),
            batch_norm("one value per channel, rank 4", (1, 1, 1, 3)),
            batch_norm("large mean", (2, 3, 3, 2), offset=100.0),
        ],
        "softmax_cross_entropy": softmax_cross_entropy_cases(),
        "linear": [linear("rows", 5, 7, 3), linear("one row", 1, 6, 4), linear("one output", 3, 17, 1)],
        "adam": [adam("ordinary gradients", 1.0), adam("gradients near eps", 2.0**-22)],
        "soft_cross_entropy": soft_cross_entropy_cases(),
    }
    golden_json.write(Path(__file__).with_suffix(".json"), content)


if __name__ == "__main__":
    main()
