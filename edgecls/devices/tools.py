"""Benchmark tools that run on phones: how they are called, and what they print.

Two are known. `benchmark_model` of TensorFlow Lite, a program; its words have changed little since 2019:

    count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450 [p5=.. median=.. p95=..]
    Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, Inference (avg): 33209.4

And LiteRT's, as a program that takes such flags too, and as the script `litert-benchmark` of its Python
package:

    Model initialization: 7.43 ms
    Inference (avg):      9.80 ms (10 runs)
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecls.errors import BadFile, UnknownName, UsageError
from edgecls.profiling import Settings, Statistics, Timing

#: What runs the graph, or its part: `--use_NAME`; "none" are the runtime's own kernels.
DELEGATES = ("xnnpack", "gpu", "nnapi", "none")
#: Those that the script has.
_OF_SCRIPTS = ("xnnpack", "gpu")

#: Android's names by (bits, machine) of an ELF header.
_ELF_ABIS = {
    (64, 183): "arm64-v8a",
    (32, 40): "armeabi-v7a",
    (64, 62): "x86_64",
    (32, 3): "x86",
    (64, 243): "riscv64",
}
#: A prefix that newer tools and Android's log put before each line.
_PREFIX = r"^(?:.*?\bI tflite *: )?(?:INFO: )?(?:\[[\w.]+:\d+\] )?"
_NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"
_COUNT = re.compile(_PREFIX + r"count=(\d+) (.+)$", re.MULTILINE)
_TIMINGS = re.compile(
    _PREFIX + rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
    rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}\s*$",
    re.MULTILINE,
)
#: The same of 2019.
_OLD_TIMINGS = re.compile(
    _PREFIX
    + rf"Average inference timings in us: Warmup: {_NUMBER}, Init: {_NUMBER}, no stats: {_NUMBER}\s*$",
    re.MULTILINE,
)
_MEMORY = re.compile(
    _PREFIX
    + r"(?:Peak memory footprint|Memory footprint delta from the start of the tool) \(MB\): "
    + rf"init={_NUMBER} overall={_NUMBER}",
    re.MULTILINE,
)
_LITERT = re.compile(
    _PREFIX
    + r"(Model initialization|Warmup \((?:first|avg)\)|Inference \((?:avg|min|max|median|std|p5|p95)\)): +"
    + _NUMBER
    + r"(?: ms)?(?: \((\d+) runs\))?\s*$",
    re.MULTILINE,
)
_FOOTPRINT = re.compile(_PREFIX + rf"Overall footprint: +{_NUMBER} MB", re.MULTILINE)
#: With a delegate named by the caller, and of XNNPACK, which applies itself.
_APPLIED = re.compile(
    r"(?:Explicitly applied \w+ delegate, and|Though \w+ delegate is explicitly applied,) "
    r"(the model graph will .+?)\.?\s*$",
    re.MULTILINE,
)
_TAKEN = re.compile(
    r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions"
)
_IGNORED = re.compile(r"Unconsumed cmdline flags: (.+)$", re.MULTILINE)
_REFUSED = re.compile(r"Failed to apply (\w+) delegate")
_LACKING = re.compile(r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'")


@dataclass(frozen=True)
class Tool:
    """A benchmark tool on this computer. abi: Android's name for what it runs on; None of a script."""

    path: Path
    abi: str | None

    def check_delegate(self, delegate: str) -> None:
        """Raise UnknownName or UsageError for one that the tool does not have."""
        if delegate not in DELEGATES:
            raise UnknownName("delegate", delegate, DELEGATES)
        if self.abi is None and delegate not in _OF_SCRIPTS:
            raise UsageError(
                f"{self.path.name} is a script, which runs {' or '.join(_OF_SCRIPTS)}, not {delegate}"
            )

    def arguments(self, model: str, settings: Settings, delegate: str) -> list[str]:
        """To measure the file `model` of the phone."""
        shared = [
            f"--num_threads={settings.threads}",
            f"--num_runs={settings.runs}",
            f"--warmup_runs={settings.warmup}",
        ]
        if self.abi is None:
            return [f"--model={model}", *shared, *["--use_gpu"] * (delegate == "gpu")]
        warmup_seconds = settings.warmup_seconds if settings.warmup else 0
        durations = [f"--min_secs={settings.min_seconds:g}", f"--warmup_min_secs={warmup_seconds:g}"]
        chosen = "--use_xnnpack=false" if delegate == "none" else f"--use_{delegate}=true"
        return [f"--graph={model}", *shared, *durations, chosen]


def recognise(path: Path) -> Tool:
    """What a file says of itself in its first bytes. Raises BadFile where it is no tool for a phone."""
    if path.is_dir() or not path.exists():
        raise BadFile(f"no file {str(path)!r}; --benchmark-bin takes your copy of benchmark_model, {WHERE}")
    with open(path, "rb") as file:
        head = file.read(20)
    if head[:2] == b"#!":
        return Tool(path, None)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise BadFile(
            f"{path.name} is no program of Android or Linux; --benchmark-bin takes benchmark_model, {WHERE}"
        )
    bits, order = {1: 32, 2: 64}.get(head[4]), {1: "<", 2: ">"}.get(head[5], "<")
    (machine,) = struct.unpack_from(order + "H", head, 18)
    abi = _ELF_ABIS.get((bits, machine))
    if abi is None:
        raise BadFile(
            f"{path.name} is a program for a machine that no phone is (ELF machine {machine}); "
            f"take another, {WHERE}"
        )
    return Tool(path, abi)


#: Where people get the tool.
WHERE = "which docs/phone.md says where to get"


def check_abi(tool: Tool, abis: tuple[str, ...], serial: str) -> None:
    """Raise UsageError where a phone does not run the tool."""
    if tool.abi is not None and tool.abi not in abis:
        raise UsageError(
            f"{tool.path.name} is for {tool.abi}, but {serial} runs {', '.join(abis)}; "
            f"take the one for {abis[0]}, {WHERE}"
        )


def parse(text: str, options: Mapping[str, Any]) -> Timing:
    """What a tool printed, as a record. Raises ValueError that says what is not there."""
    timings = [(init, first, mean) for init, first, _, mean in _TIMINGS.findall(text)]
    timings += [(init, None, mean) for _, init, mean in _OLD_TIMINGS.findall(text)]
    if len(timings) > 1:
        raise ValueError(f"{len(timings)} lines of timings, not one")
    if timings:
        return _classic(text, options, *timings[0])
    if found := _LITERT.findall(text):
        return _litert(text, options, found)
    raise ValueError("no line of timings")


def _classic(text, options, init, first, mean) -> Timing:
    counted = [_statistics(int(runs), fields) for runs, fields in _COUNT.findall(text)]
    if len(counted) not in (1, 2):
        raise ValueError(f"{len(counted)} lines of counts, not one for the warm-up and one for the runs")
    warmup, statistics = counted if len(counted) == 2 else (None, *counted)
    if abs(statistics.mean_ms - float(mean) / 1000) > 1e-3 * statistics.mean_ms:
        raise ValueError(
            f"the runs' mean is {statistics.mean_ms} ms in one line and {float(mean) / 1000} in another"
        )
    memory = _MEMORY.findall(text)
    return Timing(
        options=options,
        delegation=None,
        load_ms=float(init) / 1000,
        first_ms=first and float(first) / 1000,
        warmup=warmup,
        statistics=statistics,
        added_memory=round(float(memory[-1][1]) * 2**20) if memory else None,
        delegate=_delegate(text),
    )


def _statistics(runs: int, fields: str) -> Statistics:
    """Of one line of counts; of a single run there is but "curr"."""
    told = dict(re.findall(rf"(\w+)={_NUMBER}", fields))
    ms = {name: float(value) / 1000 for name, value in told.items()}
    mean = ms.get("avg", ms.get("curr") if runs == 1 else None)
    if mean is None:
        raise ValueError(f"a line of counts without an average: {fields.strip()!r}")
    known = {f"{name}_ms": ms.get(name) for name in ("min", "max", "std", "median", "p5", "p95")}
    return Statistics(runs=runs, mean_ms=mean, **known)


def _litert(text, options, found) -> Timing:
    told, runs = {}, {}
    for name, value, count in found:
        if name in told:
            raise ValueError(f"{name} stands there twice")
        told[name], runs[name] = float(value), int(count or 0)
    for name in ("Model initialization", "Inference (avg)"):
        if name not in told:
            raise ValueError(f"no {name!r}")
    known = {
        f"{name}_ms": told.get(f"Inference ({name})") for name in ("min", "max", "std", "median", "p5", "p95")
    }
    footprint = _FOOTPRINT.findall(text)
    warmed = runs.get("Warmup (avg)")
    return Timing(
        options=options,
        delegation=None,
        load_ms=told["Model initialization"],
        first_ms=told.get("Warmup (first)") if warmed else None,
        warmup=Statistics(runs=warmed, mean_ms=told["Warmup (avg)"]) if warmed else None,
        statistics=Statistics(runs=runs["Inference (avg)"], mean_ms=told["Inference (avg)"], **known),
        added_memory=round(float(footprint[-1]) * 2**20) if footprint else None,
        delegate=_delegate(text),
    )


def _delegate(text: str) -> str | None:
    """What a delegate took, in the tool's words."""
    if taken := _TAKEN.findall(text):
        delegated, nodes, delegate, pieces = taken[-1]
        return f"{delegate}: {delegated} of {nodes} nodes, {pieces} partitions"
    applied = _APPLIED.findall(text)
    if applied:
        return applied[-1]
    return "XNNPACK" if "Created TensorFlow Lite XNNPACK delegate" in text else None


def ignored(text: str) -> list[str]:
    """Flags that a tool does not know and went on without."""
    return [flag for flags in _IGNORED.findall(text) for flag in flags.split()]


def failure(text: str, precision: str) -> str | None:
    """Why a tool gave up, where that is known, with the way out."""
    if lacking := _LACKING.search(text):
        op, version = lacking.groups()
        return (
            f"the runtime in this benchmark tool is too old for the file: it has no {op} version {version}; "
            f"take a newer tool, {WHERE}{_older(precision)}"
        )
    if refused := _REFUSED.search(text):
        return f"the phone does not run the file by its {refused[1]} delegate; take another --delegate"
    if "not executable" in text or "Permission denied" in text:
        return "the phone does not let the tool run; see that it is a program for Android or Linux"
    return None


def _older(precision: str) -> str:
    """A recipe whose ops runtimes have had for longer, in words.

    Of what edgecls exports float32 has version 1 of every op of a plain network, int8 QUANTIZE 2, int16x8 3;
    what TensorFlow's own converter makes with float ends around int8 weights has CONV_2D 5.
    """
    older = {"int16x8": "int8", "fp32": None}.get(precision, "fp32")
    return f", or export with --recipe {older}, whose ops older runtimes have" if older else ""
