"""Run by the Python of scripts/peer_readers: runs models in OpenVINO, or in TensorFlow Lite for Microcontrollers.

Reads jobs {"reader": "openvino" or "tflite-micro", "model": path, "inputs": .npy of inputs, "outputs": where to
write theirs} as JSON; answers {}, or {"error": message}.
"""

import contextlib
import json
import sys

import numpy as np
import openvino
from tflite_micro.python.tflite_micro import runtime


def openvino_run(path):
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(path, "CPU", exact)
    return lambda value: model(value)[0]


def micro_run(path):
    interpreter = runtime.Interpreter.from_file(path, arena_size=64 << 20)

    def run(value):
        interpreter.set_input(value, 0)
        interpreter.invoke()
        return interpreter.get_output(0)

    return run


def answer(job):
    try:
        run = {"openvino": openvino_run, "tflite-micro": micro_run}[job["reader"]](job["model"])
        np.save(job["outputs"], np.stack([run(one) for one in np.load(job["inputs"])]))
    except Exception as error:  # theirs are of many kinds
        return {"error": str(error)}
    return {}


with contextlib.redirect_stdout(sys.stderr):
    found = [answer(job) for job in json.load(sys.stdin)]
print(json.dumps(found))
