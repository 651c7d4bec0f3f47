"""TFLite's metadata_schema.fbs 1.5.0: the tables of a model's metadata, their fields in order."""

from __future__ import annotations

#: Of a flatbuffer by this schema, and of the entry in a model's own list of metadata that it is under.
IDENTIFIER, ENTRY = b"M001", "TFLITE_METADATA"
#: Every reader of identifier M001 knows what `edgecls.metadata.tflite` writes.
MIN_PARSER_VERSION = "1.0.0"

#: Enumerations, by what they have of use here.
TENSOR_AXIS_LABELS = 2
COLOR_SPACES = {"rgb": 1, "gray": 2}

#: Scalars, by their letter in `struct`. Enumerations are bytes.
SCALARS = {"byte": "b", "int": "i", "uint": "I", "float": "f"}

#: Which table a field of a union may be, numbered from 1.
UNIONS = {
    "ContentProperties": ("FeatureProperties", "ImageProperties", "BoundingBoxProperties", "AudioProperties"),
    "ProcessUnitOptions": (
        *("NormalizationOptions", "ScoreCalibrationOptions", "ScoreThresholdingOptions"),
        *("BertTokenizerOptions", "SentencePieceTokenizerOptions", "RegexTokenizerOptions"),
    ),
}

_FILES = "[AssociatedFile]"
_TEXT = {"name": "string", "description": "string"}

TABLES = {
    "ModelMetadata": {
        **_TEXT,
        "version": "string",
        "subgraph_metadata": "[SubGraphMetadata]",
        "author": "string",
        "license": "string",
        "associated_files": _FILES,
        "min_parser_version": "string",
    },
    "SubGraphMetadata": {
        **_TEXT,
        "input_tensor_metadata": "[TensorMetadata]",
        "output_tensor_metadata": "[TensorMetadata]",
        "associated_files": _FILES,
        "input_process_units": "[ProcessUnit]",
        "output_process_units": "[ProcessUnit]",
        "input_tensor_groups": "[TensorGroup]",
        "output_tensor_groups": "[TensorGroup]",
        "custom_metadata": "[CustomMetadata]",
    },
    "TensorMetadata": {
        **_TEXT,
        "dimension_names": "[string]",
        "content": "Content",
        "process_units": "[ProcessUnit]",
        "stats": "Stats",
        "associated_files": _FILES,
    },
    "AssociatedFile": {**_TEXT, "type": "byte", "locale": "string", "version": "string"},
    "Content": {"content_properties": "ContentProperties", "range": "ValueRange"},
    "FeatureProperties": {},
    "ImageProperties": {"color_space": "byte", "default_size": "ImageSize"},
    "ImageSize": {"width": "uint", "height": "uint"},
    "BoundingBoxProperties": {"index": "[uint]", "type": "byte", "coordinate_type": "byte"},
    "AudioProperties": {"sample_rate": "uint", "channels": "uint"},
    "ValueRange": {"min": "int", "max": "int"},
    "ProcessUnit": {"options": "ProcessUnitOptions"},
    "NormalizationOptions": {"mean": "[float]", "std": "[float]"},
    "ScoreCalibrationOptions": {"score_transformation": "byte", "default_score": "float"},
    "ScoreThresholdingOptions": {"global_score_threshold": "float"},
    "BertTokenizerOptions": {"vocab_file": _FILES},
    "SentencePieceTokenizerOptions": {"sentencePiece_model": _FILES, "vocab_file": _FILES},
    "RegexTokenizerOptions": {"delim_regex_pattern": "string", "vocab_file": _FILES},
    "Stats": {"max": "[float]", "min": "[float]"},
    "TensorGroup": {"name": "string", "tensor_names": "[string]"},
    "CustomMetadata": {"name": "string", "data": "[ubyte]"},
}
