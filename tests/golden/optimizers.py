"""Golden numbers of optimizers, computed by PyTorch's own in float64.

    python optimizers.py       writes optimizers.json beside this file

Six weights and a bias. Weight decay is the weights' alone, as in the engine.
Adam's eps is so small that it does not matter on which side of the bias
correction it is added, which is where PyTorch and Keras differ.
"""
from pathlib import Path

import numpy as np
import torch

import golden_json
import philox

SEED = 8
STEPS = 4
EPS = 1e-12


def draw(step, count):
    words = philox.stream(SEED, 0, step, count)
    return torch.from_numpy((words % np.uint32(17)).astype(np.float64) / 8 - 1) + 1 / 16


def case(name, optimizer, settings, largest_norm=None):
    """`settings` are the optimizer's own but for weight decay, which only the weights get."""
    weights, bias = draw(100, 6).requires_grad_(), draw(101, 1).requires_grad_()
    decay = settings.pop("weight_decay")
    groups = [{"params": [weights], "weight_decay": decay}, {"params": [bias], "weight_decay": 0}]
    optimizer = optimizer(groups, **settings)
    both = lambda: torch.cat([weights, bias]).detach().tolist()
    content = {"name": name, "weight_decay": decay, "largest_norm": largest_norm or 0.0, "start": both()}
    content["steps"] = []
    for step in range(STEPS):
        gradient = draw(step, 7)
        weights.grad, bias.grad = gradient[:6].clone(), gradient[6:].clone()
        if largest_norm:
            # As torch.nn.utils.clip_grad_norm_, but for the 1e-6 that it adds to the norm.
            scale = min(1.0, largest_norm / gradient.norm().item())
            weights.grad, bias.grad = weights.grad * scale, bias.grad * scale
        optimizer.step()
        content["steps"].append({"gradient": gradient.tolist(), "parameters": both()})
    return content


def adam(weight_decay):
    return {"lr": 3e-3, "betas": (0.9, 0.99), "eps": EPS, "weight_decay": weight_decay}


def sgd(weight_decay):
    return {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": weight_decay}


def main():
    torch.set_num_threads(1)
    content = {
        "made_with": golden_json.versions(),
        "learning_rates": {"adam": 3e-3, "sgd": 0.1},
        "beta2": 0.99,
        "eps": EPS,
        "adam": [
            case("Adam", torch.optim.AdamW, adam(0.0)),
            case("AdamW", torch.optim.AdamW, adam(0.5)),
            case("AdamW, gradients up to 0.5", torch.optim.AdamW, adam(0.5), 0.5),
        ],
        "sgd": [
            case("SGD", torch.optim.SGD, sgd(0.0)),
            case("SGD with decay", torch.optim.SGD, sgd(0.25)),
            case("SGD, gradients up to 1", torch.optim.SGD, sgd(0.25), 1.0),
            case("SGD, a limit that none reaches", torch.optim.SGD, sgd(0.25), 100.0),
        ],
    }
    golden_json.write(Path(__file__).with_suffix(".json"), content)


if __name__ == "__main__":
    main()
