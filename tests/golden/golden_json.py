"""Writes golden files: objects indented, every list of numbers on one line.

Floats are written with the fewest digits that give the same number back when
read at their own width (at most 9 for float32, 17 for float64). JSON has no
NaN and no infinities, so these are the strings "NaN", "inf" and "-inf".
"""
import json
import math
import platform

import numpy as np
import torch


def versions():
    """What a golden file was made with; another version may round differently."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
    }


def number_text(value):
    """One number as JSON text; `value` is a Python or numpy bool, int or float."""
    if isinstance(value, (bool, np.bool_)):
        return json.dumps(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if math.isnan(value):
        return '"NaN"'
    if math.isinf(value):
        return '"inf"' if value > 0 else '"-inf"'
    # numpy prints the shortest text that reads back the same at the value's own width.
    text = str(np.float64(value) if isinstance(value, float) else value)
    # A reader parses at double width and then narrows; that must give the same bits.
    assert type(value)(float(text)) == value, text
    # "-0" would be read as the integer 0 by some readers and lose its sign.
    return text if text == "-0.0" else text.removesuffix(".0")


def json_text(value, indent=""):
    """`value` (dicts, lists, arrays, numbers, strings, None) as JSON text."""
    if isinstance(value, np.ndarray):
        value = list(value)
    if isinstance(value, dict):
        inner = indent + " "
        lines = [f"{inner}{json.dumps(key)}: {json_text(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, dict) for item in value):
            inner = indent + " "
            lines = [inner + json_text(item, inner) for item in value]
            return "[\n" + ",\n".join(lines) + f"\n{indent}]"
        return "[" + ",".join(json_text(item) for item in value) + "]"
    if value is None or isinstance(value, str):
        return json.dumps(value)
    return number_text(value)


def write(path, content):
    """Writes `content` to `path` and checks that it is JSON by the strict rules."""
    text = json_text(content) + "\n"

    def refuse(constant):
        raise ValueError(f"{path}: {constant} is not JSON")

    json.loads(text, parse_constant=refuse)
    path.write_text(text)
    print(f"{path.name}: {len(text)} bytes")
