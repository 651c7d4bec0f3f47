"""LiteRT.js, which runs .tflite files in browsers, as npm has it."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from edgecls import fetch
from edgecls.apps.npm import REGISTRY, Package
from edgecls.errors import BadFile, DownloadFailed, UsageError

VERSION = "2.5.3"
#: The browser takes one of three builds: for several threads; for one; for one without relaxed SIMD.
_BUILDS = ("threaded_", "", "compat_")
_WASM = [f"wasm/litert_wasm_{build}internal.{suffix}" for build in _BUILDS for suffix in ("js", "wasm")]
#: Package -> what is taken out of it, and its name in the page.
PACKAGES: Mapping[Package, Mapping[str, str]] = {
    Package(
        name="@litertjs/core",
        version=VERSION,
        integrity="sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
    ): {"dist/index.js": "core.js"} | {name: name for name in _WASM},
    Package(
        name="@litertjs/wasm-utils",
        version=VERSION,
        integrity="sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
    ): {"dist/index.js": "wasm-utils.js"},
}
_PACK = f"npm pack {' '.join(map(str, PACKAGES))}"


def tarballs(
    folder: Path | None = None,
    *,
    on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Path]:
    """Where the packages lie: in `folder`, where `npm pack` put them, or in the cache, downloaded if need be.

    on_bytes, on_note: see `fetch.fetch`.
    Raises UsageError, BadFile for a folder without them, DownloadFailed.
    """
    if folder is not None:
        return [_given(folder, package) for package in PACKAGES]
    try:
        return [package.download(on_bytes=on_bytes, on_note=on_note) for package in PACKAGES]
    except DownloadFailed as error:
        advice = f"run `{_PACK}` elsewhere and name its folder, --js-dir"
        raise DownloadFailed(f"{error}; name another registry with {REGISTRY}, or {advice}") from error


def unpack(packages: list[Path], target: Path) -> None:
    """Write what a page needs of `tarballs` to the new folder `target`: those files, and no others."""
    for files, path in zip(PACKAGES.values(), packages, strict=True):
        with tarfile.open(path, "r:gz") as archive:
            for member, name in files.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                with archive.extractfile(f"package/{member}") as source, open(target / name, "wb") as file:
                    shutil.copyfileobj(source, file)


def _given(folder: Path, package: Package) -> Path:
    path, advice = folder / package.tarball, f"run `{_PACK}` in it"
    if not folder.is_dir():
        raise UsageError(f"no folder {str(folder)!r}; --js-dir is where `{_PACK}` was run")
    if not path.is_file():
        raise BadFile(f"no {package.tarball} in {str(folder)!r}; {advice}")
    if fetch.check(path, package.url, package.digest) is None:
        raise BadFile(f"{str(path)!r} is not what was published as {package}; {advice}")
    return path
