"""Bad input to `edgecls export`: exit 2, one line that says what to do, nothing written. And full disks."""

import re
import resource

import command
import numpy as np
import pytest
import tiny
import torch_files
from PIL import Image

import edgecls
from edgecls.errors import ChildFailed, UnknownName, UsageError, WorkFailed
from edgecls.exporters import adoption, tflite
from edgecls.verbs import pipeline

#: (arguments, what the line says). The folder has the files that `workplace` puts there.
BAD = [
    (["mobilnet_v2"], "unknown architecture 'mobilnet_v2'; did you mean mobilenet_v2 or mobilenet_v1"),
    (["mobilenet_v2.tensorflow"], "unknown source of mobilenet_v2 'tensorflow'; valid are keras, torchvision"),
    (["lenet5", "mobilnet_v2"], "unknown architecture 'mobilnet_v2'; did you mean mobilenet_v2 or"),
    (["lenet5", "--format", "coreml"], "unknown format 'coreml'; valid are onnx, tflite"),
    (["lenet5", "--format", "tflite,"], "expected names with commas between them, got 'tflite,'"),
    (["lenet5", "--format", ""], "expected names with commas between them, got ''"),
    (["lenet5", "--classes", "0"], "--classes must be at least 1, got 0"),
    (["lenet5", "--classes", "ten"], "Invalid value for '--classes': Input should be a valid integer"),
    (["mobilenet_v2", "--input-size", "7"], "--input-size of mobilenet_v2.keras must be at least 32, got 7"),
    (["lenet5", "--seed", "-1"], "--seed must be at least 0, got -1"),
    (["lenet5", "--samples", "0", "--int8"], "--samples must be at least 1, got 0"),
    (["lenet5", "--weights", "gone.h5"], "no weights file 'gone.h5'; give one of .safetensors"),
    (["lenet5", "--weights", "text.txt"], "cannot read weights from 'text.txt'; known are .safetensors, .keras, .h5"),
    (["lenet5", "--weights", "evil.pth"], "evil.pth holds more than tensors, edgecls refuses posix.system; where it is"),
    (["lenet5", "--weights", "seven.pth", "--classes", "5"], "--classes is 5, but the weights are of 7 classes; leave "),
    (["lenet5", "--labels", "seven.txt"], "--labels names 7 classes, the model has 10\n"),
    (["net.tflite", "--labels", "seven.txt"], "--labels names 7 classes, the model has 2\n"),
    (["lenet5", "--weights", "pictures"], "no weights file 'pictures'; give one of .safetensors"),
    (["lenet5", "--calibration", "gone", "--int8"], "no pictures 'gone'; give a folder of pictures, a list of"),
    (["lenet5", "--calibration", "empty", "--int8"], "no picture in 'empty'; it should hold files of .bmp, .gif, .jpeg"),
    (["lenet5", "--calibration", "text.txt", "--int8"], "no picture in 'text.txt', only line 1 of text.txt"),
    (["lenet5", "--calibration", "text.npy", "--int8"], "text.npy cannot be read as an array of pictures: "),
    (["lenet5", "--calibration", "flat.npy", "--int8"], "flat.npy holds float32 (10,), expected uint8 pixels or floats"),
    (["lenet5", "--calibration", "small.npy", "--int8"], "small.npy holds pictures of (8, 8, 1), the model takes (32, 32, 1)"),
    (["lenet5", "--io", "uint8"], "--io uint8 is for int8 files; add --int8"),
    (["lenet5", "--int8", "--io", "uint16"], "tflite-int8 cannot have uint16 input and output; it can have uint8, int8, fl"),
    (["lenet5", "--int8", "--io", "int8"], "onnx-int8 cannot have int8 input and output; it can have float32, uint8"),
    (["lenet5", "--preprocess", "tf"], "--preprocess is for model files; lenet5 is an architecture"),
    (["lenet5", "--custom", "mine:Layer"], "--custom is for model files; lenet5 is an architecture"),
    (["lenet5", "--unsafe"], "--unsafe is for model files; lenet5 is an architecture"),
    (["lenet5", "--out", "text.txt"], "cannot write to 'text.txt/lenet5': Not a directory; choose another with --out"),
    (["lenet5", "--out", "text.txt/deep"], "cannot write to 'text.txt/deep/lenet5': Not a directory; choose another with"),
    (["lenet5", "--out", "taken"], "cannot write to 'taken/lenet5': Not a directory; choose another with --out"),
    (["gone.keras"], "no file 'gone.keras'"),
    (["text.txt"], "cannot export 'text.txt'; known are .keras, .h5, .hdf5, .tflite, .onnx and SavedModel folders"),
    (["empty"], "'empty' is a folder without saved_model.pb; give a model file or a SavedModel"),
    (["text.keras"], "text.keras is not a Keras model: "),
    (["text.h5"], "text.h5 is not a Keras model: "),
    (["text.tflite"], "text.tflite is not a .tflite file"),
    (["text.onnx"], "text.onnx is not a valid .onnx file: "),
    (["int8.tflite"], "int8.tflite is quantized already; give the float32 model it was made from"),
    (["net.tflite", "--format", "onnx"], "net.tflite can become tflite, not onnx"),
    (["net.tflite", "--classes", "5"], "--classes is for architectures; net.tflite has its own"),
    (["net.tflite", "--weights", "text.h5"], "--weights is for architectures; net.tflite has its own"),
    (["net.tflite", "--input-size", "8"], "--input-size 8 is not to be had: net.tflite takes pictures of 1x1 alone"),
    (["net.tflite", "--input-size", "0"], "--input-size must be at least 1, got 0"),
    (["net.tflite", "--custom", "mine:Layer"], "--custom is for .keras and .h5 files; net.tflite is none"),
    (["net.tflite", "--unsafe"], "--unsafe is for .keras and .h5 files; net.tflite is none"),
    (["net.tflite", "--preprocess", "pytorch"], "unknown preprocessing 'pytorch'; did you mean torch?"),
    (["net.tflite", "--preprocess", "men=0"], "unknown key of --preprocess 'men'; did you mean mean?"),
    (["net.tflite", "--preprocess", "mean=a"], "--preprocess mean=a is not enough; give mean and std, or a name such as"),
    (["net.tflite", "--preprocess", "tf", "--preprocess", "std=0"], "--preprocess std=0: expected numbers of pixels 0..255"),
    (["net.tflite", "--preprocess", "like:mobilnet_v2"], "unknown architecture 'mobilnet_v2'; did you mean mobilenet_v2"),
    (["net.tflite", "--int8", "--calibration", "pictures"], "how do pictures become this model's input? say --preprocess tf,"),
    (["net.tflite", "--int8", "--calibration", "small.npy", "--preprocess", "tf"], "small.npy holds pictures of (8, 8, 1), the "),
    (["net.tflite", "other/net.tflite"], "other/net.tflite is not the only net; export one of them to another folder"),
    ([], "Missing argument 'NAME|FILE...'"),
    (["lenet5", "--int9"], "No such option: --int9"),
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with files that are not what their names say, and some that are."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("text.txt", "text.npy", "text.keras", "text.h5", "text.tflite", "text.onnx", "taken/lenet5"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("this is text and nothing else\n" * 10)
    for name in ("empty", "pictures", "other"):
        (folder / name).mkdir()
    np.save(folder / "flat.npy", np.zeros(10, np.float32))
    np.save(folder / "small.npy", np.zeros((40, 8, 8, 1), np.uint8))
    for k in range(3):
        Image.new("RGB", (40, 30), (80 * k, 0, 0)).save(folder / "pictures" / f"{k}.png")
    tiny.save_tflite(folder / "net.tflite", input_shape=(1, 1, 1, 3))
    tiny.save_tflite(folder / "other" / "net.tflite", input_shape=(1, 1, 1, 3), filters=3)
    save_int8(folder / "int8.tflite")
    system = torch_files.Name("posix", "system")
    attack = torch_files.Call(system, (f"touch {folder / 'witness'}",))
    torch_files.write_stream(folder / "evil.pth", torch_files.pickled({"state_dict": attack}))
    torch_files.save(folder / "seven.pth", {"classifier/kernel": np.zeros((84, 7), np.float32)})
    (folder / "seven.txt").write_text("".join(f"{day}day\n" for day in "SMTWTFS"))
    return folder


def save_int8(path):
    adopted, pictures = path.with_name("adopted.tflite"), path.with_suffix(".pictures.npy")
    adoption.adopt_tflite(str(tiny.save_tflite(path, input_shape=(1, 1, 1, 3))), str(adopted), None, emit=None)
    np.save(pictures, np.random.default_rng(0).uniform(-1, 1, (4, 1, 1, 1, 3)).astype(np.float32))
    tflite.quantize(str(adopted), str(path), "int8", str(pictures), None, "float32", emit=lambda event: None)
    adopted.unlink()
    pictures.unlink()


@pytest.mark.parametrize(("arguments", "reason"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_input_is_one_line_and_exit_2_and_nothing_is_written(workplace, arguments, reason):
    before = command.files(workplace)
    done = command.edgecls("export", *arguments, cwd=workplace)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"edgecls: {reason}")
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n")
    assert command.files(workplace) == before


@pytest.fixture(scope="module")
def weights(workplace):
    """Weights files of LeNet-5 that are not quite right."""
    from safetensors.numpy import save_file

    tensors = {
        "c1_conv/kernel": np.zeros((5, 5, 1, 6), np.float32),
        "c3_conv/kernel": np.zeros((3, 3, 6, 16), np.float32),
        "c7_conv/kernel": np.zeros((3, 3, 6, 16), np.float32),
    }
    save_file(tensors, workplace / "wrong.safetensors")
    whole = (workplace / "wrong.safetensors").read_bytes()
    (workplace / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    return workplace


@pytest.fixture(scope="module")
def hostile(workplace):
    """A Keras model that would write a file when it is loaded carelessly."""
    import keras

    image = keras.Input((16, 16, 3))
    attack = eval(f"lambda x: (open({str(workplace / 'witness')!r}, 'w').close(), x)[1]")
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Lambda(attack)(image)))
    keras.Model(image, outputs).save(workplace / "hostile.keras")
    (workplace / "witness").unlink()
    return workplace


@pytest.mark.parametrize(
    ("arguments", "reasons"),
    [
        (["lenet5", "--weights", "cut.safetensors"], ["cut.safetensors cannot be read as safetensors: "]),
        (
            ["lenet5", "--weights", "wrong.safetensors", "--format", "onnx"],
            ["weights do not fit lenet5.paper: ", "c1_conv/bias is missing", "c3_conv/kernel", "(3, 3, 6, 16)"],
        ),
        (["hostile.keras"], ["hostile.keras cannot be loaded as a Keras model: code in it would be run"]),
    ],
    ids=["truncated", "other shapes", "hostile"],
)
def test_bad_files_that_a_child_finds_are_one_line_too(weights, hostile, arguments, reasons):
    before = command.files(weights)
    done = command.edgecls("export", *arguments, cwd=weights)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"edgecls: {reasons[0]}") and done.stderr.count("\n") == 1
    for reason in reasons:
        assert reason in done.stderr
    assert command.files(weights) == before


def limited(size):
    """For a child process: no file may grow beyond `size` bytes, as on a disk that is full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("arguments", [["--force"], ["--seed", "1"], ["--int8", "--io", "float32", "--format", "tflite"]])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(exported, arguments):
    before = command.files(exported)
    done = command.edgecls("export", "lenet5", *arguments, "--out", exported, preexec_fn=limited(100_000))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r"edgecls: \w+\.\w+ cannot write: .*(File too large|written)\b.*; make room on the disk", line)
    assert command.files(exported) == before


def test_a_full_disk_leaves_no_new_folder(tmp_path):
    done = command.edgecls("export", "lenet5", "--out", tmp_path / "new" / "deep", preexec_fn=limited(100_000))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_work_that_fails_shows_the_end_of_its_log(tmp_path):
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison" / "tensorflow.py").write_text("print('chatter')\nraise ImportError('no TensorFlow')")
    environment = command.with_path(tmp_path / "poison")
    done = command.edgecls("export", "lenet5", "--out", tmp_path / "new", env=environment)
    assert done.returncode == 1
    first, *log = done.stderr.splitlines()
    assert first == "edgecls: making.make failed: ImportError: no TensorFlow"
    assert log[0] == "  chatter" and log[-1] == "  ImportError: no TensorFlow"
    assert 2 < len(log) <= 20 and all(line.startswith("  ") for line in log)
    assert not (tmp_path / "new").exists()


def test_of_several_the_others_are_made(tmp_path, workplace):
    environment = command.with_path(tmp_path)  # nothing here needs TensorFlow
    (tmp_path / "tensorflow.py").write_text("raise ImportError('no TensorFlow')")
    targets = "int8.tflite", "net.tflite", "text.tflite"
    done = command.edgecls("export", *targets, "--out", tmp_path / "out", cwd=workplace, env=environment)
    assert done.returncode == 1
    made = {"net", "net/net-fp32.tflite", "net/net-fp32.tflite.json", "net/net-reference.npz"}
    assert set(command.files(tmp_path / "out")) == made
    assert done.stdout.count("net-fp32.tflite") == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith("note: int8 failed: int8.tflite is quantized already")
    assert lines[1] == "note: text failed: text.tflite is not a .tflite file"
    assert lines[-1] == "edgecls: 2 of 3 exports failed"


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(UnknownName, match="unknown recipe 'int9'; did you mean int8?"):
        edgecls.export("lenet5", precisions=["int9"], out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_passes_the_memory_cap_ends_the_export(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "_CAP", 1e-5)
    with pytest.raises(ChildFailed, match=r"passed its memory cap of 0\.0 GB and was stopped"):
        edgecls.export(workplace / "net.tflite", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_whatever_fails_on_a_full_disk_fails_because_of_it(workplace, tmp_path, monkeypatch):
    usage = pipeline.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    monkeypatch.setattr(pipeline, "_CAP", 1e-5)
    with pytest.raises(WorkFailed, match=r"^no space left for '.*out/net'; make room on the disk$"):
        edgecls.export(workplace / "net.tflite", out=tmp_path / "out")


def test_a_custom_op_is_refused(tmp_path):
    tiny.save_tflite(tmp_path / "net.tflite", input_shape=(1, 1, 1, 3), then="FlexErf")
    done = command.edgecls("export", "net.tflite", "--int8", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "edgecls: net.tflite needs custom ops that phones have not: FlexErf\n"
    assert set(command.files(tmp_path)) == {"net.tflite"}


def test_a_name_of_several_sources_says_which_was_taken(tmp_path):
    told = []
    with pytest.raises(UsageError):  # the rest is not wanted here
        edgecls.export("resnet50", precisions=["int4"], out=tmp_path, on_note=told.append)
    assert told == ["resnet50 is resnet50.keras; there is resnet50.torchvision too"]
    with pytest.raises(UsageError):
        edgecls.export("resnet50.keras", precisions=["int4"], out=tmp_path, on_note=told.append)
    assert len(told) == 1
