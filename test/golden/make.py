#!/usr/bin/python3
"""Makes the golden values from a real PyTorch: `/usr/bin/python3 test/golden/make.py` (Debian's python3-torch).

Inputs are float32; PyTorch computes on them in float64, and its results are rounded to float32, so that the
values are PyTorch's conventions (which variance, which momentum, what a frozen layer is) without its rounding.
Arrays are {"shape", "data"}, the data little-endian float32 in base64.
"""

import base64
import json
import pathlib

import torch

torch.manual_seed(20150211)
torch.set_default_dtype(torch.float64)
HERE = pathlib.Path(__file__).parent


def pack(tensor):
    values = tensor.detach().to(torch.float32).contiguous()
    data = base64.b64encode(values.numpy().astype("<f4").tobytes()).decode()
    return {"shape": list(values.shape), "data": data}


def sample(*shape, scale=1.0, mean=0.0):
    """Normal values that float32 holds exactly."""
    return (torch.randn(*shape) * scale + mean).to(torch.float32).to(torch.float64)


def to_first(x, layout):
    return x if layout == "channels-first" or x.dim() == 2 else x.movedim(-1, 1)


def from_first(x, layout):
    return x if layout == "channels-first" or x.dim() == 2 else x.movedim(1, -1)


class RMSNorm(torch.nn.Module):
    """PyTorch 1.13 has none: x / sqrt(mean(x^2) + eps) * weight, composed of its own operations."""

    def __init__(self, normalized_shape, eps):
        super().__init__()
        self.axes = tuple(range(-len(normalized_shape), 0))
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(normalized_shape))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(self.axes, keepdim=True) + self.eps) * self.weight


def randomize(module):
    for parameter in module.parameters():
        parameter.data.copy_(sample(*parameter.shape, scale=0.7, mean=0.5))


def step(module, layout, shape, mode, activation=None, residual=False, mean=0.0):
    """One forward and backward, as what went in and what came out."""
    x = sample(*shape, scale=2.0, mean=mean).requires_grad_()
    r = sample(*shape).requires_grad_() if residual else None
    dy = sample(*shape)
    module.train(mode == "train")
    module.zero_grad()
    y = from_first(module(to_first(x, layout)), layout)
    if residual:
        y = y + r
    if activation == "relu":
        # a value this near to 0 could fall on either side in float32
        assert y.detach().abs().min() > 1e-5
        y = torch.relu(y)
    y.backward(dy)
    result = {"mode": mode, "x": pack(x), "dy": pack(dy), "y": pack(y), "dx": pack(x.grad)}
    if residual:
        result["residual"] = pack(r)
        result["residualGrad"] = pack(r.grad)
    for name, parameter in (("dgamma", "weight"), ("dbeta", "bias")):
        if getattr(module, parameter, None) is not None:
            result[name] = pack(getattr(module, parameter).grad.flatten())
    if getattr(module, "running_mean", None) is not None:
        result["runningMean"] = pack(module.running_mean)
        result["runningVar"] = pack(module.running_var)
        result["batchesTracked"] = int(module.num_batches_tracked)
    return result


def case(name, module, layer, shape, modes, **options):
    layout = layer.get("layout", "channels-first")
    randomize(module)
    gamma = getattr(module, "weight", None)
    beta = getattr(module, "bias", None)
    return {
        "name": name,
        **layer,
        "gamma": None if gamma is None else pack(gamma.flatten()),
        "beta": None if beta is None else pack(beta.flatten()),
        "steps": [step(module, layout, shape, mode, **options) for mode in modes],
    }


def batch_cases():
    nn = torch.nn
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    trajectory = ["train", "train", "train", "eval", "train", "eval"]

    def batch(name, layout, shape, modes, momentum=0.1, eps=1e-5, affine=True, mean=0.0, **options):
        channels = shape[1] if layout == "channels-first" else shape[-1]
        module = kinds[len(shape)](channels, eps=eps, momentum=momentum, affine=affine)
        layer = {
            "family": "batch",
            "layout": layout,
            "size": channels,
            "options": {"eps": eps, "momentum": momentum, "affine": affine},
        }
        if "activation" in options:
            layer["options"]["activation"] = options["activation"]
        return case(name, module, layer, shape, modes, mean=mean, **options)

    last, first = "channels-last", "channels-first"
    yield batch("trajectory, momentum 0.1", last, (12, 7), trajectory)
    yield batch("trajectory, momentum null", last, (12, 7), trajectory, momentum=None)
    yield batch("trajectory, momentum 0.9, eps 0.01", last, (6, 5), trajectory, momentum=0.9, eps=0.01)
    yield batch("trajectory without gamma and beta", last, (9, 5), ["train", "eval"], affine=False)
    yield batch("images, channels last", last, (2, 3, 3, 5), ["train", "train", "eval"], mean=3.0)
    yield batch("trajectory on [N, C], channels first", first, (12, 7), ["train", "eval"])
    yield batch("sequences, channels first", first, (3, 5, 6), ["train", "train", "eval"])
    yield batch("images, channels first", first, (3, 5, 3, 3), trajectory)
    yield batch("images, momentum null, channels first", first, (3, 5, 3, 3), trajectory, momentum=None)
    yield batch("volumes, channels first", first, (2, 4, 3, 2, 3), ["train", "eval"])
    yield batch("frozen from the start, channels last", last, (5, 6), ["eval"])
    yield batch("ReLU, channels last", last, (9, 6), ["train", "eval"], activation="relu")
    yield batch("ReLU, channels first", first, (3, 5, 2, 3), ["train", "eval"], activation="relu")
    for layout, shape in ((last, (9, 6)), (first, (3, 5, 2, 3))):
        yield batch(f"residual, {layout}", layout, shape, ["train", "eval"], residual=True)
        both = {"residual": True, "activation": "relu"}
        yield batch(f"residual and ReLU, {layout}", layout, shape, ["train", "eval"], **both)


def family_cases():
    nn = torch.nn

    def layer_norm(name, shape, normalized, eps=1e-5, affine=True, **options):
        layer = {"family": "layer", "size": normalized, "options": {"eps": eps, "affine": affine, **options}}
        return case(name, nn.LayerNorm(normalized, eps, affine), layer, shape, ["train", "eval"], **options)

    yield layer_norm("one dimension", (5, 9), [9])
    yield layer_norm("two dimensions", (4, 3, 7), [3, 7], eps=1e-3)
    yield layer_norm("tokens", (2, 5, 8), [8])
    yield layer_norm("without gamma and beta", (5, 9), [9], affine=False)
    yield layer_norm("with ReLU", (5, 9), [9], activation="relu")

    def rms_norm(name, shape, normalized, **options):
        layer = {"family": "rms", "size": normalized, "options": {"eps": 1e-6, **options}}
        return case(name, RMSNorm(normalized, 1e-6), layer, shape, ["train"], **options)

    yield rms_norm("one dimension", (5, 9), [9])
    yield rms_norm("two dimensions", (4, 3, 7), [3, 7])
    yield rms_norm("with ReLU", (5, 9), [9], activation="relu")

    for layout, shape in (("channels-first", (2, 6, 3, 4)), ("channels-last", (2, 3, 4, 6))):

        def group_norm(name, groups, affine=True, **options):
            layer = {
                "family": "group",
                "layout": layout,
                "groups": groups,
                "size": 6,
                "options": {"eps": 1e-5, "affine": affine, **options},
            }
            module = nn.GroupNorm(groups, 6, affine=affine)
            return case(f"{name}, {layout}", module, layer, shape, ["train"], **options)

        yield group_norm("three groups", 3)
        yield group_norm("one group", 1)
        yield group_norm("a group a channel, no gamma and beta", 6, affine=False)
        yield group_norm("two groups with ReLU", 2, activation="relu")

        def instance_norm(name, affine, **options):
            layer = {
                "family": "instance",
                "layout": layout,
                "size": 6,
                "options": {"eps": 1e-5, "affine": affine, **options},
            }
            module = nn.InstanceNorm2d(6, affine=affine)
            return case(f"{name}, {layout}", module, layer, shape, ["train", "eval"], **options)

        yield instance_norm("without gamma and beta", False)
        yield instance_norm("with gamma and beta", True)
        yield instance_norm("with ReLU", True, activation="relu")


def optimizer_cases():
    def trajectory(name, kind, options, torch_options, make):
        start = sample(2, 5)
        parameter = torch.nn.Parameter(start.clone())
        optimizer = make([parameter], **torch_options)
        grads, values = [], []
        for i in range(8):
            # one gradient that stays 0, to see weight decay alone
            grad = sample(2, 5, scale=2.0 ** (i % 3))
            grad[:, -1] = 0
            parameter.grad = grad
            optimizer.step()
            grads.append(pack(grad.flatten()))
            values.append(pack(parameter.flatten()))
        start = pack(start.flatten())
        return {"name": name, "kind": kind, "options": options, "start": start, "grads": grads, "values": values}

    def sgd(name, lr, **options):
        keys = {"weightDecay": "weight_decay"}
        torch_options = {"lr": lr, **{keys.get(key, key): value for key, value in options.items()}}
        return trajectory(name, "SGD", {"lr": lr, **options}, torch_options, torch.optim.SGD)

    yield sgd("SGD", 0.1)
    yield sgd("SGD with weight decay", 0.1, weightDecay=0.05)
    yield sgd("SGD with momentum", 0.05, momentum=0.9)
    yield sgd("SGD with momentum and weight decay", 0.05, momentum=0.8, weightDecay=0.05)
    yield sgd("SGD with Nesterov's momentum", 0.05, momentum=0.9, nesterov=True)
    yield sgd("SGD with all of it", 0.05, momentum=0.9, nesterov=True, weightDecay=0.02)

    def adamw(name, **options):
        keys = {"weightDecay": "weight_decay"}
        torch_options = {keys.get(key, key): value for key, value in options.items()}
        return trajectory(name, "AdamW", options, torch_options, torch.optim.AdamW)

    yield adamw("AdamW, its defaults")
    yield adamw("AdamW, fast", lr=0.05, betas=[0.8, 0.9], eps=1e-4, weightDecay=0.1)
    yield adamw("AdamW without decay", lr=0.01, weightDecay=0.0)


def activation_cases():
    functional = torch.nn.functional

    def gelu_tanh(z):
        """PyTorch 1.11 and older have none."""
        return functional.gelu(z, approximate="tanh")

    functions = {
        "relu": torch.relu,
        "relu6": functional.relu6,
        "leaky-relu": functional.leaky_relu,
        "silu": functional.silu,
        "gelu": functional.gelu,
        "gelu-tanh": gelu_tanh,
        "hardswish": functional.hardswish,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }
    inf = float("inf")
    special = [0.0, -0.0, 3.0, -3.0, 6.0, -6.0, 100.0, -100.0, inf, -inf, float("nan")]
    for name, function in functions.items():
        z = torch.cat([torch.linspace(-12, 12, 193).to(torch.float32).to(torch.float64), torch.tensor(special)])
        z.requires_grad_()
        y = function(z)
        dy = sample(len(z))
        y.backward(dy)
        yield {"name": name, "z": pack(z), "y": pack(y), "dy": pack(dy), "dz": pack(z.grad)}


for file, cases in (
    ("batch.json", batch_cases()),
    ("family.json", family_cases()),
    ("optimizers.json", optimizer_cases()),
    ("activations.json", activation_cases()),
):
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in cases)
    (HERE / file).write_text(f'{{"torch":"{torch.__version__}","cases":[\n{lines}\n]}}\n')
