"""One session for both runtimes: what it computes, what it refuses, what the delegate took."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tiny

from edgecls import runtimes
from edgecls.artifact import TensorInfo
from edgecls.errors import BadFile, UnknownName, UsageError, WorkFailed
from edgecls.runtimes import Delegation, ort


def test_litert_computes_what_the_file_says(tmp_path):
    session = runtimes.open(tiny.save_tflite(tmp_path / "a.tflite"))
    assert session.inputs == (TensorInfo(name="image", shape=(1, 4, 4, 3), dtype="float32"),)
    assert session.outputs == (TensorInfo(name="logits", shape=(1, 4, 4, 2), dtype="float32"),)
    (image,) = runtimes.random_inputs(session.inputs)
    (logits,) = runtimes.run(session, [image])
    weights = np.linspace(-1, 1, 6).reshape(2, 3)
    np.testing.assert_allclose(logits, image @ weights.T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("told", "does"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 avx2 fma\n", True),
        ("processor\t: 0\nflags\t\t: fpu sse2 avx2 avx_vnni\n", False),
        ("flags\t\t: fpu sse2 avx512f avx512_vnni\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", False),
        (None, False),
    ],
)
def test_onnx_runtime_is_told_to_be_right_where_int8_overflows(told, does, tmp_path, monkeypatch):
    if told:
        (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(ort, "_CPU", tmp_path / "cpuinfo")
    session = runtimes.open(tiny.save_onnx(tmp_path / "a.onnx"))
    assert session.options.get("session.x64quantprecision") == ("1" if does else None)
    entry = ort.settings(onnxruntime, threads=1).get_session_config_entry
    if does:
        assert entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            entry("session.x64quantprecision")
    (image,) = runtimes.random_inputs(session.inputs)
    runtimes.run(session, [image])


def test_onnx_runtime_computes_what_the_file_says(tmp_path):
    session = runtimes.open(tiny.save_onnx(tmp_path / "a.onnx"), threads=2)
    assert session.inputs == (TensorInfo(name="image", shape=(1, 3, 4, 4), dtype="float32"),)
    assert session.outputs == (TensorInfo(name="logits", shape=(1, 2, 4, 4), dtype="float32"),)
    assert session.options["intra_op_num_threads"] == 2
    assert session.delegation is None
    (image,) = runtimes.random_inputs(session.inputs)
    (logits,) = runtimes.run(session, [image])
    weights = np.linspace(-1, 1, 6).reshape(2, 3)
    np.testing.assert_allclose(logits, np.einsum("oc,nchw->nohw", weights, image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_invoke_reads_the_inputs_set_last(tmp_path, suffix):
    session = runtimes.open(getattr(tiny, f"save_{suffix}")(tmp_path / f"a.{suffix}"))
    (image,) = runtimes.random_inputs(session.inputs)
    (first,) = runtimes.run(session, [image])
    (second,) = runtimes.run(session, [image * 2])
    np.testing.assert_allclose(second, first * 2, rtol=1e-5)
    with pytest.raises(ValueError):
        session.set_inputs([image, image])


def test_the_delegate_takes_what_it_can(tmp_path):
    all_of_it = runtimes.open(tiny.save_tflite(tmp_path / "conv.tflite"))
    assert all_of_it.delegation == Delegation(
        delegate="xnnpack", nodes=1, delegated=1, partitions=1, outside={}
    )
    # XNNPACK has no LogSoftmax.
    a_part = runtimes.open(tiny.save_tflite(tmp_path / "softmax.tflite", then="LOG_SOFTMAX"))
    assert a_part.delegation == Delegation(
        delegate="xnnpack", nodes=2, delegated=1, partitions=1, outside={"LOG_SOFTMAX": 1}
    )


def test_an_open_batch_becomes_one(tmp_path):
    onnx = runtimes.open(tiny.save_onnx(tmp_path / "a.onnx", input_shape=("batch", 3, 4, 4)))
    tflite = runtimes.open(tiny.save_tflite(tmp_path / "a.tflite", open_axes=(0,)))
    assert onnx.inputs[0].shape == (1, 3, 4, 4)
    assert onnx.outputs[0].shape == (1, 2, 4, 4)
    assert tflite.inputs[0].shape == (1, 4, 4, 3)
    for session in (onnx, tflite):
        (logits,) = runtimes.run(session, runtimes.random_inputs(session.inputs))
        assert logits.shape == session.outputs[0].shape


def test_an_open_size_is_refused_with_the_input_named(tmp_path):
    onnx = tiny.save_onnx(tmp_path / "a.onnx", input_shape=(1, 3, "height", "width"))
    tflite = tiny.save_tflite(tmp_path / "a.tflite", open_axes=(1, 2))
    with pytest.raises(WorkFailed, match=r"a.onnx: input 'image' has no fixed size \(1, 3, \?, \?\)"):
        runtimes.open(onnx)
    with pytest.raises(WorkFailed, match=r"a.tflite: input 'image' has no fixed size \(1, \?, \?, 3\)"):
        runtimes.open(tflite)


def test_an_op_the_runtime_lacks_is_named_in_one_line(tmp_path):
    from onnx import helper

    node = helper.make_node("Mystery", ["image"], ["logits"], domain="elsewhere")
    onnx = tiny.save_onnx(tmp_path / "a.onnx", node=node, domain="elsewhere")
    tflite = tiny.save_tflite(tmp_path / "a.tflite", then="Mystery")
    flex = tiny.save_tflite(tmp_path / "flex.tflite", then="FlexErf")
    for path, op in [(onnx, "Mystery"), (tflite, "Mystery"), (flex, "FlexErf")]:
        with pytest.raises(WorkFailed, match=rf"refuses {path.name}: .*{op}") as failure:
            runtimes.open(path)
        assert "\n" not in str(failure.value)


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 20])
def test_what_is_not_a_model_is_a_bad_file(tmp_path, suffix, content):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=rf"a.{suffix}' is not an? (TFLite|ONNX) model: "):
        runtimes.open(path)


def test_a_truncated_tflite_is_a_bad_file(tmp_path):
    path = tiny.save_tflite(tmp_path / "a.tflite", filters=256)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadFile):
        runtimes.open(path)


def test_a_missing_file_and_a_foreign_suffix():
    with pytest.raises(BadFile, match="no file 'nowhere.onnx'"):
        runtimes.open("nowhere.onnx")
    with pytest.raises(UsageError, match="no runtime for 'model.pt'; expected a .tflite or .onnx file"):
        runtimes.open("model.pt")


def test_names_of_runtimes():
    assert runtimes.get("ort").format == "onnx"
    assert runtimes.for_file(Path("a/B.TFLITE")).name == "litert"
    assert all(runtime.version[0].isdigit() for runtime in runtimes.RUNTIMES.values())
    with pytest.raises(UnknownName, match="unknown runtime 'lite-rt'; did you mean litert?"):
        runtimes.get("lite-rt")


def test_random_inputs_fit_their_tensors():
    infos = [
        TensorInfo(name="a", shape=(1, 50, 50, 3), dtype="float32"),
        TensorInfo(name="b", shape=(1, 50, 50, 3), dtype="uint8", scale=0.1, zero_point=0),
        TensorInfo(name="c", shape=(1, 50, 50, 3), dtype="int8", scale=0.1, zero_point=0),
        TensorInfo(name="d", shape=(1, 500, 500, 3), dtype="int16", scale=0.1, zero_point=0),
        TensorInfo(name="e", shape=(4,), dtype="int64"),
    ]
    normal, uint8, int8, int16, indices = runtimes.random_inputs(infos, seed=3)
    assert [x.dtype.name for x in (normal, uint8, int8, int16, indices)] == [info.dtype for info in infos]
    assert abs(normal.mean()) < 0.05 and abs(normal.std() - 1) < 0.05
    assert (uint8.min(), uint8.max(), int8.min(), int8.max()) == (0, 255, -128, 127)
    assert int16.min() < -30000 and int16.max() > 30000
    assert not indices.any()
    np.testing.assert_array_equal(runtimes.random_inputs(infos, seed=3)[0], normal)
    assert (runtimes.random_inputs(infos, seed=4)[0] != normal).any()
