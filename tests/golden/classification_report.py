"""Writes the fixtures that tests/metrics.rs compares with, one JSON file a case.

Needs scikit-learn (written with 1.9.1):  python tests/golden/classification_report.py
Every case carries its inputs and scikit-learn's answers: the report as text and as a
dictionary, precision, recall, F1 and support of each class, and the confusion matrix.
"""
import json
import pathlib

import numpy as np
from sklearn.metrics import (accuracy_score, classification_report, confusion_matrix,
                             precision_recall_fscore_support)

FOLDER = pathlib.Path(__file__).parent / "classification_report"
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
           "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def write(name, classes, truth, predicted):
    labels = list(range(len(classes)))
    report = dict(labels=labels, target_names=classes, zero_division=0)
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=labels, zero_division=0)
    case = {
        "classes": classes,
        "truth": [int(t) for t in truth],
        "predicted": [int(p) for p in predicted],
        "text": classification_report(truth, predicted, **report),
        "dictionary": classification_report(truth, predicted, output_dict=True, **report),
        "accuracy": float(accuracy_score(truth, predicted)),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": support.tolist(),
        "confusion": confusion_matrix(truth, predicted, labels=labels).tolist(),
    }
    if len(classes) > 50:
        del case["confusion"]  # 40,000 numbers would say nothing that the small cases do not
    (FOLDER / f"{name}.json").write_text(json.dumps(case) + "\n")


def confused(random, truth, classes, wrong):
    """The truth, with the fraction `wrong` of it replaced by random classes."""
    return np.where(random.random(len(truth)) < wrong, random.integers(0, classes, len(truth)), truth)


FOLDER.mkdir(exist_ok=True)
random = np.random.default_rng(7)

truth = random.integers(0, 10, 1000)
write("ten_classes", FASHION, truth, confused(random, truth, 10, 0.15))

truth = random.integers(0, 5, 300)
predicted = confused(random, truth, 5, 0.5)
write("never_predicted", list("abcde"), truth, np.where(predicted == 3, 1, predicted))

truth = random.choice([0, 1, 3], 200)
write("absent", ["zero", "one", "two", "three"], truth, confused(random, truth, 4, 0.3))

truth = random.choice([0, 2], 50)
write("absent_and_never_predicted", ["kept", "unseen", "other"], truth, random.permutation(truth))

truth = random.integers(0, 3, 120)
write("long_names", ["a name that is longer than any heading", "höher äußerst", "x"],
      truth, confused(random, truth, 3, 0.4))

# Eighths: 0.125, 0.375, 0.625 and 0.875 are exact in binary, so two digits are true ties.
truth, predicted = [], []
for true, right in enumerate([1, 3, 5, 7]):
    truth += [true] * 8
    predicted += [true] * right + [(true + 1) % 4] * (8 - right)
write("ties", ["one", "three", "five", "seven"], truth, predicted)

# More classes than one block of NumPy's pairwise sum, so that averages test its order.
truth = random.integers(0, 200, 3000)
write("two_hundred_classes", [f"class {i}" for i in range(200)], truth,
      confused(random, truth, 200, 0.4))

write("one_image", ["left", "right"], [1], [1])
write("one_class", ["only"], [0, 0, 0], [0, 0, 0])
