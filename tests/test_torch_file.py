"""Files of torch.save without torch: those that torch wrote, those that nobody should have written."""

import io
import pickle
import random
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch_files
from torch_files import Call, Name, Persistent, opcodes, pickled, storage, view

from edgecls import plain_pickle, torch_file, weights
from edgecls.errors import BadFile

#: What PyTorch wrote; see `write.py` there.
WRITTEN = Path(__file__).parent / "data" / "torch"

NORMAL = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


def refusal(path) -> str:
    with pytest.raises(BadFile) as caught:
        torch_file.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("format", ["zip", "stream"])
def test_every_type_and_view_that_torch_wrote_is_read(format):
    found, place = torch_file.read(WRITTEN / f"values-{format}.pth")
    with np.load(WRITTEN / "values.npz") as expected:
        assert list(found) == list(expected)
        for name, array in found.items():
            assert array.dtype == expected[name].dtype
            np.testing.assert_array_equal(array, expected[name])
            assert not array.flags.writeable
    assert place == ""


@pytest.mark.parametrize("format", ["zip", "stream"])
def test_of_a_checkpoint_the_moving_average_is_read_and_said(format):
    found, place = weights.open_file(WRITTEN / f"checkpoint-{format}.pth.tar")
    with np.load(WRITTEN / "checkpoint.npz") as expected:
        assert set(found) == {*expected, "n_averaged"}
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
    assert place == "model_ema"


ADVICE = "; where it is trusted, save its weights alone: torch.save(model.state_dict(), 'weights.pth')"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("module-zip.pt", "holds more than tensors, edgecls refuses torch.nn.modules.container.Sequential"),
        ("namespace-stream.pth", "holds more than tensors, edgecls refuses argparse.Namespace"),
        ("script.pt", "cannot be read as a file of torch.save: it is a TorchScript program"),
    ],
)
def test_what_torch_wrote_besides_tensors_is_refused_by_name(name, reason):
    assert refusal(WRITTEN / name) == f"{name} {reason}{ADVICE}"


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_tests_write_is_what_torch_writes(tmp_path, stream):
    arrays = {
        "a": NORMAL,
        "b": NORMAL.astype(np.float64),
        "c": np.array(3),
        "d": np.zeros((0, 2), np.float16),
    }
    found, _ = torch_file.read(torch_files.save(tmp_path / "net.pth", arrays, stream=stream))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        (["state_dict"], "state_dict"),
        (["model"], "model"),
        (["module"], "module"),
        (["model", "ema"], "ema"),
        (["model_ema", "state_dict_ema", "state_dict"], "state_dict_ema"),
        (["model", "state_dict"], "state_dict"),
    ],
)
def test_of_several_dictionaries_one_is_taken_by_rule(tmp_path, keys, place):
    parts = {key: {key: torch_files.tensor(key, NORMAL)} for key in keys}
    content = pickled(parts | {"epoch": 3, "best": torch_files.tensor("best", NORMAL), "ema_decay": None})
    torch_files.write_zip(tmp_path / "net.pth", content, dict.fromkeys([*keys, "best"], NORMAL.tobytes()))
    found, where = torch_file.read(tmp_path / "net.pth")
    assert (list(found), where) == ([place], place)


def test_a_dictionary_in_a_dictionary_is_found(tmp_path):
    content = pickled(
        {"ema": {"module": {"a": torch_files.tensor("0", NORMAL)}, "updates": 7}, "model": None}
    )
    torch_files.write_zip(tmp_path / "net.pth", content, {"0": NORMAL.tobytes()})
    assert torch_file.read(tmp_path / "net.pth")[1] == "ema.module"


def test_a_dictionary_in_itself_ends(tmp_path):
    content = b"\x80\x02}q\0" + opcodes("model") + b"h\0s."
    torch_files.write_zip(tmp_path / "net.pth", content)
    assert "it has no tensors" in refusal(tmp_path / "net.pth")


def test_names_lose_what_wrappers_put_before_them(tmp_path):
    arrays = {"module.conv.weight": NORMAL, "_orig_mod.module.fc.bias": NORMAL, "model.module.a": NORMAL}
    path = torch_files.save(tmp_path / "net.pth", arrays)
    assert list(weights.read(path)) == ["conv.weight", "fc.bias", "model.module.a"]
    torch_files.save(path, {"module.a": NORMAL, "a": NORMAL})
    with pytest.raises(BadFile, match=r"^net.pth has a twice, with and without module. or _orig_mod.$"):
        weights.read(path)


def test_bytes_of_the_other_order_are_turned(tmp_path):
    content = pickled({"a": torch_files.tensor("0", NORMAL)})
    torch_files.write_zip(tmp_path / "net.pth", content, {"0": NORMAL.astype(">f4").tobytes()}, order=b"big")
    np.testing.assert_array_equal(torch_file.read(tmp_path / "net.pth")[0]["a"], NORMAL)
    torch_files.write_zip(tmp_path / "net.pth", content, {"0": NORMAL.tobytes()}, order=b"middle")
    assert refusal(tmp_path / "net.pth").endswith("its byte order is b'middle'")


def test_a_tensor_that_says_its_type_itself(tmp_path):
    stored = Persistent(("storage", Name("torch.storage", "UntypedStorage"), "0", "cpu", 8))
    arguments = (stored, 1, (3,), (1,), False, None, Name("torch", "uint16"))
    content = pickled({"a": Call(Name("torch._utils", "_rebuild_tensor_v3"), arguments)})
    torch_files.write_zip(tmp_path / "net.pth", content, {"0": np.arange(4, dtype=np.uint16).tobytes()})
    np.testing.assert_array_equal(torch_file.read(tmp_path / "net.pth")[0]["a"], [1, 2, 3])


def test_a_zip_of_a_file_is_read(tmp_path):
    torch_files.save(tmp_path / "net.pth", {"a": NORMAL}, stream=True)
    with zipfile.ZipFile(tmp_path / "net.pth.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "net.pth", "net.pth")
    np.testing.assert_array_equal(weights.read(tmp_path / "net.pth.zip")["a"], NORMAL)
    with zipfile.ZipFile(tmp_path / "bomb.pth.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net.pth", bytes(10_000_000))
    assert refusal(tmp_path / "bomb.pth.zip").endswith("what is in it is more than 100 times larger than it")


def attack(witness):
    return f"open({str(witness)!r}, 'w').close()"


def evil(witness) -> dict[str, tuple[bytes, str]]:
    """name -> (pickle, what is refused)."""
    command = f"touch {witness}"
    deep = Call(Call(Name("builtins", "getattr"), (Name("os", "system"), "__call__")), (command,))
    dotted = "OrderedDict.__init__.__globals__"
    stacked = b"\x80\x04\x8c\x0bcollections\x8c" + bytes([len(dotted)]) + dotted.encode() + b"\x93."
    return {
        "os.system": (pickled(Call(Name("os", "system"), (command,))), "refuses os.system;"),
        "posix.system": (pickled({"a": Call(Name("posix", "system"), (command,))}), "refuses posix.system;"),
        "eval": (pickled([Call(Name("builtins", "eval"), (attack(witness),))]), "refuses builtins.eval;"),
        "Python 2": (
            pickled(Call(Name("__builtin__", "eval"), (attack(witness),))),
            "refuses builtins.eval;",
        ),
        "getattr": (pickled(deep), "refuses builtins.getattr;"),
        "dotted": (stacked, f"refuses collections.{dotted};"),
        "torch.load": (pickled(Call(Name("torch", "load"), ("evil.pth",))), "refuses torch.load;"),
        "INST": (b"(" + opcodes(command) + b"ios\nsystem\n.", "refuses the opcode INST;"),
        "OBJ": (b"(" + opcodes(Name("torch", "Size")) + b"o.", "refuses the opcode OBJ;"),
        "EXT": (b"\x82\x01.", "refuses the opcode EXT1;"),
        "a name is no function": (
            pickled(Call(Name("builtins", "dict"), ())),
            "refuses a call of builtins.dict;",
        ),
        "a text is no function": (pickled(Call("os.system", (command,))), "refuses a call of a str;"),
        "state": (
            opcodes(Name("torch", "Size")) + opcodes({"__call__": 1}) + b"b" + b"(tR.",
            "missing 1 required",
        ),
        "memo": (
            opcodes(Name("torch", "Size")) + b"q\0" + opcodes((command,)) + b"Rh\0" + opcodes(()) + b"R.",
            "missing 1 required",
        ),
        "module": (
            pickled({"a": Persistent(("module", Name("os", "system"), "file", "code"))}),
            "refuses os.system;",
        ),
        "key": (b"}" + opcodes(((), ())) + b"Ns.", "refuses a tuple as key;"),
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", evil("witness"))
def test_nothing_in_a_pickle_is_run(tmp_path, name, stream):
    witness = tmp_path / "witness"
    content, reason = evil(witness)[name]
    (torch_files.write_stream if stream else torch_files.write_zip)(tmp_path / "evil.pth", content)
    assert reason in refusal(tmp_path / "evil.pth")
    assert not witness.exists()


def test_the_attacks_work_on_a_reader_that_is_careless(tmp_path):
    witness = tmp_path / "witness"
    for name in ("os.system", "eval", "getattr"):
        pickle.loads(evil(witness)[name][0])
        witness.unlink()


def test_a_refusal_in_a_message_is_no_code_for_a_terminal(tmp_path):
    torch_files.write_zip(tmp_path / "evil.pth", b"\x80\x04\x8c\x05os\x1b[2\x8c\x04x\t\ry\x93.")
    assert "refuses os?[2.x??y;" in refusal(tmp_path / "evil.pth")


def doubled(levels) -> bytes:
    """A tuple of two that are each a tuple of two that are each ..., without end."""
    return b")q\0" + b"".join(b"h%c\x86q%c" % (n, n + 1) for n in range(levels))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80\x02]" * 200_000 + b".", "damaged: it ends with 200000 values"),
        (b"]" * 100_000 + b"a" * 99_999 + b".", "expected a state dict in it, got a list"),
        (b"}" + doubled(60) + b"Ns.", "refuses a tuple as key;"),
        (doubled(60) + b"\x93.", "damaged: it takes more than it has"),
        (doubled(60) + opcodes("name") + b"\x93.", "damaged: expected a str, got a tuple"),
        (b"h\x05.", "damaged: 5"),
        (b"R.", "damaged"),
        (b"NN.", "damaged: it ends with 2 values"),
        (b".", "damaged: it ends with 0 values"),
        (b"t.", "damaged"),
        (b"\x8d" + struct.pack("<Q", 1 << 40) + b"x.", "expected 1099511627776 bytes"),
        (b"\x8b" + struct.pack("<I", 0x7FFFFFFF) + b"x.", "not enough data in stream to read long4"),
        (b"Nr\xff\xff\xff\x7f.", "got a NoneType"),
        (b"L" + b"9" * 100_000 + b"L\n.", "Exceeds the limit"),
        (b"", "exhausted"),
        (pickled([1, 2]), "expected a state dict in it, got a list"),
        (
            pickled({"state": {"a": 1}, "epoch": 3}),
            "it has no tensors, nor a dictionary state_dict_ema, model_ema, ema, ",
        ),
    ],
)
def test_a_pickle_that_is_damaged_or_made_to_hurt_is_refused_soon(tmp_path, content, reason):
    torch_files.write_zip(tmp_path / "evil.pth", content)
    start = time.monotonic()
    assert reason in refusal(tmp_path / "evil.pth")
    assert time.monotonic() - start < 5


def test_steps_have_a_limit(monkeypatch):
    monkeypatch.setattr(plain_pickle, "_MOST_STEPS", 1000)
    with pytest.raises(plain_pickle.Refused, match="a pickle of more than 1,000 steps"):
        plain_pickle.load(io.BytesIO(b"]" * 1001), {}, None)


TERA = 1 << 40


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (
            view(storage("0", "FloatStorage", TERA), (TERA,), (1,)),
            "claims 4,398,046,511,104 bytes and has 48",
        ),
        (view(storage("0", "FloatStorage", 12), (TERA,), (0,)), "is larger than what is stored of it"),
        (
            view(storage("0", "FloatStorage", 12), (3, 4), (4, 1), offset=1),
            "is larger than what is stored of it",
        ),
        (view(storage("0", "FloatStorage", 12), (2,), (TERA * TERA,)), "is larger than what is stored of it"),
        (view(storage("0", "FloatStorage", 12), (0,), (TERA * TERA,)), "too large"),
        (view(storage("0", "FloatStorage", 12), (3, -4), (4, 1)), "it has a tensor of wrong sizes"),
        (view(storage("0", "FloatStorage", 12), (12,), (-1,), offset=11), "it has a tensor of wrong sizes"),
        (view(storage("0", "FloatStorage", 12), (3, 4), (1,)), "it has a tensor of wrong sizes"),
        (view(storage("0", "FloatStorage", 12), ("a",), (1,)), "it has a tensor of wrong sizes"),
        (view(storage("0", "FloatStorage", 12), (1,) * 70, (1,) * 70), "dimension"),
        (view(storage("1", "FloatStorage", 12), (12,), (1,)), "1 is missing"),
        (view(storage("0", "QInt8Storage", 12), (12,), (1,)), "refuses torch.QInt8Storage"),
        (view(storage("0", "FloatStorage", -12), (0,), (1,)), "it has an unknown kind of storage"),
        (view(("storage", "0"), (12,), (1,)), "damaged"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_tensor_that_claims_more_than_is_there_is_refused(tmp_path, value, reason, stream):
    stored = NORMAL.tobytes()
    if stream:
        torch_files.write_stream(tmp_path / "net.pth", pickled({"a": value}), {"0": (12, stored)})
        reason = reason.replace("4,398,046,511,104 bytes and has 48", "1,099,511,627,776 elements and has 12")
        reason = reason.replace("1 is missing", "it has storages that nothing uses")
    else:
        torch_files.write_zip(tmp_path / "net.pth", pickled({"a": value}), {"0": stored})
    assert reason in refusal(tmp_path / "net.pth")


def test_a_stream_that_claims_more_than_the_file_has_is_refused(tmp_path):
    content = pickled({"a": view(storage("0", "FloatStorage", TERA), (TERA,), (1,))})
    torch_files.write_stream(tmp_path / "net.pth", content, {"0": (TERA, bytes(48))})
    assert "claims 4,398,046,511,104 bytes from byte" in refusal(tmp_path / "net.pth")


def test_an_archive_that_torch_would_not_write_is_refused(tmp_path):
    path, content = tmp_path / "net.pth", pickled({"a": torch_files.tensor("0", NORMAL)})
    torch_files.write_zip(path, content, {"0": NORMAL.tobytes()}, compression=zipfile.ZIP_DEFLATED)
    assert refusal(path).endswith("archive/data.pkl is compressed; unpack it and zip it with -0")
    torch_files.write_zip(path, content)
    assert refusal(path).endswith("data/0 is missing")
    torch_files.write_zip(path, content, more=["other/data.pkl"])
    assert refusal(path).endswith("no data.pkl is in it")
    torch_files.write_zip(path, content, {"0": NORMAL.tobytes()}, more=["archive/constants.pkl"])
    assert "it is a TorchScript program" in refusal(path)
    torch_files.write_zip(path, content, {"0": NORMAL.tobytes()})
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(NORMAL.tobytes()) + 5] ^= 1
    path.write_bytes(damaged)
    assert refusal(path).endswith("archive/data/0 is damaged: its checksum is another")


@pytest.mark.parametrize("name", ["values-zip.pth", "values-stream.pth"])
def test_a_file_cut_short_is_refused_wherever(tmp_path, name):
    whole = (WRITTEN / name).read_bytes()
    for length in [0, 1, 4, 15, *range(20, len(whole), 61), len(whole) - 1]:
        (tmp_path / name).write_bytes(whole[:length])
        assert refusal(tmp_path / name).startswith(f"{name} cannot be read as a file of torch.save: ")


@pytest.mark.parametrize("name", ["checkpoint-zip.pth.tar", "checkpoint-stream.pth.tar", "namespace-stream.pth"])
def test_a_file_with_bytes_changed_anywhere_is_read_or_refused(tmp_path, name):
    whole = (WRITTEN / name).read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            place = rng.randrange(len(changed))
            changed[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(1, 5))
        (tmp_path / name).write_bytes(changed)
        try:
            torch_file.read(tmp_path / name)
        except BadFile as error:
            assert "\n" not in str(error) and len(str(error)) < 700
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html>", "it begins with b'<!DOCTYPE html>'"),
        (b"version https://git-lfs.github.com", "it begins with b'version https://git-"),
        (pickle.dumps({"a": 1}), "it begins with b'\\x80"),
        (pickle.dumps({"a": NORMAL}), "refuses numpy._core.multiarray._reconstruct;"),
        (b"\x80", "not enough data"),
    ],
)
def test_what_torch_did_not_write_is_told_by_its_beginning(tmp_path, content, reason):
    (tmp_path / "net.bin").write_bytes(content)
    assert reason in refusal(tmp_path / "net.bin")
