"""The child process of a measurement: one runtime, one file, one loop."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable
from typing import Any

from edgecls import process, runtimes


def measure(
    *, path: str, threads: int, runs: int, min_seconds: float, warmup: int, warmup_seconds: float, emit
) -> dict[str, Any]:
    """The fields of a `Timing` but the peak memory, which the process that waits for this one adds."""
    runtimes.for_file(path).load()
    base_memory = process.peak_memory()
    gc.collect()
    gc.disable()
    start = time.perf_counter_ns()
    session = runtimes.open(path, threads=threads)
    load_ms = (time.perf_counter_ns() - start) / 1e6
    session.set_inputs(runtimes.random_inputs(session.inputs))
    (first_ms,) = _time(session.invoke, runs=1, seconds=0)
    return {
        "options": dict(session.options),
        "delegation": session.delegation and dataclasses.asdict(session.delegation),
        "load_ms": load_ms,
        "first_ms": first_ms,
        "warmup_ms": _time(session.invoke, runs=warmup, seconds=warmup_seconds if warmup else 0),
        "samples_ms": _time(session.invoke, runs=runs, seconds=min_seconds),
        "base_memory": base_memory,
        **dict.fromkeys(
            ("warmup", "statistics", "added_memory", "delegate")
        ),  # what phones' tools tell instead
    }


def _time(call: Callable[[], None], *, runs: int, seconds: float) -> list[float]:
    """ms of each call, at least `runs` of them and for at least `seconds`."""
    clock = time.perf_counter_ns
    samples: list[int] = []
    end = clock() + seconds * 1e9
    while len(samples) < runs or clock() < end:
        start = clock()
        call()
        samples.append(clock() - start)
    return [nanoseconds / 1e6 for nanoseconds in samples]
