"""Writes the files beside it: one small network by both of PyTorch's ONNX exporters, and what it answers.

Run by hand where torch and onnxscript are installed; torch 2.13 wrote what is here.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

FOLDER = Path(__file__).parent


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x):
        return x * nn.functional.hardsigmoid(self.up(nn.functional.relu(self.down(self.pool(x)))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.depth = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.squeeze = SqueezeExcite(8)
        self.wide = nn.Sequential(nn.Conv2d(8, 16, 1), nn.GELU())
        self.norm = nn.BatchNorm2d(16)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.wide(self.squeeze(self.depth(self.stem(x))))
        x = self.norm(x.mean([2, 3], keepdim=True))
        return self.head(self.drop(torch.flatten(x, 1)))


torch.manual_seed(0)
net = Net().train()
with torch.no_grad():
    for parameter in net.parameters():
        if parameter.ndim > 1:
            parameter.mul_(1.5)
    for _ in range(30):  # statistics of the batch norms
        net(torch.randn(16, 3, 16, 16))
net.eval()

pictures = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32))
np.savez(FOLDER / "answers.npz", pictures=pictures.numpy(), logits=net(pictures).detach().numpy())

one = pictures[:1]
open_axes = {"input": {0: "batch", 2: "height", 3: "width"}, "logits": {0: "batch"}}
for opset in (11, 17, 20):
    torch.onnx.export(
        net,
        one,
        FOLDER / f"script-{opset}.onnx",
        dynamo=False,
        opset_version=opset,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes=open_axes,
    )
torch.onnx.export(
    net,
    one,
    FOLDER / "script-weights-as-inputs.onnx",
    dynamo=False,
    opset_version=13,
    keep_initializers_as_inputs=True,
    do_constant_folding=False,
)
batch = ({0: torch.export.Dim("batch")},)
torch.onnx.export(
    net, (pictures[:2],), FOLDER / "dynamo-20.onnx", dynamo=True, external_data=False, dynamic_shapes=batch
)
for path in FOLDER.glob("*.onnx"):  # without the places in this file, which are longer than the weights
    model = onnx.load(path)
    for named in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del named.metadata_props[:]
    onnx.save(model, path)
