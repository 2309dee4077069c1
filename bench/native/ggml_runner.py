"""ggml on one thread, behind the protocol in ../process.ts: a norm and what is around it, forward.

The libraries are those of an npm package, their folder is the argument; of the CPU's variants the one that scores highest.
ggml has no fused calls: a graph has a node for each step, in place where a step may write over its operand.
"""

import ctypes
import sys
import time
from ctypes import Structure, c_bool, c_float, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

FLOAT32 = 0


def answer(*words):
    print("=", *words, flush=True)


class InitParams(Structure):
    _fields_ = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


def load(folder):
    base = ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
    variants = []
    for file in sorted(folder.glob("libggml-cpu-*.so")):
        try:
            variants.append(ctypes.CDLL(str(file)))
        except OSError:
            continue
    cpu = max(variants, key=lambda variant: variant.ggml_backend_score())
    base.ggml_init.argtypes = [InitParams]
    for name in ("ggml_init", "ggml_new_tensor_3d", "ggml_get_data", "ggml_new_graph"):
        getattr(base, name).restype = c_void_p
    base.ggml_new_tensor_3d.argtypes = [c_void_p, c_int, c_int64, c_int64, c_int64]
    base.ggml_get_data.argtypes = [c_void_p]
    base.ggml_new_graph.argtypes = [c_void_p]
    base.ggml_free.argtypes = [c_void_p]
    base.ggml_build_forward_expand.argtypes = [c_void_p, c_void_p]
    base.ggml_backend_graph_compute.argtypes = [c_void_p, c_void_p]
    for name in ("norm", "rms_norm"):
        step = getattr(base, f"ggml_{name}")
        step.restype, step.argtypes = c_void_p, [c_void_p, c_void_p, c_float]
    for name in ("mul_inplace", "add_inplace"):
        step = getattr(base, f"ggml_{name}")
        step.restype, step.argtypes = c_void_p, [c_void_p, c_void_p, c_void_p]
    for name in ("relu_inplace", "silu_inplace", "silu", "gelu_erf_inplace"):
        step = getattr(base, f"ggml_{name}")
        step.restype, step.argtypes = c_void_p, [c_void_p, c_void_p]
    cpu.ggml_backend_cpu_init.restype = c_void_p
    cpu.ggml_backend_cpu_set_n_threads.argtypes = [c_void_p, c_int]
    backend = cpu.ggml_backend_cpu_init()
    cpu.ggml_backend_cpu_set_n_threads(backend, 1)
    return base, backend


class Unsupported(Exception):
    pass


class Prepared:
    def __init__(self, base, backend, family, n, c, folder, around):
        if family == "batch-norm":
            raise Unsupported("ggml has no batch norm")
        self.base, self.backend, self.folder, self.size = base, backend, folder, n * c
        self.context = context = base.ggml_init(InitParams(n * c * 4 * 6 + (1 << 24), None, False))
        examples = n // 64 if around == "modulation" else 1
        axes = (c, n // examples, examples)
        x, row = self.tensor("x", *axes), (c, 1, 1)
        gamma = self.tensor("gamma", *row)

        def step(name, *operands):
            return getattr(base, f"ggml_{name}")(context, *operands)

        if around == "stream":
            x = step("add_inplace", self.tensor("z", *axes), x)
        if family == "rms-norm":
            y = step("mul_inplace", base.ggml_rms_norm(context, x, 1e-6), gamma)
        else:
            y = step("mul_inplace", base.ggml_norm(context, x, 1e-5), gamma)
            y = step("add_inplace", y, self.tensor("beta", *row))
        if around == "relu":
            y = step("relu_inplace", y)
        elif around == "silu":
            y = step("silu_inplace", y)
        elif around == "gelu":
            y = step("gelu_erf_inplace", y)
        elif around == "residual":
            y = step("add_inplace", y, self.tensor("z", *axes))
        elif around == "gate":
            y = step("mul_inplace", y, step("silu", self.tensor("z", *axes)))
        elif around == "modulation":
            # 1 + scale is computed once for all calls
            y = step("mul_inplace", y, self.tensor("scale", c, 1, examples, more=1))
            y = step("add_inplace", y, self.tensor("shift", c, 1, examples))
        self.y = y
        self.graph = base.ggml_new_graph(context)
        base.ggml_build_forward_expand(self.graph, y)

    def tensor(self, name, *axes, more=0):
        made = self.base.ggml_new_tensor_3d(self.context, FLOAT32, *axes)
        values = (Path(self.folder) / f"{name}.f32").read_bytes()
        data = self.base.ggml_get_data(made)
        ctypes.memmove(data, values, len(values))
        if more:
            numbers = (c_float * (len(values) // 4)).from_address(data)
            for i, value in enumerate(numbers):
                numbers[i] = value + more
        return made

    def run(self):
        self.base.ggml_backend_graph_compute(self.backend, self.graph)

    def check(self):
        self.run()  # the first one: a stream has not grown yet
        data = self.base.ggml_get_data(self.y)
        (Path(self.folder) / "y.f32").write_bytes(ctypes.string_at(data, 4 * self.size))

    def close(self):
        self.base.ggml_free(self.context)


def timed(run, samples, calls):
    for _ in range(samples):
        start = time.perf_counter_ns()
        for _ in range(calls):
            run()
        yield (time.perf_counter_ns() - start) / calls


def main():
    base, backend = load(Path(sys.argv[1]))
    prepared = None
    answer("ok")
    for line in sys.stdin:
        command, *words = line.split()
        if command == "prepare":
            family, _, n, c, _, _, folder, around = words
            try:
                prepared = Prepared(base, backend, family, int(n), int(c), folder, around)
                answer("ok", "train")
            except Unsupported as error:
                answer("unsupported", error)
        elif command == "check":
            prepared.check()
            answer("ok", "y")
        elif command == "time":
            answer("ok", *timed(prepared.run, *map(int, words[1:])))
        elif command == "close":
            prepared.close()
            answer("ok")


main()
