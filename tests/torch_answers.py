"""Run by the Python of scripts/peer_torch: what a model of torchvision, timm or pytorchcv computes.

Reads jobs {"model": what makes it, such as "torchvision.models.resnet34()", "images": .npy of images (n, size, size,
channels), "weights": where its state dict is saved, "logits": where to write what it makes of the first image, in
float64} as JSON; answers {}, or {"error": message}.
"""

import contextlib
import importlib
import json
import re
import sys

import numpy as np
import torch

if torch.version.cuda is None:  # torchvision's kernels are not loaded then, and it asks for two of them by name
    kernels = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        kernels.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def built(call):
    path, arguments = re.fullmatch(r"([\w.]+)(?:\((.*)\))?", call).groups()
    module, _, function = path.rpartition(".")
    namespace = {"__builtins__": {}, "make": getattr(importlib.import_module(module), function)}
    return eval(f"make({arguments or ''})", namespace).eval()


def randomise(model, images):
    """Random weights of every kind; moving statistics are those of `images`, so that activations keep their size."""
    generator = torch.Generator().manual_seed(0)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    kernels = {id(m.weight) for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))}
    gains = {id(m.weight) for m in model.modules() if "Norm" in type(m).__name__ and hasattr(m, "weight")}
    for name, value in model.named_parameters():
        drawn = torch.randn(value.shape, generator=generator)
        if id(value) in kernels:
            drawn *= (2 / value[0].numel()) ** 0.5
        elif id(value) in gains:
            drawn = 1 + 0.2 * drawn
        else:
            drawn *= 0.1 if name.endswith(".bias") else 0.5
        value.copy_(drawn)
    for module in norms:
        module.momentum = 1.0
        module.train()
    model(images)
    model.eval()


@torch.no_grad()
def answer(job):
    try:
        model = built(job["model"])
        images = torch.from_numpy(np.load(job["images"])).permute(0, 3, 1, 2).contiguous()
        randomise(model, images)
        torch.save(model.state_dict(), job["weights"])
        np.save(job["logits"], model.double()(images[:1].double()).numpy())
    except Exception as error:  # theirs are of many kinds
        return {"error": f"{type(error).__name__}: {error}"}
    return {}


with contextlib.redirect_stdout(sys.stderr):
    found = [answer(job) for job in json.load(sys.stdin)]
print(json.dumps(found))
