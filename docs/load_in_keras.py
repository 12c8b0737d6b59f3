"""Builds the reference network in Keras and gives it the weights of a toile run.

    pip install keras jax safetensors numpy
    KERAS_BACKEND=jax python3 docs/load_in_keras.py runs/latest [--check DIR]

With --check, it answers the test images of DIR (the four IDX files, gzipped or not) and
compares with the run's predictions.csv.
"""
import argparse
import csv
import gzip
import json
import pathlib

import numpy as np
from keras import Sequential
from keras.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, ReLU
from safetensors import safe_open


def network(shape, classes):
    return Sequential([
        Input(shape),
        Conv2D(32, 3), BatchNormalization(), ReLU(),
        Conv2D(32, 3, activation="relu"), MaxPooling2D(), Dropout(0.25),
        Conv2D(64, 3), BatchNormalization(), ReLU(),
        Conv2D(64, 3, activation="relu"), MaxPooling2D(), Dropout(0.25),
        Conv2D(128, 3), BatchNormalization(), Dropout(0.25), Flatten(),
        Dense(512), BatchNormalization(), ReLU(), Dropout(0.5),
        Dense(256, activation="relu"), Dropout(0.5),
        Dense(classes, activation="softmax"),
    ])


def load(run):
    """The model, the names of its classes, and what it wants of a pixel."""
    file = safe_open(run / "best.safetensors", "numpy")
    metadata = file.metadata()
    classes = json.loads(metadata["classes"])
    model = network(json.loads(metadata["architecture"])["input"], len(classes))
    parts = {
        Conv2D: ("conv", ["weight", "bias"]),
        BatchNormalization: ("bn", ["gamma", "beta", "mean", "variance"]),
        Dense: ("dense", ["weight", "bias"]),
    }
    numbers = dict.fromkeys(parts, 0)
    for layer in model.layers:
        if type(layer) in parts:
            kind, names = parts[type(layer)]
            numbers[type(layer)] += 1
            tensors = [file.get_tensor(f"{kind}{numbers[type(layer)]}.{name}") for name in names]
            layer.set_weights(tensors)
    return model, classes, json.loads(metadata["preprocessing"])


def read_images(folder):
    path = folder / "t10k-images-idx3-ubyte"
    data = path.read_bytes() if path.exists() else gzip.open(f"{path}.gz").read()
    count, rows, columns = np.frombuffer(data, ">u4", 3, 4)
    return np.frombuffer(data, np.uint8, offset=16).reshape(count, rows, columns, 1)


def check(model, preprocessing, run, folder):
    images = (read_images(folder) - preprocessing["offset"]) / preprocessing["divisor"]
    answers = model.predict(images, batch_size=500, verbose=0)
    with open(run / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    same = sum(int(row["predicted"]) == answer.argmax() for row, answer in zip(rows, answers))
    error = max(abs(float(row["confidence"]) - answer.max()) for row, answer in zip(rows, answers))
    print(f"{same} of {len(rows)} answers are the same; confidences differ by at most {error:.1e}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("run", type=pathlib.Path)
    arguments.add_argument("--check", type=pathlib.Path)
    options = arguments.parse_args()
    model, classes, preprocessing = load(options.run)
    model.summary()
    print("classes:", ", ".join(classes))
    print("inputs: (pixel - {offset}) / {divisor}".format(**preprocessing))
    if options.check:
        check(model, preprocessing, options.run, options.check)
