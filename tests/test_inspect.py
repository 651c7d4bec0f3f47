"""Errors of layers: against figures computed by hand, of a net that int8 ruins, as verb and as command."""

import json
import re

import command
import graph_files
import hard
import numpy as np
import pytest

import edgecls
from edgecls import artifact, inspection, verification
from edgecls.errors import UsageError
from edgecls.graph import read

FORMATS = ("tflite", "onnx")


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """By (format, factor): (float file, int8 file)."""
    folder = tmp_path_factory.mktemp("nets")
    found = {}
    for format in FORMATS:
        for factor in (1, 60):
            source = hard.write(folder / f"net{factor}.{format}", factor)
            found[format, factor] = source, hard.quantized(source)
    np.save(folder / "pictures.npy", hard.pictures(8)[:, 0])
    return found | {"pictures": folder / "pictures.npy"}


@pytest.fixture
def inspect(inline, nets):
    def run(format, factor, **options):
        source, target = nets[format, factor]
        return edgecls.inspect(target, **{"against": source, "pictures": nets["pictures"]} | options)

    return run


@pytest.fixture
def verify(inline):
    return edgecls.verify


def by_layer(found):
    return {one.layer: one for one in found.layers}


@pytest.mark.parametrize("format", FORMATS)
def test_a_sound_net_has_nothing_to_find(inspect, format):
    found = inspect(format, 1)
    assert (found.finding, found.fault, found.cure, found.notes) == (None, None, None, ())
    assert found.samples == 8 and found.worst[0].arises_db > 25
    assert all(one.counterpart and one.dtype in ("int8", "uint8") for one in found.layers)


@pytest.mark.parametrize("format", FORMATS)
def test_the_layer_that_int8_ruins_is_named_and_what_ruins_it(inspect, format):
    found = inspect(format, 60)
    worst = found.worst[0]
    assert worst.layer == "relu" and worst.arises_db < 15 and worst.cause == "input"
    assert found.fault == "linear"
    assert "relu" in found.finding and "linear: its widest channel is" in found.finding
    assert found.cure == "keep what linear computes in float: edgecls tune"
    linear = by_layer(found)["linear"]
    assert linear.spread > 20 and linear.arises_db > 25  # by itself it looks fine: the wide channels drown its error


@pytest.mark.parametrize("format", FORMATS)
def test_what_arrives_at_the_end_is_what_verify_finds(inspect, verify, nets, format):
    source, target = nets[format, 60]
    found = inspect(format, 60)
    (whole,) = verify(target, against=source, pictures=nets["pictures"])
    assert by_layer(found)["logits"].arrives_db == pytest.approx(whole.agreement.sqnr_db, abs=0.3)


@pytest.mark.parametrize("format", FORMATS)
def test_errors_by_hand(inspect, nets, format):
    """Of the linear layer: its rounding, its range and its use; of the next: what that rounding makes of it."""
    source, target = nets[format, 60]
    graph, layers = read(source), by_layer(inspect(format, 60))
    kernels = [graph.values(graph.tensors[name]).reshape(hard.CHANNELS, -1).astype(np.float64) for name in ("first", "second")]
    biases = [graph.values(graph.tensors[f"{name}_bias"]).astype(np.float64) for name in ("first", "second")]
    linear = np.load(nets["pictures"]) @ kernels[0].T + biases[0]
    one = layers["linear"]
    assert (one.low, one.high) == pytest.approx((linear.min(), linear.max()), rel=0.1)
    steps = np.clip(np.rint(linear / one.scale), round(one.low / one.scale), round(one.high / one.scale))
    assert one.output_db == pytest.approx(verification.sqnr_db(linear, steps * one.scale), abs=0.1)
    assert one.used == pytest.approx((np.ptp(steps) + 1) / 256, abs=0.02)
    assert one.clipped == pytest.approx(float((np.abs(linear / one.scale - steps) > 0.501).mean()), abs=0.001)
    widths = np.abs(linear).max(axis=(0, 1, 2))
    assert one.spread == pytest.approx(widths.max() / np.median(widths), rel=1e-3)
    right, fed = (np.maximum(value @ kernels[1].T + biases[1], 0) for value in (linear, steps * one.scale))
    assert layers["relu"].input_db == pytest.approx(verification.sqnr_db(right, fed), abs=0.1)
    # Given exact inputs it has no other error than its own weights and rounding; in the graph it has more.
    assert layers["relu"].arises_db <= layers["relu"].input_db + 0.5
    assert layers["logits"].arises_db > 25 > layers["logits"].arrives_db


def test_layers_without_a_counterpart_are_listed(inspect, nets, tmp_path):
    source, _ = nets["onnx", 1]
    other = tmp_path / "other.onnx"
    other.write_bytes(source.read_bytes().replace(b"linear", b"lineal"))
    found = inspect("onnx", 1, against=other)
    linear = by_layer(found)["linear"]
    assert not linear.counterpart and linear.arises_db is linear.arrives_db is linear.spread is None and linear.used > 0.5
    assert found.notes == ("1 of 6 layers are not in other.onnx: linear",)
    # The next layer's own error is from the last tensor that the float model has.
    assert by_layer(found)["relu"].arises_db > 25


def test_integer_ends(inline, nets, tmp_path):
    source = hard.write(tmp_path / "net.tflite", 60)
    found = edgecls.inspect(hard.quantized(source, io="uint8"), against=source, pictures=nets["pictures"])
    assert found.layers[0].dtype == "uint8" and found.worst[0].layer == "relu"


def test_casts_are_no_layers(nets):
    source, target = nets["onnx", 60]
    matches = inspection.match(read(target), read(source), {})
    assert [one.tensor.name for one in matches] == [
        *("image", "linear", "relu", "pooled", "mean", "logits_QuantizeLinear_Input")
    ]
    assert [one.twin.name for one in matches] == ["image", "linear", "relu", "pooled", "mean", "logits"]


def test_the_same_shape_is_asked_for(tmp_path):
    ops, shapes = [("Relu", "x", "y")], {"x": (1, 4), "y": (1, 4)}
    wide = graph_files.write(tmp_path / "wide.onnx", ops, shapes | {"x": (1, 2), "y": (1, 2)})
    narrow = graph_files.write(tmp_path / "narrow.onnx", ops, shapes)
    assert [one.twin for one in inspection.match(read(narrow), read(wide), {})] == [None, None]


@pytest.mark.parametrize("name", ["int8.tflite", "int8.onnx", "fp16.onnx", "fp16.tflite"])
def test_an_export_has_all_that_is_needed_beside_it(inline, exported, name):
    found = edgecls.inspect(exported / "lenet5" / f"lenet5-{name}", samples=2)
    assert found.against == f"lenet5-fp32{found.file[-7:] if 'tflite' in name else '.onnx'}"
    assert found.samples == 2 and found.notes == ()
    logits = found.layers[-1]
    agreement = artifact.load(found.file).manifest.agreement
    assert logits.counterpart and logits.arrives_db == pytest.approx(agreement.sqnr_db, abs=6)


def test_what_cannot_be_inspected_is_said(inline, inspect, nets):
    source, target = nets["tflite", 1]
    with pytest.raises(UsageError, match="net1.tflite is not quantized; name an int8 file"):
        edgecls.inspect(source, against=source)
    with pytest.raises(UsageError, match="net1-int8.tflite has no manifest; name the float file that it was made of"):
        edgecls.inspect(target)
    with pytest.raises(UsageError, match="can be compared with a float .tflite file alone, not with net1.onnx"):
        inspect("tflite", 1, against=nets["onnx", 1][0])
    with pytest.raises(UsageError, match="net1-int8.tflite is int8; name the float file"):
        inspect("tflite", 1, against=target)
    with pytest.raises(UsageError, match="--samples must be at least 1, got 0"):
        inspect("tflite", 1, samples=0)


def test_the_command_prints_a_table_and_writes_a_page_that_needs_nothing_else(nets, tmp_path):
    source, target = nets["onnx", 60]
    page = tmp_path / "page.html"
    options = ["--against", source, "--pictures", nets["pictures"], "--html", page]
    done = command.edgecls("inspect", target, *options)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["layer", "op", "own", "dB"] and lines[1].startswith("relu ")
    assert lines[-1] == "keep what linear computes in float: edgecls tune"
    text = page.read_text()
    assert text.count('class="bar own" style') == text.count("</tr>") - 1 == 6
    fault = re.search(r'<tr id="(layer\d)" class=fault><td class="name" title="linear', text)
    assert fault and f'<a href="#{fault[1]}">linear</a>' in text and "keep what linear computes" in text
    assert not any(outside in text for outside in ("http", "src=", "@import", "<script", "url("))


def test_the_command_prints_json(nets):
    source, target = nets["tflite", 60]
    done = command.edgecls("inspect", target, "--against", source, "--pictures", nets["pictures"], "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["fault"] == "linear" and record["layers"][0]["op"] == "picture"


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_equalised_is_compared_with_an_equalised_float_file(inline, nets, tmp_path, format):
    """Linear's wide channels are narrow in such a file; values of the float file itself are beyond its range."""
    pictures = tmp_path / "pictures.npy"
    np.save(pictures, np.load(nets["pictures"]))
    options = {"precisions": "int8", "calibration": pictures, "preprocess": "tf", "out": tmp_path}
    made = edgecls.export(nets[format, 60][0], per_tensor=True, **options)
    target = next(one.path for one in made if one.manifest.precision == "int8")
    fp32 = next(one.path for one in made if one.manifest.precision == "fp32")
    for against in (None, fp32):
        found = edgecls.inspect(target, against=against)
        assert found.finding is None and found.worst[0].arises_db > 25, found
        assert all(one.counterpart for one in found.layers)
        assert found.notes == (f"layers are those of {found.against} after equalisation, as {target.name} has them",)
    np.save(pictures, np.load(pictures)[::-1])
    with pytest.raises(UsageError, match=r"was equalised with pictures of .*, which inspect needs: there are others now"):
        edgecls.inspect(target)
    pictures.unlink()
    with pytest.raises(UsageError, match=r"was equalised with pictures of .*, which inspect needs: no pictures"):
        edgecls.inspect(target)
