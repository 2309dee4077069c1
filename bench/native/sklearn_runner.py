"""scikit-learn's StandardScaler on one thread, for ../scaler.ts. A line of JSON in, a line of JSON out:

{"prepare": "f4" | "f8", "rows": n, "columns": c, "file": path}    reads x                       -> version
{"check": true}                                                    fits and transforms it        -> mean, variance, y
{"time": "partial_fit" | "transform" | "copy", "calls": k}                                       -> processor time of k calls, s
"""

import json
import sys
import time

import numpy as np
import sklearn
from sklearn.preprocessing import StandardScaler

x = scaler = y = None
for line in sys.stdin:
    asked = json.loads(line)
    if "prepare" in asked:
        x = np.fromfile(asked["file"], dtype=asked["prepare"]).reshape(asked["rows"], asked["columns"])
        y = np.empty_like(x)
        scaler = StandardScaler().partial_fit(x)
        answer = sklearn.__version__
    elif "check" in asked:
        fresh = StandardScaler().partial_fit(x)
        values = fresh.transform(x[:64])
        answer = {"mean": fresh.mean_.tolist(), "variance": fresh.var_.tolist(), "y": values.ravel().tolist()}
    else:
        run = {
            "partial_fit": lambda: scaler.partial_fit(x),
            "transform": lambda: scaler.transform(x),
            "copy": lambda: np.copyto(y, x),
        }[asked["time"]]
        start = time.process_time()
        for _ in range(asked["calls"]):
            run()
        answer = time.process_time() - start
    print(json.dumps(answer), flush=True)
