"""Profiles and manifests written by hand, for what reads them."""

import tiny

from edgecls import artifact
from edgecls.artifact import Agreement, Manifest, ModelInfo, Tolerance, WeightsInfo
from edgecls.graph.cost import Cost
from edgecls.profiling import Profile, Settings, Subject, Timing
from edgecls.profiling.machine import Machine

MACHINE = Machine(
    cpu="Imaginary 9000",
    features=("avx2",),
    physical_cores=2,
    logical_cores=4,
    governor=None,
    memory=8_000_000_000,
    system="Linux 6 x86_64",
    python="3.11.0",
)


def timing(samples_ms=(2.0,), **changed) -> Timing:
    fields = {
        "options": {"num_threads": 1},
        "delegation": None,
        "load_ms": 12.5,
        "first_ms": 3.0,
        "warmup_ms": (2.5,),
        "samples_ms": tuple(samples_ms),
        "base_memory": 40_000_000,
        "peak_memory": 60_400_000,
    }
    return Timing(**fields | changed)


def _cost(params, macs) -> Cost:
    return Cost(params=params, macs=macs, activation_bytes=1000, ops={"CONV_2D": 1}, float_ops=("conv",))


def profile(
    model="tinynet",
    *,
    runtime="litert",
    precision="fp32",
    ms=2.0,
    megabytes=4.0,
    macs=300_000_000,
    params=3_500_000,
    tier="light",
    trained=True,
    busy_cores=0.0,
    error=None,
    notes=(),
    **changed,
) -> Profile:
    """A measurement whose samples are all `ms`; a failed one where there is an `error`."""
    format = {"litert": "tflite", "ort": "onnx"}[runtime]
    subject = Subject(
        file=f"{model}-{precision}.{format}",
        sha256=f"digest of {model}-{precision}.{format}",
        bytes=round(megabytes * 1e6),
        format=format,
        precision=precision,
        model=model,
        tier=tier,
        trained=trained,
        params=params if macs else None,
        macs=macs,
        cost=_cost(params, macs) if macs else None,
        notes=notes,
    )
    fields = {
        "run": "a run",
        "time": "2030-01-02T03:04:05+00:00",
        "subject": subject,
        "runtime": runtime,
        "runtime_version": "1.2.3",
        "settings": Settings(),
        "machine": MACHINE,
        "load_average": 0.5,
        "busy_cores": busy_cores,
        "timing": None if error else timing([ms]),
        "error": error,
    }
    return Profile(**fields | changed)


#: The tiny convolution's: 4 x 4 pixels of 3 channels to 2, without a bias.
PARAMS, MACS = 6, 96


def publish(
    path,
    name,
    *,
    trained=False,
    tag=None,
    passed=True,
    labels=None,
    content=None,
    params=PARAMS,
    macs=MACS,
    graph_params=None,
    graph_macs=None,
):
    """A tiny file at `path`, or one of such `content`, with a manifest that says it is the architecture `name`."""
    format, precision = path.suffix[1:], path.stem.rpartition("-")[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f"staged{path.suffix}")
    if content is None:
        getattr(tiny, f"save_{format}")(staged)
    else:
        staged.write_bytes(content)
    size = artifact.TensorInfo(name="image", shape=(1, 4, 4, 3), dtype="float32")
    manifest = Manifest(
        file=path.name,
        bytes=staged.stat().st_size,
        sha256=artifact.sha256(staged),
        format=format,
        precision=precision,
        recipe=f"{format}-{precision}",
        model=ModelInfo(
            name=name,
            source="keras",
            reference="",
            classes=2,
            input_size=(4, 4),
            params=params,
            folded_params=params,
            macs=macs,
            tier="light",
        ),
        weights=WeightsInfo(source="my.h5" if trained else "random", trained=trained, tag=tag),
        input=size,
        output=size,
        layout="NHWC",
        preprocess=None,
        calibration=None,
        agreement=Agreement(
            sqnr_db=None,
            cosine=1.0,
            max_error=0.0,
            kl=0.0,
            top1=1.0,
            top5=1.0,
            saturation={},
            samples=1,
            pictures="synthetic",
            tolerance=Tolerance(min_sqnr_db=80.0, ok_sqnr_db=80.0, ok_kl=0.05),
            verdict="OK" if passed else "BROKEN",
            reason="",
        ),
        reference="reference.npz",
        graph_params=graph_params or params,
        graph_macs=graph_macs or macs,
        lowerings=(),
        float_ops=(),
        notes=(),
        labels=labels,
        options={},
        tools={},
        fingerprint="",
        seconds=0.0,
    )
    return artifact.publish(staged, path, manifest)
