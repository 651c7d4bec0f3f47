"""Hard-swish written as `x * relu6(x + 3) / 6`, its definition (Howard et al. 2019, section 5.2).

XNNPACK takes no int8 HARD_SWISH: each cuts the graph, and the runtime's own kernel is slow.
MobileNetV3-small ran in 20 pieces, at a third of the speed of its float file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgecls.exporters import flatbuffer
from edgecls.exporters.lowerings import INNER

if TYPE_CHECKING:
    from ai_edge_litert.schema_py_generated import ModelT


def tflite(model: ModelT) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    builtin = schema.BuiltinOperator

    def parts(hard_swish):
        (x,), (y,) = hard_swish.inputs, hard_swish.outputs
        tensor = model.subgraphs[0].tensors[y]
        name = tensor.name + INNER.encode()
        three, sixth = (
            flatbuffer.add_tensor(model, name + suffix, [], np.array(value))
            for suffix, value in ((b"/three", 3.0), (b"/sixth", 1 / 6))
        )
        gate = flatbuffer.add_tensor(model, name + b"/gate", tensor.shape)
        product = flatbuffer.add_tensor(model, name + b"/product", tensor.shape)
        add, multiply = schema.AddOptionsT(), schema.MulOptionsT()
        add.fusedActivationFunction = schema.ActivationFunctionType.RELU6
        return [
            flatbuffer.make_operator(model, builtin.ADD, [x, three], gate, options=add),
            flatbuffer.make_operator(model, builtin.MUL, [x, gate], product, options=multiply),
            flatbuffer.make_operator(model, builtin.MUL, [product, sixth], y, options=multiply),
        ]

    return flatbuffer.replace(model, builtin.HARD_SWISH, parts)
