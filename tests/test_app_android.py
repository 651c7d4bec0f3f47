"""The project for Android: its files, its constants; and its Kotlin, by a real compiler where there is one."""

import dataclasses
import os
import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import peers
import pytest
from PIL import Image

from edgecls import images
from edgecls.apps import About, android
from edgecls.artifact import TensorInfo
from edgecls.errors import UsageError
from edgecls.spec import PREPROCESS
from edgecls.verbs import app
from edgecls.verification import running

TEMPLATES = Path(android.__file__).parent / "templates" / "android"
STUBS = Path(__file__).parent / "android_stubs"
COMPILER = peers.FOLDER / "kotlin" / "lib"
no_compiler = not (shutil.which("java") and (COMPILER.parent / "complete").is_file())


@pytest.fixture(scope="module")
def project(cold_export, tmp_path_factory):
    (model,) = cold_export[0].rglob("lenet5-int8.tflite")
    out = tmp_path_factory.mktemp("android") / "project"
    app.android(model, out)
    return model, out


def about(**changed) -> About:
    """Of a float model for colours, 64 pixels wide."""
    tensor = TensorInfo(name="x", shape=(1, 64, 64, 3), dtype="float32")
    fields = {
        "path": Path("net.tflite"),
        "name": "net",
        "precision": "fp32",
        "bytes": 1_250_000,
        "sha256": "",
        "input": tensor,
        "output": dataclasses.replace(tensor, name="y", shape=(1, 3)),
        "probabilities": False,
        "preprocess": PREPROCESS["tf"].at(64),
        "labels": ("a", "b", "c"),
        "notes": (),
        "licence": None,
    }
    return About(**fields | changed)


def constants(one: About) -> dict[str, str]:
    return dict(re.findall(r"val (\w+) = (.*)", android.constants(one)))


def test_the_project_is_whole(project):
    model, out = project
    main = out / "app" / "src" / "main"
    assert (main / "assets" / "model.tflite").read_bytes() == model.read_bytes()
    assert (main / "assets" / "labels.txt").read_text() == "".join(f"{k}\n" for k in range(10))
    for text in TEMPLATES.rglob("*"):
        if text.is_file():
            assert (out / text.relative_to(TEMPLATES)).read_bytes() == text.read_bytes()
    found = constants_of(out)
    assert (found["NAME"], found["PRECISION"]) == ('"lenet5.paper"', '"int8"')
    assert "untrained" in found["NOTES"]
    assert (found["QUANTIZED_INPUT"], found["QUANTIZED_OUTPUT"], found["CHANNELS"]) == ("true", "true", "1")


def constants_of(out: Path) -> dict[str, str]:
    return dict(re.findall(r"val (\w+) = (.*)", (out / android.SOURCES / "Model.kt").read_text()))


def test_its_xml_is_well_formed_and_names_what_is_there(project):
    _, out = project
    found = {path: ElementTree.parse(path) for path in out.rglob("*.xml")}
    assert len(found) == 5
    (manifest,) = (tree for path, tree in found.items() if path.name == "AndroidManifest.xml")
    (activity,) = manifest.iter("activity")
    name = activity.get("{http://schemas.android.com/apk/res/android}name")
    assert (out / android.SOURCES / f"{name.removeprefix('.')}.kt").is_file()
    assert 'namespace = "com.example.classifier"' in (out / "app" / "build.gradle.kts").read_text()


def test_the_versions_that_the_readme_tells_are_those_of_the_build():
    builds = "".join(path.read_text() for path in TEMPLATES.rglob("*.gradle.kts"))
    builds += (TEMPLATES / "gradle/wrapper/gradle-wrapper.properties").read_text()
    rows = re.findall(r"^\| (.*?) \| (\d[\d.]*) \|$", (TEMPLATES / "README.md").read_text(), re.M)
    assert len(rows) == 4
    for what, version in rows:
        assert re.search(rf'["= :-]{re.escape(version)}["\n-]', builds), what


def test_constants_are_those_of_the_model():
    tensor = TensorInfo(name="x", shape=(1, 3, 64, 64), dtype="uint8", scale=0.0186584, zero_point=114)
    one = about(
        name='a "$net"',
        input=tensor,
        preprocess=dataclasses.replace(PREPROCESS["caffe"].at(64), interpolation="bicubic"),
        probabilities=True,
        notes=("first", "second"),
    )
    found = constants(one)
    assert found["NAME"] == r'"a \"\$net\""'
    assert found["MEGABYTES"] == '"1.2"'
    assert (found["RESIZE"], found["CROP"], found["BICUBIC"]) == ("73", "64", "true")
    assert (found["CHANNELS"], found["BGR"], found["CHANNELS_FIRST"]) == ("3", "true", "true")
    assert found["MEAN"] == "floatArrayOf(103.939f, 116.779f, 123.68f)"
    assert found["STD"] == "floatArrayOf(1.0f, 1.0f, 1.0f)"
    assert (found["QUANTIZED_INPUT"], found["QUANTIZED_OUTPUT"]) == ("true", "false")
    assert (found["INPUT_SCALE"], found["INPUT_ZERO_POINT"]) == ("0.0186584f", "114")
    assert found["PROBABILITIES"] == "true"
    assert found["NOTES"] == 'listOf<String>("first", "second")'


def test_a_label_of_two_lines_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no single line"):
        android.write(about(labels=("a", "b\nc", "d")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


#: How pictures become input -> what the model takes: (type, order of axes).
CASES = [
    (PREPROCESS["torch"].at(64), "float32", "last"),
    (dataclasses.replace(PREPROCESS["caffe"].at(64), interpolation="bicubic"), "float32", "first"),
    (PREPROCESS["tf"].at(64), "uint8", "last"),
    (PREPROCESS["tf"].at(64).fit(64, 1), "uint8", "last"),
]
SIZES = [(400, 300), (301, 640), (640, 301), (97, 61), (73, 90)]
HARNESS = """
import java.io.*

fun main(arguments: Array<String>) {
    val source = DataInputStream(BufferedInputStream(FileInputStream(arguments[0])))
    val width = source.readInt()
    val height = source.readInt()
    val colors = IntArray(width * height) { source.readInt() }
    val read = { left: Int, top: Int, w: Int, h: Int ->
        IntArray(w * h) { colors[(top + it / w) * width + left + it % w] }
    }
    DataOutputStream(BufferedOutputStream(FileOutputStream(arguments[1]))).use { out ->
CALLS
    }
}
"""
CALL = """
        case%(k)d.pixels(width, height, read).let { seen ->
            seen.forEach { out.writeInt(it) }
            case%(k)d.floats(seen).forEach { out.writeFloat(it) }
            out.write(case%(k)d.bytes(seen))
        }
"""


@pytest.mark.slow
@pytest.mark.skipif(no_compiler, reason="run scripts/peer_kotlin")
def test_its_kotlin_compiles_and_makes_of_pictures_what_python_makes(project, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    tensors = []
    for k, (preprocess, dtype, order) in enumerate(CASES):
        channels = preprocess.channels
        shape = (1, 64, 64, channels) if order == "last" else (1, channels, 64, 64)
        tensors.append(TensorInfo(name="x", shape=shape, dtype=dtype, scale=0.0186584, zero_point=114))
        one = about(input=tensors[-1], preprocess=preprocess)
        picture = (TEMPLATES / android.SOURCES / "Picture.kt").read_text()
        for name, text in (("Model", android.constants(one)), ("Picture", picture)):
            renamed = text.replace("package com.example.classifier", f"package case{k}")
            (sources / f"{name}{k}.kt").write_text(renamed)
    calls = "".join(CALL % {"k": k} for k in range(len(CASES)))
    (sources / "Harness.kt").write_text(HARNESS.replace("CALLS", calls))
    compiler = ["java", "-jar", COMPILER / "kotlin-compiler.jar", "-no-reflect", "-d", tmp_path / "all.jar"]
    files = [sources, project[1] / android.SOURCES, STUBS]
    done = subprocess.run([*compiler, *files], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    ours = [line for line in done.stderr.splitlines() if "warning:" in line and str(project[1]) in line]
    assert ours == []
    for width, height in SIZES:
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        colors = np.full((height, width), 255 << 24, np.uint32)
        for c, shift in enumerate((16, 8, 0)):
            colors |= pixels[..., c].astype(np.uint32) << shift
        (tmp_path / "in").write_bytes(struct.pack(">ii", width, height) + colors.astype(">u4").tobytes())
        jars = os.pathsep.join(map(str, [tmp_path / "all.jar", COMPILER / "kotlin-stdlib.jar"]))
        harness = ["java", "-cp", jars, "HarnessKt", tmp_path / "in", tmp_path / "out"]
        subprocess.run(harness, check=True, timeout=60)
        with open(tmp_path / "out", "rb") as out:
            for (preprocess, _, _), tensor in zip(CASES, tensors, strict=True):
                count = 64 * 64 * preprocess.channels
                sizes = {">i4": 4 * count, ">f4": 4 * count, "u1": count}
                seen, floats, quantized = (np.frombuffer(out.read(size), kind) for kind, size in sizes.items())
                right = images.pixels(tmp_path / "a.png", preprocess)
                np.testing.assert_array_equal(seen, right.ravel())
                values = running.oriented(images.normalise(right, preprocess)[None], tensor.shape)
                np.testing.assert_array_equal(floats, values.ravel())
                as_uint8 = dataclasses.replace(tensor, dtype="uint8")
                np.testing.assert_array_equal(quantized, running.quantized(values, as_uint8).ravel())
            assert out.read() == b""
