#!/usr/bin/python3
"""Makes scaler.json from a real scikit-learn: `/usr/bin/python3 test/golden/scaler.py` (Debian's python3-sklearn).

The values that it is fed are not in the file: test and script draw the same ones, from a linear congruential generator in
integers and a few float64 operations that IEEE 754 rounds alike everywhere.
"""

import json
import pathlib
import warnings

import numpy as np
import sklearn
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent


def draw(case):
    """Rows by columns: `offset + scale * (u1 + u2 + u3 + u4 - 2)`, uniform u, NaN where the next number says so."""
    state = case["seed"]

    def uniform():
        nonlocal state
        state = (state * 1664525 + 1013904223) % 2**32
        return state / 2**32

    rows = []
    for _ in range(case["rows"]):
        row = []
        for column in case["columns"]:
            value = column["offset"] + column["scale"] * (uniform() + uniform() + uniform() + uniform() - 2)
            row.append(float("nan") if uniform() < column["missing"] else value)
        rows.append(row)
    x = np.array(rows, dtype=np.float64)
    if case["type"] == "int16":
        x = np.trunc(x)
    x = x.astype(case["type"])
    weights = [1 + 3 * uniform() for _ in range(case["rows"])] if case["weighted"] else None
    return x, weights


def numbers(values):
    return [None if np.isnan(value) else float(value) for value in np.ravel(values)]


def column(offset, scale, missing=0.0):
    return {"offset": offset, "scale": scale, "missing": missing}


CASES = [
    ("ordinary columns", "float64", 10000, [column(0, 1), column(-3, 0.01), column(1e4, 250)], {}),
    ("a mean of 1e6 deviations", "float64", 10000, [column(1e6, 1), column(-1e6, 1), column(1.7e9, 3600)], {}),
    ("float32", "float32", 10000, [column(0.1, 2), column(100, 1), column(-7, 1e-3), column(3e4, 1), column(0, 1e20)], {}),
    ("missing values", "float64", 3000, [column(5, 2, 0.3), column(-5, 0.1), column(0, 1, 0.95)], {}),
    ("missing values in float32", "float32", 3000, [column(5, 2, 0.3), column(-5, 0.1), column(1000, 1, 0.95)], {}),
    ("a column without values", "float64", 200, [column(1, 1), column(1, 1, 1.0)], {}),
    ("constant columns", "float64", 1000, [column(14.62, 0), column(0, 0), column(2, 1)], {}),
    ("integers", "int16", 2500, [column(12, 900), column(-4000, 3)], {}),
    ("weights", "float64", 2000, [column(3, 2), column(1e3, 0.5, 0.2)], {"weighted": True}),
    ("without the mean", "float64", 500, [column(3, 2), column(-1, 0.5)], {"withMean": False}),
    ("without the deviation", "float64", 500, [column(3, 2), column(-1, 0.5)], {"withStd": False}),
    ("one row", "float64", 1, [column(3, 2), column(-1, 0.5)], {}),
]


def run(index, name, kind, rows, columns, options):
    options = dict(options)
    case = {
        "name": name,
        "type": kind,
        "rows": rows,
        "seed": 20150211 + index,
        "columns": columns,
        "weighted": options.pop("weighted", False),
        "options": options,
    }
    x, weights = draw(case)
    scaler = StandardScaler(with_mean=options.get("withMean", True), with_std=options.get("withStd", True))
    for start in range(0, rows, 1000):
        part = None if weights is None else weights[start : start + 1000]
        scaler.partial_fit(x[start : start + 1000], sample_weight=part)
    some = x[:5]
    # In float64: scikit-learn keeps float32 where it is given, and rounds at every step.
    transformed = scaler.transform(some.astype(np.float64))
    case["count"] = numbers(np.broadcast_to(scaler.n_samples_seen_, len(columns)))
    case["mean"] = numbers(scaler.mean_)
    if scaler.var_ is not None:
        case["variance"] = numbers(scaler.var_)
        case["scale"] = numbers(scaler.scale_)
    case["transformed"] = numbers(transformed)
    return case


warnings.simplefilter("ignore")
cases = [run(index, *entry) for index, entry in enumerate(CASES)]
lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
(HERE / "scaler.json").write_text(f'{{"sklearn":"{sklearn.__version__}","cases":[\n{lines}\n]}}\n')
