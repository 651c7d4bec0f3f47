"""Writes the other files of this folder, with PyTorch: `python write.py`. PyTorch 1.13.1 wrote them.

`*-zip` is the format since PyTorch 1.6, `*-stream` the one before. The `.npz` files say what is in them.
"""

import argparse
import collections
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent


def values():
    """Every type, and views of every kind."""
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 7
    shared = torch.randn(10)
    bfloat16 = torch.randn(3, 5).to(torch.bfloat16)
    return {
        "plain.weight": base.clone(),
        "transposed": base.permute(2, 0, 1),
        "sliced": base[:, 1:, ::2],
        "shared.a": shared[:4],
        "shared.b": shared[2:],
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "bf16": bfloat16,
        "bf16.t": bfloat16.t(),
        "half": torch.randn(4).half(),
        "double": torch.randn(2, 2).double(),
        **{
            name: torch.arange(5).to(getattr(torch, name))
            for name in ("int8", "uint8", "int16", "int32", "int64")
        },
        "bool": torch.tensor([True, False, True]),
        "num_batches_tracked": torch.tensor(7),
        "parameter": torch.nn.Parameter(torch.randn(2, 3)),
    }


def checkpoint(net):
    """What training scripts keep: weights as a wrapper names them, their average, the optimizer's state."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = net.state_dict()
    return {
        "epoch": 3,
        "state_dict": collections.OrderedDict((f"module.{name}", value) for name, value in state.items()),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "best": 0.5,
        "rng": torch.get_rng_state()[:16].clone(),
        "model_ema": {
            "n_averaged": torch.tensor(2),
            **{f"module._orig_mod.{name}": value * 2 for name, value in state.items()},
        },
    }


def arrays(tensors):
    bfloat16 = torch.bfloat16
    return {name: (t.float() if t.dtype == bfloat16 else t).detach().numpy() for name, t in tensors.items()}


def save(value, name, *, stream):
    torch.save(value, HERE / name, _use_new_zipfile_serialization=not stream)


torch.manual_seed(0)
state = values()
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2)
)
kept = checkpoint(net)
for word, stream in (("zip", False), ("stream", True)):
    save(collections.OrderedDict(state), f"values-{word}.pth", stream=stream)
    save(kept, f"checkpoint-{word}.pth.tar", stream=stream)
np.savez(HERE / "values.npz", **arrays(state))
np.savez(HERE / "checkpoint.npz", **arrays({name: value * 2 for name, value in net.state_dict().items()}))
save(net, "module-zip.pt", stream=False)
save(
    {"state_dict": net.state_dict(), "args": argparse.Namespace(lr=0.1)}, "namespace-stream.pth", stream=True
)
torch.jit.script(torch.nn.Sequential(torch.nn.Linear(4, 2))).save(str(HERE / "script.pt"))
