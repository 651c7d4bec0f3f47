"""Packages of npm's registry, each of one known digest, without npm."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgecls import fetch

#: npm's own name for the variable that names another registry, in small letters or capitals.
REGISTRY = "npm_config_registry"
_DEFAULT = "https://registry.npmjs.org"


@dataclass(frozen=True, kw_only=True)
class Package:
    """integrity: of the tarball, as npm writes it."""

    name: str
    version: str
    integrity: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def tarball(self) -> str:
        """What `npm pack` calls it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def digest(self) -> str:
        """As `fetch.fetch` takes it."""
        algorithm, _, digits = self.integrity.partition("-")
        return f"{algorithm}:{base64.b64decode(digits).hex()}"

    @property
    def url(self) -> str:
        named = {name.lower(): value for name, value in os.environ.items() if value}
        registry = named.get(REGISTRY, _DEFAULT).rstrip("/")
        return f"{registry}/{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"

    def download(
        self,
        *,
        on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> Path:
        """The tarball in the cache, downloaded if need be: see `fetch.fetch`. Raises DownloadFailed."""
        target = fetch.cache_folder() / "npm" / self.tarball
        fetch.fetch(self.url, target, digest=self.digest, on_bytes=on_bytes, on_note=on_note)
        return target
