"""Writes statistics.json, which tests/statistics.rs compares with.

Needs numpy, scipy, scikit-learn and statsmodels (written with 2.4.6, 1.17.1, 1.9.1, 0.15.0):
    python tests/golden/statistics.py

Wilson's interval is SciPy's; the bins of confidence are scikit-learn's calibration_curve of
"was the answer right?", weighted by NumPy's counts; McNemar's exact p-value is statsmodels', and
SciPy's where that says more. The interval of a paired difference no package here has: it is
computed from one difference an image, with one image more for each side (Bonett and Price 2012),
and the published example of Fagerland, Lydersen and Laake checks it.
"""
import json
import pathlib

import numpy as np
from scipy import stats
from sklearn.calibration import calibration_curve
from statsmodels.stats.contingency_tables import mcnemar

BINS = 15


def interval(hits, images):
    low, high = stats.binomtest(hits, images).proportion_ci(0.95, "wilson")
    return {"hits": hits, "images": images, "interval": [float(low), float(high)]}


def calibration(name, random, confidence, accuracy):
    """Answers of a given confidence, each right with a given probability."""
    confidence = confidence.astype(np.float32)
    right = random.random(len(confidence)) < accuracy
    # Every edge between bins lies off the float32 grid, so its side is no matter of rounding.
    edges = np.linspace(0, 1, BINS + 1)
    fractions, means = calibration_curve(right, confidence.astype(np.float64), n_bins=BINS)
    counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=BINS)
    filled = counts[counts > 0]
    error = float(np.sum(filled * np.abs(fractions - means)) / filled.sum())
    return {
        "name": name,
        "confidence": [float(c) for c in confidence],
        "right": [bool(r) for r in right],
        "counts": counts.tolist(),
        "accuracies": fractions.tolist(),
        "confidences": means.tolist(),
        "error": error,
    }


def paired(both, only_this, only_other, neither):
    images = both + only_this + only_other + neither
    result = mcnemar([[both, only_this], [only_other, neither]], exact=True)
    p_value = float(result.pvalue)
    two_sided = stats.binomtest(min(only_this, only_other), only_this + only_other).pvalue \
        if only_this + only_other else 1.0
    assert np.isclose(p_value, two_sided, rtol=1e-9, atol=0), (p_value, two_sided)
    differences = np.repeat([1.0, -1.0, 0.0], [only_this + 1, only_other + 1, both + neither])
    error = differences.std() / np.sqrt(images + 2)
    low, high = stats.norm.interval(0.95, differences.mean(), error)
    return {
        "counts": [both, only_this, only_other, neither],
        "difference": (only_this - only_other) / images,
        "interval": [float(max(low, -1)), float(min(high, 1))],
        "p_value": p_value,
    }


random = np.random.default_rng(11)
published = paired(59, 6, 16, 80)  # Cavo et al. 2012 in Fagerland et al., chapter 8
assert [round(x, 4) for x in published["interval"]] == [-0.1195, -0.0032], published
assert round(published["p_value"], 6) == 0.052479, published

content = {
    "intervals": [interval(*case) for case in
                  [(0, 1), (1, 1), (2, 4), (0, 50), (50, 50), (9330, 10_000), (1, 10_000),
                   (999_999, 1_000_000)]],
    "calibration": [
        calibration("honest", random, sure := random.beta(6, 1, 400), sure),
        calibration("too sure", random, sure := 0.5 + random.random(300) / 2, sure - 0.3),
        calibration("not sure enough", random, sure := random.random(300), np.sqrt(sure)),
        calibration("certain", random, np.ones(20), 0.9),
        calibration("never sure", random, np.full(20, 0.1), 0.1),
        calibration("ends", random, np.array([0.0, 1.0, 0.0, 1.0]), 0.5),
    ],
    "paired": [
        published,
        paired(1, 1, 7, 12),
        paired(10, 0, 0, 3),
        paired(0, 1, 0, 0),
        paired(0, 0, 5, 0),
        paired(0, 40, 0, 0),
        paired(9180, 150, 120, 550),
        paired(9180, 135, 135, 550),
        paired(9180, 135, 136, 550),
        paired(8000, 1000, 10, 990),
        paired(900_000, 50_500, 49_500, 0),
    ],
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(content) + "\n")
