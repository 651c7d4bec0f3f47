"""LiteRT.js, which runs .tflite files in browsers: its packages as npm has them, each of one known digest."""

from __future__ import annotations

import base64
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecls import fetch
from edgecls.errors import BadFile, DownloadFailed, UsageError

VERSION = "2.5.3"
#: npm's own name for the variable that names another registry.
REGISTRY = "npm_config_registry"
_DEFAULT_REGISTRY = "https://registry.npmjs.org"


@dataclass(frozen=True, kw_only=True)
class Package:
    """integrity: of the tarball, as npm writes it. files: what is taken out of it, and its name in the page."""

    name: str
    integrity: str
    files: Mapping[str, str]

    @property
    def tarball(self) -> str:
        """What `npm pack` calls it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{VERSION}.tgz"

    @property
    def digest(self) -> str:
        """As `fetch.fetch` takes it."""
        algorithm, _, digits = self.integrity.partition("-")
        return f"{algorithm}:{base64.b64decode(digits).hex()}"

    def url(self, registry: str) -> str:
        return f"{registry.rstrip('/')}/{self.name}/-/{self.name.rpartition('/')[2]}-{VERSION}.tgz"


#: The browser takes one of three: for several threads; for one; for one without relaxed SIMD.
_WASM = [f"wasm/litert_wasm_{kind}internal.{suffix}" for kind in ("threaded_", "", "compat_") for suffix in ("js", "wasm")]
PACKAGES = (
    Package(
        name="@litertjs/core",
        integrity="sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        files={"dist/index.js": "core.js"} | {name: name for name in _WASM},
    ),
    Package(
        name="@litertjs/wasm-utils",
        integrity="sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        files={"dist/index.js": "wasm-utils.js"},
    ),
)
_PACK = f"npm pack {' '.join(f'{package.name}@{VERSION}' for package in PACKAGES)}"


def tarballs(
    folder: Path | None = None,
    *,
    on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Path]:
    """Where the packages lie: in `folder`, where `npm pack` put them, or in the cache, downloaded if need be.

    on_bytes, on_note: see `fetch.fetch`. Raises UsageError, BadFile for a folder without them, DownloadFailed.
    """
    if folder is not None:
        return [_given(folder, package) for package in PACKAGES]
    named = {name.lower(): value for name, value in os.environ.items() if value}
    registry, found = named.get(REGISTRY, _DEFAULT_REGISTRY), []
    for package in PACKAGES:
        target = fetch.cache_folder() / "npm" / package.tarball
        try:
            fetch.fetch(
                package.url(registry), target, digest=package.digest, on_bytes=on_bytes, on_note=on_note
            )
        except DownloadFailed as error:
            advice = f"name another registry with {REGISTRY}, or run `{_PACK}` elsewhere and name its folder, --js-dir"
            raise DownloadFailed(f"{error}; {advice}") from error
        found.append(target)
    return found


def unpack(packages: list[Path], target: Path) -> None:
    """Write what a page needs of `tarballs` to the new folder `target`: those files, and no others."""
    for package, path in zip(PACKAGES, packages, strict=True):
        with tarfile.open(path, "r:gz") as archive:
            for member, name in package.files.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                with archive.extractfile(f"package/{member}") as source, open(target / name, "wb") as file:
                    shutil.copyfileobj(source, file)


def _given(folder, package) -> Path:
    path, advice = folder / package.tarball, f"run `{_PACK}` in it"
    if not folder.is_dir():
        raise UsageError(f"no folder {str(folder)!r}; --js-dir is where `{_PACK}` was run")
    if not path.is_file():
        raise BadFile(f"no {package.tarball} in {str(folder)!r}; {advice}")
    if fetch.check(path, package.url(_DEFAULT_REGISTRY), package.digest) is None:
        raise BadFile(f"{str(path)!r} is not what was published as {package.name}@{VERSION}; {advice}")
    return path
