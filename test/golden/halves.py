#!/usr/bin/python3
"""Makes the golden values of 16-bit minibatches from a real PyTorch: `/usr/bin/python3 test/golden/halves.py` (Debian's python3-torch).

x, dy, gamma and beta are values of the type. `y`, `dx` and so on are what PyTorch computes of them in float64, rounded to float32;
`own` is what its CPU kernels of the type itself give, where they exist: 1.13 has none of float16 for these norms.
Arrays are as in make.py.
"""

import base64
import json
import pathlib

import torch

torch.manual_seed(20191128)
HERE = pathlib.Path(__file__).parent
TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def pack(tensor):
    values = tensor.detach().to(torch.float32).contiguous()
    data = base64.b64encode(values.numpy().astype("<f4").tobytes()).decode()
    return {"shape": list(values.shape), "data": data}


def run(module, dtype, x, dy, gamma, beta):
    """One forward and backward in `dtype`, on values that it has."""
    module = module.to(dtype)
    module.weight.data = gamma.to(dtype)
    module.bias.data = beta.to(dtype)
    x = x.to(dtype).requires_grad_()
    y = module(x)
    y.backward(dy.to(dtype))
    return {
        "y": pack(y),
        "dx": pack(x.grad),
        "dgamma": pack(module.weight.grad.flatten()),
        "dbeta": pack(module.bias.grad.flatten()),
    }


def case(name, make, layer, shape, parameters, dtype):
    half = TYPES[dtype]

    def sample(*extents, scale=1.0, mean=0.0):
        return (torch.randn(*extents) * scale + mean).to(half).to(torch.float64)

    given = sample(*shape, scale=2, mean=1), sample(*shape), sample(*parameters, scale=0.7, mean=0.5), sample(*parameters)
    try:
        own = run(make(), half, *given)
    except RuntimeError:
        own = None
    names = ("x", "dy", "gamma", "beta")
    packed = {key: pack(value.flatten() if key in ("gamma", "beta") else value) for key, value in zip(names, given)}
    return {"name": name, "dtype": dtype, **layer, **packed, **run(make(), torch.float64, *given), "own": own}


def cases():
    nn = torch.nn
    first = {"layout": "channels-first"}
    for dtype in TYPES:
        for n in (9, 48):
            yield case("layer", lambda: nn.LayerNorm(n), {"family": "layer", "size": n}, (3, n), (n,), dtype)
        group = {"family": "group", "groups": 3, "size": 6, **first}
        yield case("group", lambda: nn.GroupNorm(3, 6), group, (2, 6, 3, 2), (6,), dtype)
        batch = {"family": "batch", "size": 7, **first}
        yield case("batch", lambda: nn.BatchNorm1d(7), batch, (12, 7), (7,), dtype)
        images = {"family": "batch", "size": 5, **first}
        yield case("batch, images", lambda: nn.BatchNorm2d(5), images, (2, 5, 2, 3), (5,), dtype)


lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in cases())
(HERE / "halves.json").write_text(f'{{"torch":"{torch.__version__}","cases":[\n{lines}\n]}}\n')
