"""PyTorch on one thread, behind the protocol in ../process.ts.

The calls are the ones that torch.nn's layers end in, so that neither autograd nor a layer's bookkeeping is in
the time. PyTorch 1.13 has no RMS norm: that one is its generic operations, and autograd for its backward pass.
"""

import sys
import time

import torch

torch.set_num_threads(1)
aten = torch.ops.aten


def answer(*words):
    print("=", *words, flush=True)


def read(folder, name, shape):
    size = 1
    for axis in shape:
        size *= axis
    return torch.from_file(f"{folder}/{name}.f32", shared=False, size=size).clone().reshape(shape)


def write(folder, name, tensor):
    tensor.detach().contiguous().numpy().tofile(f"{folder}/{name}.f32")


class BatchNorm:
    """torch.native_batch_norm, with the axes in the order n, c, h, w whatever the memory's order is."""

    def __init__(self, layout, n, c, h, w, folder):
        self.last = layout == "channels-last"
        images = h * w > 1
        axes = [n, c] if not images else [n, h, w, c] if self.last else [n, c, h, w]
        self.permute = images and self.last
        x, dy = (self.to_nchw(read(folder, name, axes)) for name in ("x", "dy"))
        gamma, beta, mean, var = (read(folder, name, [c]) for name in ("gamma", "beta", "mean", "var"))
        running = mean.clone(), var.clone()
        eps = 1e-5
        _, mu, rstd = torch.native_batch_norm(x, gamma, beta, *running, True, 0.1, eps)
        self.ops = {
            "train": lambda: torch.native_batch_norm(x, gamma, beta, *running, True, 0.1, eps),
            "eval": lambda: torch.native_batch_norm(x, gamma, beta, mean, var, False, 0.1, eps),
            "backward": lambda: aten.native_batch_norm_backward(
                dy, x, gamma, *running, mu, rstd, True, eps, [True, True, True]
            ),
        }

    def to_nchw(self, tensor):
        return tensor.permute(0, 3, 1, 2) if self.permute else tensor

    def outputs(self, op, result):
        if op != "backward":
            return {"y": self.to_memory(result[0])}
        return {"dx": self.to_memory(result[0]), "dgamma": result[1], "dbeta": result[2]}

    def to_memory(self, tensor):
        return tensor.permute(0, 2, 3, 1) if self.permute else tensor


class LayerNorm:
    def __init__(self, layout, n, c, h, w, folder):
        x, dy = (read(folder, name, [n, c]) for name in ("x", "dy"))
        gamma, beta = (read(folder, name, [c]) for name in ("gamma", "beta"))
        _, mean, rstd = torch.native_layer_norm(x, [c], gamma, beta, 1e-5)
        self.ops = {
            "train": lambda: torch.native_layer_norm(x, [c], gamma, beta, 1e-5),
            "backward": lambda: aten.native_layer_norm_backward(
                dy, x, [c], mean, rstd, gamma, beta, [True, True, True]
            ),
        }

    def outputs(self, op, result):
        names = ("dx", "dgamma", "dbeta") if op == "backward" else ("y",)
        return dict(zip(names, result))


class RMSNorm:
    def __init__(self, layout, n, c, h, w, folder):
        x, dy = (read(folder, name, [n, c]) for name in ("x", "dy"))
        gamma = read(folder, "gamma", [c])

        def forward(x, gamma):
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * gamma

        leaves = x.clone().requires_grad_(), gamma.clone().requires_grad_()
        y = forward(*leaves)
        self.ops = {
            "train": lambda: forward(x, gamma),
            "backward": lambda: torch.autograd.grad(y, leaves, dy, retain_graph=True),
        }

    def outputs(self, op, result):
        return {"dx": result[0], "dgamma": result[1]} if op == "backward" else {"y": result}


class Around:
    """A norm and what is around it. Backward begins with the derivative's own call, then comes the norm's."""

    def __init__(self, family, n, c, folder, around):
        self.around = around
        shape = [n // 64, 64, c] if around == "modulation" else [n, c]
        x, dy, z = (read(folder, name, shape) for name in ("x", "dy", "z"))
        gamma, beta = (read(folder, name, [c]) for name in ("gamma", "beta"))
        forward, backward = NORMS[family](x if around != "stream" else x + z, c, gamma, beta)
        self.z, self.start = z, z.clone()
        norm = forward(x if around != "stream" else x + z)
        if around == "modulation":
            scale, shift = (read(folder, name, [n // 64, 1, c]) for name in ("scale", "shift"))
        silu, gelu, relu = torch.nn.functional.silu, torch.nn.functional.gelu, torch.relu
        self.down = down = z.clone()

        def modulated():
            g = dy * (1 + scale)
            return backward(g), (dy * norm).sum(1), dy.sum(1)

        def streamed():
            gradients = backward(dy)
            return (down.add_(gradients[0]), *gradients[1:])

        def gated():
            return backward(dy * silu(z)), aten.silu_backward(dy * norm, z)

        self.ops = {
            "train": {
                "relu": lambda: relu(forward(x)),
                "silu": lambda: silu(forward(x)),
                "gelu": lambda: gelu(forward(x)),
                "residual": lambda: forward(x) + z,
                "stream": lambda: forward(z.add_(x)),
                "modulation": lambda: forward(x) * (1 + scale) + shift,
                "gate": lambda: forward(x) * silu(z),
            }[around]
        }
        if around != "residual":
            self.ops["backward"] = {
                "relu": lambda: backward(aten.threshold_backward(dy, norm, 0)),
                "silu": lambda: backward(aten.silu_backward(dy, norm)),
                "gelu": lambda: backward(aten.gelu_backward(dy, norm)),
                "stream": streamed,
                "modulation": modulated,
                "gate": gated,
            }[around]

    def outputs(self, op, result):
        self.z.copy_(self.start)  # a stream has grown since
        self.down.copy_(self.start)
        result = self.ops[op]()
        if op == "train":
            return {"y": result}
        names = ("dx", "dgamma", "dbeta")
        if self.around == "modulation":
            return {**dict(zip(names, result[0])), "dscale": result[1], "dshift": result[2]}
        if self.around == "gate":
            return {**dict(zip(names, result[0])), "dz": result[1]}
        return dict(zip(names, result))


def layer_norm(x, c, gamma, beta):
    _, mean, rstd = torch.native_layer_norm(x, [c], gamma, beta, 1e-5)
    return (
        lambda x: torch.native_layer_norm(x, [c], gamma, beta, 1e-5)[0],
        lambda g: aten.native_layer_norm_backward(g, x, [c], mean, rstd, gamma, beta, [True, True, True]),
    )


def batch_norm(x, c, gamma, beta):
    running = torch.zeros(c), torch.ones(c)
    _, mean, rstd = torch.native_batch_norm(x, gamma, beta, *running, True, 0.1, 1e-5)
    return (
        lambda x: torch.native_batch_norm(x, gamma, beta, *running, True, 0.1, 1e-5)[0],
        lambda g: aten.native_batch_norm_backward(
            g, x, gamma, *running, mean, rstd, True, 1e-5, [True, True, True]
        ),
    )


def rms_norm(x, c, gamma, beta):
    def forward(x, gamma=gamma):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * gamma

    leaves = x.clone().requires_grad_(), gamma.clone().requires_grad_()
    y = forward(*leaves)
    return forward, lambda g: torch.autograd.grad(y, leaves, g, retain_graph=True)


NORMS = {"batch-norm": batch_norm, "layer-norm": layer_norm, "rms-norm": rms_norm}
FAMILIES = {"batch-norm": BatchNorm, "layer-norm": LayerNorm, "rms-norm": RMSNorm}


def timed(run, samples, calls):
    for _ in range(samples):
        start = time.perf_counter_ns()
        for _ in range(calls):
            run()
        yield (time.perf_counter_ns() - start) / calls


def main():
    prepared = folder = None
    answer("ok")
    for line in sys.stdin:
        command, *words = line.split()
        if command == "prepare":
            family, layout, n, c, h, w, folder, *around = words
            prepared = None
            if around:
                prepared = Around(family, int(n), int(c), folder, *around)
            else:
                prepared = FAMILIES[family](layout, int(n), int(c), int(h), int(w), folder)
            answer("ok", *prepared.ops)
        elif command == "check":
            outputs = prepared.outputs(words[0], prepared.ops[words[0]]())
            for name, tensor in outputs.items():
                write(folder, name, tensor)
            answer("ok", *outputs)
        elif command == "time":
            op, samples, calls = words
            answer("ok", *timed(prepared.ops[op], int(samples), int(calls)))
        elif command == "close":
            prepared = None
            answer("ok")


main()
