"""Compares a run's classification report with scikit-learn's on the same predictions.

    pip install scikit-learn
    python3 tests/golden/check_report.py runs/NAME...

The text must be the same byte for byte, the dictionary number for number. Ends with 1 if a run
differs.
"""
import csv
import json
import pathlib
import sys

from sklearn.metrics import classification_report


def differences(run):
    evaluation = json.loads((run / "evaluation.json").read_text())
    with open(run / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    truth, predicted = ([int(row[key]) for row in rows] for key in ("true", "predicted"))
    names = evaluation["classes"]

    def report(**form):
        labels = range(len(names))
        return classification_report(
            truth, predicted, labels=labels, target_names=names, zero_division=0, **form)

    if (run / "classification_report.txt").read_bytes() != report().encode():
        yield "the text differs"
    if json.loads((run / "classification_report.json").read_text()) != report(output_dict=True):
        yield "the dictionary differs"


if __name__ == "__main__":
    faults = 0
    for run in map(pathlib.Path, sys.argv[1:]):
        found = list(differences(run))
        faults += len(found)
        print(f"{run}: {', '.join(found) or 'the same as scikit-learn'}")
    sys.exit(faults > 0)
