"""Run by the Python of scripts/peer_mediapipe: gives pictures to models as apps on phones do.

Reads jobs {"model": path, "pictures": [path], "read": bool} as JSON; answers {"answers": [[[index, name, score], best first],
one for each picture], "read": some of the metadata by MediaPipe's own schema}, or {"error": message}.
"""

import contextlib
import json
import sys
from pathlib import Path

import mediapipe
from mediapipe.tasks.metadata.metadata_schema_py_generated import ModelMetadataT
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions


def answer(job):
    options = ImageClassifierOptions(base_options=BaseOptions(model_asset_path=job["model"]))
    try:
        with ImageClassifier.create_from_options(options) as classifier:
            found = [classifier.classify(mediapipe.Image.create_from_file(path)) for path in job["pictures"]]
    except Exception as error:  # of many kinds, by its status codes
        return {"error": str(error)}
    answers = [
        [[one.index, one.category_name, one.score] for one in each.classifications[0].categories]
        for each in found
    ]
    return {"answers": answers, "read": read(job["model"]) if job.get("read") else None}


def read(path):
    content = Path(path).read_bytes()
    found = ModelMetadataT.InitFromPackedBuf(content[content.index(b"M001") - 4 :], 0)
    (graph,) = found.subgraphMetadata
    (image,), (scores,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    units = image.processUnits or []
    return {
        "name": found.name.decode(),
        "version": found.version.decode(),
        "min_parser_version": found.minParserVersion.decode(),
        "color": image.content.contentProperties.colorSpace,
        "size": image.content.contentProperties.defaultSize.width,
        "mean": [list(map(float, unit.options.mean)) for unit in units],
        "std": [list(map(float, unit.options.std)) for unit in units],
        "low": list(map(float, image.stats.min)),
        "labels": [file.name.decode() for file in scores.associatedFiles],
    }


with contextlib.redirect_stdout(sys.stderr):
    found = [answer(job) for job in json.load(sys.stdin)]
print(json.dumps(found))
