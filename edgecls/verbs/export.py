"""From names and model files to artifacts: build, convert, quantize, verify, publish."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgecls import artifact, pretrained, registry
from edgecls.artifact import Artifact, Manifest
from edgecls.errors import BadFile, DownloadFailed, EdgeclsError, UnknownName, UsageError, WorkFailed
from edgecls.exporters import calibration as calibrations
from edgecls.exporters import lowerings
from edgecls.exporters import source as sources
from edgecls.exporters.recipe import FORMATS, RECIPES, Recipe, precisions_of, recipe_for
from edgecls.exporters.source import Source
from edgecls.spec import Preprocess
from edgecls.verbs.job import Job, tool_versions
from edgecls.verbs.pipeline import Stage, make

#: Our modules, besides `models` and `exporters`, that decide what is in a file.
_MAKING_FILES = (
    "builder.py",
    "h5_file.py",
    "images.py",
    "keras_file.py",
    "keras_layers.py",
    "keras_names.py",
    "layers.py",
    "mapped.py",
    "plain_pickle.py",
    "randomise.py",
    "safetensors_file.py",
    "spec.py",
    "synthetic.py",
    "torch_file.py",
    "verbs/publication.py",
    "weights.py",
)


def export(
    targets: str | Path | Iterable[str | Path],
    *,
    formats: str | Iterable[str] | None = None,
    precisions: str | Iterable[str] = "fp32",
    weights: str | Path = pretrained.AUTO,
    calibration: str | Path = calibrations.SYNTHETIC,
    samples: int | None = None,
    calibration_method: str = calibrations.METHOD,
    out: str | Path = artifact.FOLDER,
    classes: int | None = None,
    input_size: int | None = None,
    preprocess: str | Preprocess | Sequence[str] | None = None,
    custom: Sequence[str] = (),
    unsafe: bool = False,
    labels: str | Path | None = None,
    io: str | None = None,
    per_tensor: bool = False,
    no_lowering: str | Iterable[str] = (),
    seed: int = 0,
    force: bool = False,
    verbose: bool = False,
    on_stage: Callable[[Stage], None] = lambda stage: None,
    on_note: Callable[[str], None] = lambda note: None,
    on_artifact: Callable[[Artifact, bool], None] = lambda artifact, made: None,
) -> list[Artifact]:
    """Make `<out>/<name>/<name>-<precision>.<format>` of each target, a manifest beside each file.

    targets: architectures, or model files: Keras (.keras, .h5, SavedModel), float .tflite, .onnx.
    formats: "tflite", "onnx"; by default all that the target can become.
    precisions: see `recipe.RECIPES`; one that only one format has is made for that one. The float
        file is always made: the others are made of it.
    weights: for architectures: "imagenet", published ones, downloaded unless they are in the cache
        (of CIFAR-10 for rows of CIFAR), "imagenet:TAG" those of a tag; "auto" the same, but random ones
        where there are none or they cannot be had; "random"; or a weights file.
    calibration, samples, seed, calibration_method: see `calibration.plan`; for recipes that need
        ranges of activations, and to judge every file.
    classes, input_size: for architectures, the row's own by default; input_size also for files of
        models that take pictures of any size.
    preprocess: for model files, how pictures become their input: see `preprocessing.parse`.
    custom: "module:Name" of each class or function of the user's own in a .keras or .h5 file. unsafe:
        run code that is in such a file too.
    labels: a file that names the classes, one a line, "imagenet" or "cifar10"; the manifest has them. Of
        published weights, and of what `finetune` wrote, they are known.
    io: type of an int8 graph's ends, "uint8", "int8" or "float32"; the recipe's own by default.
    per_tensor: of int8 and int16x8, weights have one scale for each tensor, for targets that know no
        other; they are equalised before (see `equalisation`).
    no_lowering: names of lowerings that are not to be applied, see `lowerings`.
    force: make files again that are up to date.
    verbose: let converters print on standard error.
    on_stage and on_note are given the progress and what a user must be told, from several threads;
    on_artifact each artifact, and whether it was made or was there, up to date.

    Of several targets one that fails does not keep the others from being made.
    Raises UnknownName, UsageError, BadFile, WeightsMismatch, and WorkFailed where the work fails;
    what was there before is untouched then. An artifact that does not agree with its float model
    is written with the verdict BROKEN.
    """
    formats, precisions, no_lowering = formats and _listed(formats), _listed(precisions), _listed(no_lowering)
    lowerings.check(no_lowering)
    jobs: dict[str, Job] = {}
    for target in _listed(targets):
        source = sources.resolve(
            target,
            weights=weights,
            classes=classes,
            input_size=input_size,
            preprocess=preprocess,
            custom=custom,
            unsafe=unsafe,
            labels=labels,
            seed=seed,
        )
        if str(target) == getattr(source.spec, "name", None) and (others := registry.namesakes(source.spec)):
            on_note(f"{target} is {source.spec.key}; there is {' and '.join(others)} too")
        recipes = _recipes(source, formats, precisions, io, per_tensor, on_note)
        plan = calibrations.plan(
            calibration, preprocess=source.preprocess, samples=samples, seed=seed, method=calibration_method
        )
        if source.spec:
            calibrations.check_shape(plan, source.preprocess.crop, source.preprocess.channels)
        folder = Path(out) / source.name
        artifact.check_writable(folder)
        job = Job(
            source=source,
            recipes=recipes,
            io=io,
            plan=plan,
            per_tensor=per_tensor,
            lowerings=tuple(name for name in lowerings.LOWERINGS if name not in no_lowering),
            folder=folder,
            verbose=verbose,
        )
        if jobs.setdefault(source.name, job) != job:
            raise UsageError(f"{target} is not the only {source.name}; export one of them to another folder, with --out")
    artifacts, failures = [], []
    for job in jobs.values():
        try:
            for exported, made in _run(job, force, on_stage, on_note):
                artifacts.append(exported)
                on_artifact(exported, made)
        except EdgeclsError as error:
            if len(jobs) == 1:
                raise
            on_note(f"{job.source.name} failed: {error}")
            failures.append(error)
    if failures:
        raise WorkFailed(f"{len(failures)} of {len(jobs)} exports failed") from failures[0]
    return artifacts


def _run(job: Job, force, on_stage, on_note) -> Iterator[tuple[Artifact, bool]]:
    """Every artifact asked for, in order, and whether it was made now."""
    job, ready = _with_weights(job, force, on_stage, on_note)
    missing = [recipe for recipe in job.recipes if recipe not in ready]
    prints = {recipe: _fingerprint(job, recipe) for recipe in missing}
    made = make(job, missing, ready, prints, on_stage, on_note) if missing else {}
    for recipe in job.recipes:
        yield (made[recipe], True) if recipe in made else (ready[recipe], False)


def _with_weights(job: Job, force, on_stage, on_note) -> tuple[Job, dict[Recipe, Artifact]]:
    """The job with its weights at hand, and what is up to date of it.

    Published weights are asked for only where a float file is to be made of them.
    """
    source, published = job.source, job.source.choice.published
    if published is None:
        return job, _ready(job, force)
    before = [manifest.weights for manifest in _manifests(job)]
    known = pretrained.record(source.spec, published)
    digests = [known.sha256] if known else [info.sha256 for info in before if info.url == published.url]
    if digests:
        trained = job.of(source.trained(digests[0]))
        ready = _ready(trained, force)
        if all(recipe in ready for recipe in job.recipes if recipe.precision == "fp32"):
            return trained, ready
    may_be_random = not source.choice.required
    if may_be_random and not known:
        untrained = job.of(source.untrained("they could not be had when these files were made"))
        ready = _ready(untrained, force)
        if len(ready) == len(job.recipes):
            return untrained, ready

    def on_bytes(done, total):
        shown = f"download {done / 1e6:.0f} MB" + (f" of {total / 1e6:.0f}" if total else "")
        on_stage(Stage(source.name, "", shown, done, total or 0))

    try:
        found = pretrained.obtain(source.spec, published, on_bytes=on_bytes, on_note=on_note)
    except DownloadFailed as error:
        if not may_be_random:
            raise
        if any(info.trained for info in before):
            kept = f"{str(job.folder)!r} keeps its trained files; --weights random makes untrained ones"
            raise DownloadFailed(f"{error}; {kept}") from error
        job = job.of(source.untrained(str(error)))
        on_note(job.source.weights.note)
    else:
        job = job.of(source.trained(found.sha256, pretrained.path(source.spec, published)))
    return job, _ready(job, force)


def _manifests(job: Job) -> Iterator[Manifest]:
    """Of what was made before, with whatever options."""
    for recipe in job.recipes:
        with contextlib.suppress(BadFile):
            yield artifact.read_manifest(artifact.manifest_path(job.target(recipe)))


def _ready(job: Job, force: bool) -> dict[Recipe, Artifact]:
    """What is up to date."""
    if force:
        return {}
    with ThreadPoolExecutor() as pool:  # a digest of a large file takes a while
        found = pool.map(
            lambda recipe: _up_to_date(job.target(recipe), _fingerprint(job, recipe)), job.recipes
        )
        return {recipe: one for recipe, one in zip(job.recipes, found, strict=True) if one}


def _listed(value) -> list:
    """One or several, each once."""
    return [value] if isinstance(value, (str, Path)) else list(dict.fromkeys(value))


def _recipes(source: Source, formats, precisions, io, per_tensor, on_note) -> list[Recipe]:
    """What to make, float first. Raises UnknownName, UsageError."""
    for format in formats or ():
        if format not in FORMATS:
            raise UnknownName("format", format, FORMATS)
        if format not in source.formats:
            raise UsageError(f"{source.path.name} can become {', '.join(source.formats)}, not {format}")
    possible = formats or source.formats
    for precision in precisions:
        if precision not in precisions_of(possible):
            recipe_for(possible[0], precision)  # raises
    for format in possible:
        if lacking := [precision for precision in precisions if precision not in precisions_of([format])]:
            on_note(f"{' and '.join(lacking)} cannot be made for .{format}")
    # A format that was not asked for and has none of the recipes is not worth its conversion.
    wanted = formats or [format for format in possible if set(precisions) & set(precisions_of([format]))]
    recipes = [
        RECIPES[f"{format}-{precision}"]
        for format in wanted
        for precision in precisions_of([format])
        if precision in ("fp32", *precisions)
    ]
    with_choice = [recipe for recipe in recipes if len(recipe.io) > 1]
    if io is not None and not with_choice:
        raise UsageError(f"--io {io} is for int8 files; add --int8")
    for recipe in with_choice:
        recipe.check_io(io)
    if per_tensor and not any(recipe.calibrated for recipe in recipes):
        raise UsageError("--per-tensor is for recipes int8 and int16x8; add --int8")
    for recipe in recipes:
        if recipe.slower:
            on_note(recipe.slower)
    return recipes


def _up_to_date(path: Path, fingerprint: str) -> Artifact | None:
    try:
        found = artifact.load(path)
    except BadFile:  # none, or damaged
        return None
    return found if found.manifest.fingerprint == fingerprint else None


def _fingerprint(job: Job, recipe: Recipe) -> str:
    """Of the options, the recipe, the tools and our own code: the same, the same file."""
    record = [job.options(recipe), dataclasses.asdict(recipe), tool_versions(), _code_digest()]
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


@functools.cache
def _code_digest() -> str:
    """Of our own modules that decide what is in a file: a checkout changes without its version."""
    package = Path(__file__).parent.parent
    files = [package / name for name in _MAKING_FILES] + [
        path for folder in ("models", "exporters", "metadata") for path in sorted((package / folder).rglob("*.py"))
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
