"""Published files: downloaded once into a cache, and used only when their digest is right."""

from edgecls.fetch.cache import CACHE, OFFLINE, Record, cache_folder, check, fetch, open_zipped, record

__all__ = ["CACHE", "OFFLINE", "Record", "cache_folder", "check", "fetch", "open_zipped", "record"]
