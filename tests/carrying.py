"""Models that carry metadata: ours, and as other tools write it."""

import zipfile

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

import tiny
from edgecls.metadata import Metadata, flatbuffer
from edgecls.metadata.schema import ENTRY, IDENTIFIER

FULL = Metadata(
    name="mine",
    description="Bären, 熊",
    version="3",
    author="somebody",
    licence="MIT",
    input="a picture",
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    color="rgb",
    labels=("bear", "Bär", "熊", "a, b", "c"),
)
FORMATS = ("tflite", "onnx")


def made(path, **options):
    size = {".tflite": (1, 1, 1, 3), ".onnx": (1, 3, 1, 1)}[path.suffix]
    save = {".tflite": tiny.save_tflite, ".onnx": tiny.save_onnx}[path.suffix]
    return save(path, **({"input_shape": size, "filters": 5} | options))


def elsewhere(path, tree, *, packed=(), outside=False):
    """A .tflite as other tools make one: metadata among its buffers, by the schema's own packing; files behind."""
    model = schema.ModelT.InitFromPackedBuf(made(path).read_bytes(), 0)
    model.metadata, buffer = [schema.MetadataT(), schema.MetadataT()], schema.BufferT()
    model.metadata[0].name, model.metadata[0].buffer = "min_runtime_version", 0
    model.metadata[1].name, model.metadata[1].buffer = ENTRY, len(model.buffers)
    buffer.data = np.frombuffer(flatbuffer.write("ModelMetadata", tree, IDENTIFIER), np.uint8)
    model.buffers.append(buffer)
    contents = [bytes(one.data) if outside and one.data is not None else b"" for one in model.buffers[:-1]]

    def pack(end):
        for one, content in zip(model.buffers[:-1], contents, strict=True):
            if content:
                one.data, one.offset, one.size = None, end, len(content)
                end += len(content)
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    path.write_bytes(pack(len(pack(1000))) + b"".join(contents))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in packed:
            archive.writestr(name, content)
    return path


THEIRS = {
    "name": "theirs",
    "min_parser_version": "1.5.0",
    "associated_files": [{"name": "notes.txt", "type": 1}],
    "subgraph_metadata": [
        {
            "input_tensor_metadata": [
                {
                    "name": "picture",
                    "dimension_names": ["batch", "y", "x", "channel"],
                    "process_units": [{"options": ("RegexTokenizerOptions", {"delim_regex_pattern": " "})}],
                }
            ],
            "output_tensor_metadata": [
                {
                    "name": "answer",
                    "associated_files": [
                        {"name": "their_labels.txt", "type": 2},
                        {"name": "labels_de.txt", "type": 2, "locale": "de"},
                    ],
                    "process_units": [
                        {"options": ("ScoreThresholdingOptions", {"global_score_threshold": 0.25})},
                    ],
                }
            ],
            "custom_metadata": [{"name": "secret", "data": bytes(range(40))}],
        }
    ],
}
PACKED = [
    ("notes.txt", "n" * 100),
    ("their_labels.txt", "a\r\nb\nc\nd\ne\n"),
    ("labels_de.txt", "v\nw\nx\ny\nz"),
]
