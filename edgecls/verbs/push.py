"""Put model files on phones, each with its manifest and its labels."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgecls import artifact, pretrained, registry, runtimes
from edgecls.artifact import Artifact
from edgecls.devices import adb
from edgecls.devices.adb import Phone
from edgecls.devices.push import FOLDER, Item, Placed, place
from edgecls.errors import BadFile, EdgeclsError, UnknownName, UsageError
from edgecls.exporters.recipe import recipe_for

#: What of a name is pushed: what phones run fastest and every library takes.
DEFAULT_RECIPES = ("int8",)
_FORMAT = "tflite"
LABELS = "labels.txt"


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """One model on one phone. files: what is there now; error: why it is not there, None where it is."""

    serial: str
    model: str
    folder: str
    files: tuple[Placed, ...]
    error: EdgeclsError | None = None


def push(
    targets: str | Path | Iterable[str | Path],
    *,
    serial: str | None = None,
    everywhere: bool = False,
    to: str = FOLDER,
    recipes: Sequence[str] = DEFAULT_RECIPES,
    artifacts: str | Path = artifact.FOLDER,
    on_bytes: Callable[[str, int, int], None] = lambda serial, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Pushed]:
    """Put each target into `<to>/<name>/` of a phone: model, labels.txt and, last, the manifest.

    targets: artifacts, and names of architectures, of which the .tflite of each of `recipes` goes; what
        is missing in the folder `artifacts` is exported first.
    serial: which phone; the only one by default. everywhere: all that are ready, side by side.
    on_bytes(serial, done, total) and on_note are called from several threads.

    What is on the phone unchanged is not sent again. Of several phones one that fails does not keep
    the others from it. Raises UnknownName, UsageError, BadFile before any work on a phone.
    """
    if serial and everywhere:
        raise UsageError("--serial names one phone, --all means every one; give one of them")
    if not PurePosixPath(to).is_absolute():
        raise UsageError(f"--to must be a folder of the phone from its root on, such as {FOLDER}, got {to!r}")
    for recipe in recipes:
        recipe_for(_FORMAT, recipe)
    chosen = _resolve([targets] if isinstance(targets, (str, Path)) else targets)
    if everywhere:
        ready, notes = adb.all_ready()
        for note in notes:
            on_note(note)
    else:
        ready = [adb.choose(serial)]
    files = [found for target in chosen for found in _artifacts(target, recipes, Path(artifacts), on_note)]
    for found in files:
        for note in _warnings(found):
            on_note(note)
    with tempfile.TemporaryDirectory() as work:
        parcels = _parcels(files, Path(work))
        return _send(ready, to, parcels, on_bytes)


def _resolve(targets: Iterable[str | Path]) -> list[str | Artifact]:
    """Names of architectures, and artifacts, each once."""
    found: dict[str | Path, str | Artifact] = {}
    for target in targets:
        path = Path(target)
        if path.is_file() or path.suffix.lower() in runtimes.SUFFIXES:
            _refuse_folder(path)
            runtimes.for_file(path)
            if path.is_file() and not artifact.manifest_path(path).is_file():
                raise BadFile(
                    f"{path.name} has no manifest beside it; let `edgecls export {path}` make a file that has "
                    f"one, or send it as it is: `adb push {path} {FOLDER}/`"
                )
            found[path.absolute()] = artifact.load(path)
        else:
            try:
                name = registry.shortest_name(registry.get(str(target)))
            except UnknownName:
                _refuse_folder(path)
                raise
            found[name] = name
    return list(found.values())


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if file.suffix in runtimes.SUFFIXES)
        which = f", such as {path / inside[0]}" if inside else ""
        raise BadFile(f"{str(path)!r} is a folder; name a file{which}")


def _artifacts(target: str | Artifact, recipes, folder: Path, on_note) -> list[Artifact]:
    """A given file, or those of a name; what is missing is exported, what is there stays as it is."""
    if isinstance(target, Artifact):
        return [target]
    paths = {recipe: folder / target / f"{target}-{recipe}.{_FORMAT}" for recipe in recipes}
    there = {recipe: found for recipe, path in paths.items() if (found := _load(path))}
    missing = [recipe for recipe in recipes if recipe not in there]
    if missing:
        from edgecls.verbs.export import export

        on_note(f"export {target} to {', '.join(str(paths[recipe]) for recipe in missing)}")
        known = next((found.manifest.weights for found in there.values()), None)
        weights = pretrained.AUTO if known is None else pretrained.again(known)
        export([target], formats=[_FORMAT], precisions=missing, weights=weights, out=folder, on_note=on_note)
    return [there.get(recipe) or artifact.load(path) for recipe, path in paths.items()]


def _load(path: Path) -> Artifact | None:
    try:
        return artifact.load(path)
    except BadFile:  # none, or damaged
        return None


def _warnings(found: Artifact) -> Iterable[str]:
    name, manifest = found.path.name, found.manifest
    if manifest.weights.note:
        yield f"{name} is {manifest.weights.note}"
    if not manifest.agreement.passed:
        yield f"{name} does not agree with its float model: {manifest.agreement.reason}"


@dataclass(frozen=True)
class _Parcel:
    """What goes into the folder of one model."""

    model: str
    items: tuple[Item, ...]


def _parcels(files: Iterable[Artifact], work: Path) -> list[_Parcel]:
    """The items of each model's folder. Raises UsageError where two files would take one place."""
    items: dict[str, dict[str, Item]] = {}
    for found in files:
        manifest = found.manifest
        model = Path(manifest.file).stem.removesuffix(f"-{manifest.precision}")
        wanted = [_item(found.path.name, found.path)]
        if manifest.labels:
            listed = work / model / LABELS
            listed.parent.mkdir(exist_ok=True)
            listed.write_text(
                "".join(f"{label}\n" for label in manifest.labels), encoding="utf-8", newline="\n"
            )
            wanted.append(_item(LABELS, listed))
        wanted.append(_item(artifact.manifest_path(found.path).name, artifact.manifest_path(found.path)))
        into = items.setdefault(model, {})
        for item in wanted:
            if into.setdefault(item.name, item).sha256 != item.sha256:
                raise UsageError(
                    f"two files of {model} bring different {item.name}; push one of them elsewhere, with --to"
                )
    return [_Parcel(model, tuple(into.values())) for model, into in items.items()]


def _item(name: str, source: Path) -> Item:
    return Item(name=name, source=source, bytes=source.stat().st_size, sha256=artifact.sha256(source))


def _send(ready, to: str, parcels: Sequence[_Parcel], on_bytes) -> list[Pushed]:
    """Every parcel to every phone, phones side by side."""
    stop = threading.Event()

    def one_phone(serial: str) -> list[Pushed]:
        return [one(Phone(serial, stop=stop), parcel) for parcel in parcels]

    def one(phone: Phone, parcel: _Parcel) -> Pushed:
        folder = f"{to.rstrip('/')}/{parcel.model}"
        known = {"serial": phone.serial, "model": parcel.model, "folder": folder}
        try:
            placed = place(
                phone,
                folder,
                parcel.items,
                elsewhere="choose another folder with --to",
                on_bytes=lambda done, total: on_bytes(phone.serial, done, total),
            )
        except EdgeclsError as error:
            return Pushed(**known, files=(), error=error)
        return Pushed(**known, files=tuple(placed))

    with ThreadPoolExecutor(len(ready)) as pool:
        work = [pool.submit(one_phone, each.serial) for each in ready]
        try:
            return [pushed for each in work for pushed in each.result()]
        except BaseException:
            stop.set()
            raise
