"""MediaPipe's ImageClassifier takes our files as they are, and answers as our own runtime does."""

import numpy as np
import pytest
from PIL import Image

import graph_files
import peers
from edgecls import metadata, runtimes
from edgecls.exporters import tflite
from edgecls.metadata import Metadata, phones

SIZE, LABELS = 8, ("ape", "bear", "Cöw", "dog", "emu")
SAID = Metadata(name="animals", version="2", mean=(127.5,) * 3, std=(127.5,) * 3, color="rgb", labels=LABELS)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """By the type of their ends, files that tell apart five classes of pictures of 8x8 pixels."""
    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    tensors = {
        "image": (1, SIZE, SIZE, 3),
        "kernel": rng.standard_normal((5, SIZE, SIZE, 3)).astype(np.float32) / SIZE,
        "bias": np.zeros(5, np.float32),
        "logits": (1, 1, 1, 5),
    }
    options = ("Conv2DOptions", {"padding": 1, "strideW": 1, "strideH": 1})
    ops = [("CONV_2D", "image kernel bias", "logits", options)]
    found = {
        "float32": graph_files.write(
            folder / "float32.tflite", ops, tensors, inputs="image", outputs="logits"
        )
    }
    np.save(folder / "pictures.npy", rng.uniform(-1, 1, (20, 1, SIZE, SIZE, 3)).astype(np.float32))
    for io in ("uint8", "int8"):
        found[io] = folder / f"{io}.tflite"
        arguments = (
            str(found["float32"]),
            str(found[io]),
            "int8",
            str(folder / "pictures.npy"),
            (-1.0, 1.0),
            io,
        )
        tflite.quantize(*arguments, emit=lambda event: None)
    return found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(1).integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{number}.png")
    return sorted(folder.iterdir()), pixels


def ours(path, pixels) -> np.ndarray:
    """Scores of each picture, by its own metadata."""
    session, said = runtimes.open(path), metadata.read(path)
    end = session.outputs[0]
    inputs = (
        pixels if session.inputs[0].dtype == "uint8" else np.float32((pixels - said.mean[0]) / said.std[0])
    )
    found = np.stack([runtimes.run(session, [one[None]])[0].reshape(-1) for one in inputs]).astype(np.float64)
    return found if end.scale is None else end.scale * (found - end.zero_point)


def same(answers, scores) -> bool:
    """Whether answers of MediaPipe's are our scores, each with its label."""
    for answer, score in zip(answers, scores, strict=True):
        if any(LABELS[index] != name for index, name, _ in answer):
            return False
        theirs = np.array([value for _, _, value in sorted(answer)])
        if np.abs(theirs - score).max() > 1e-5 or answer[0][0] != score.argmax():
            return False
    return True


def test_it_answers_as_our_runtime_does_to_label_names(models, pictures, tmp_path):
    paths, pixels = pictures
    files = []
    for io in ("float32", "uint8"):
        files.append(tmp_path / f"{io}.tflite")
        metadata.write(models[io], SAID, to=files[-1])
    files.append(tmp_path / "wrong.tflite")
    metadata.write(
        models["float32"], Metadata(mean=(0.0,), std=(255.0,), color="rgb", labels=LABELS), to=files[-1]
    )
    shown = [str(path) for path in paths]
    jobs = [{"model": str(file), "pictures": shown, "read": file.stem != "wrong"} for file in files]
    answers = peers.ask("mediapipe", "mediapipe_answers.py", jobs)
    for file, found in zip(files[:2], answers[:2], strict=True):
        assert same(found["answers"], ours(file, pixels)), file.name
        assert found["read"] == {
            **{"name": "animals", "version": "2", "min_parser_version": "1.0.0", "labels": ["labels.txt"]},
            **{"color": 1, "size": SIZE, "mean": [[127.5] * 3], "std": [[127.5] * 3]},
            "low": [0.0] if file.stem == "uint8" else [-1.0] * 3,
        }
    assert not same(answers[2]["answers"], ours(files[0], pixels))  # another normalization is seen
    assert same(answers[2]["answers"], ours(files[2], pixels))


def test_it_refuses_what_we_say_that_it_does(models, pictures, tmp_path):
    cases = {
        "no metadata": ("float32", None),
        "channels apart": ("float32", Metadata(mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0), color="rgb")),
        "other colours": ("uint8", Metadata(color="bgr")),
        "int8": ("int8", SAID),
        "uint8 without metadata": ("uint8", None),
        "channels apart in uint8": (
            "uint8",
            Metadata(mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0), color="rgb"),
        ),
        "plain": ("float32", Metadata(mean=(1.0,), std=(1.0,))),
    }
    jobs, refusals = [], {}
    for name, (io, said) in cases.items():
        path = tmp_path / f"{name}.tflite"
        if said:
            metadata.write(models[io], said, to=path)
        else:
            path.write_bytes(models[io].read_bytes())
        jobs.append({"model": str(path), "pictures": [str(pictures[0][0])]})
        refusals[name] = any("refuse" in remark for remark in phones.remarks(path, said))
    found = peers.ask("mediapipe", "mediapipe_answers.py", jobs)
    assert {name: "error" in one for name, one in zip(cases, found, strict=True)} == refusals
    assert [*refusals.values()].count(True) == 4
