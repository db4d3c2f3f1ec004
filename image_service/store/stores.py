"""All stores of a process: made from the configuration, found by name or by the location of an image.

Without names, ``[glance_store] stores`` says which kinds there are, and a store is called as its kind. With
``[DEFAULT] enabled_backends`` (``fast:file,web:http``) each has the name and the section given there, and a location remembers
the name (``{"store": "fast"}``).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from oslo_config import cfg

from image_service.config import DEFAULT_DATADIR
from image_service.errors import DataMissing, InvalidValue, UnsupportedUrl
from image_service.model import Location
from image_service.store.filesystem import FilesystemStore
from image_service.store.http import AddressFilter, HttpStore
from image_service.store.interface import LocalFiles, Store

LOG = logging.getLogger(__name__)

# Juno's driver paths, the short names, and what else people write for the same.
_KINDS = {
    "file": "file",
    "filesystem": "file",
    "glance.store.filesystem.Store": "file",
    "glance_store._drivers.filesystem.Store": "file",
    "http": "http",
    "https": "http",
    "glance.store.http.Store": "http",
    "glance_store._drivers.http.Store": "http",
}
_RESERVED = "os_glance_"


class Stores:
    """The stores (image-registry has none). ``named``: locations carry the store's name, users may choose one."""

    def __init__(self, stores: Sequence[Store] = (), default: str = "", *, named: bool = False) -> None:
        self._stores = {store.name: store for store in stores}
        self._default = default
        self.named = named

    @classmethod
    def from_config(cls, conf: cfg.ConfigOpts) -> Stores:
        """``cfg.Error`` with a sentence when what the configuration says cannot be. Makes no folders."""
        kinds, default = _with_names(conf) if conf.enabled_backends else _without_names(conf)
        return cls([_build(conf, name, kind) for name, kind in kinds.items()], default, named=bool(conf.enabled_backends))

    @property
    def default(self) -> Store:
        """The store that new images go to."""
        return self._stores[self._default]

    def all(self) -> list[Store]:
        """Every store, in the order of the configuration."""
        return list(self._stores.values())

    def get(self, name: str) -> Store:
        """The store called ``name``. ``InvalidValue`` when there is none."""
        store = self._stores.get(name) or (None if self.named else self._stores.get(_KINDS.get(name, "")))
        if store is None:
            raise InvalidValue(
                f"Store for identifier {name} not found: required store {name} is invalid. There are: {', '.join(self._stores)}."
            )
        return store

    def for_location(self, location: Location) -> Store:
        """The store of a location: by the name it remembers, else by its scheme. ``UnsupportedUrl`` when there is none."""
        named = self._stores.get(str(location.metadata.get("store", "")))
        scheme = location.url.partition("://")[0].lower()
        if named is not None and scheme in named.schemes and _may_hold(named, location.url):
            return named
        for store in self._stores.values():
            if scheme in store.schemes and _may_hold(store, location.url):
                return store
        if named is not None:
            raise UnsupportedUrl(f"The location is in none of the folders of store {named.name}.")
        raise UnsupportedUrl(f"External sources are not supported: no store here has this place, which is of scheme '{scheme}'.")

    def places(self, locations: Sequence[Location]) -> list[tuple[Store, Location]]:
        """Each location with its store. What is in no store of ours is left out: the configuration knew others before."""
        found = []
        for location in locations:
            with suppress(UnsupportedUrl):
                found.append((self.for_location(location), location))
        return found

    async def aclose(self) -> None:
        """Close every store."""
        for store in self._stores.values():
            await store.close()


def _may_hold(store: Store, url: str) -> bool:
    """Whether a store of files has ``url`` in its folders; other stores cannot tell."""
    if not isinstance(store, LocalFiles):
        return True
    try:
        store.path(url)
    except (DataMissing, UnsupportedUrl):
        return False
    return True


def _without_names(conf: cfg.ConfigOpts) -> tuple[dict[str, str], str]:
    """The kind of each store by its name, and the name of the default one."""
    known = [_KINDS[name] for name in conf.glance_store.stores if name in _KINDS]
    for name in conf.glance_store.stores:
        if name not in _KINDS:
            LOG.warning("[glance_store] stores: %s is no store that this service has; it has file and http", name)
    default = _KINDS.get(conf.glance_store.default_store, "")
    if default not in known:
        raise cfg.Error(
            f"[glance_store] default_store = {conf.glance_store.default_store} is none of the stores:"
            " add it to [glance_store] stores"
        )
    return {kind: kind for kind in known}, default


def _with_names(conf: cfg.ConfigOpts) -> tuple[dict[str, str], str]:
    for name, kind in conf.enabled_backends.items():
        if kind not in _KINDS:
            raise cfg.Error(f"[DEFAULT] enabled_backends = {name}:{kind} must be one of the kinds file and http")
        if name.startswith(_RESERVED):
            raise cfg.Error(f"[DEFAULT] enabled_backends = {name}: a name must not start with {_RESERVED}")
    backends = {name: _KINDS[kind] for name, kind in conf.enabled_backends.items()}
    default: str = conf.glance_store.default_backend or (next(iter(backends)) if len(backends) == 1 else "")
    if default not in backends:
        raise cfg.Error(f"[glance_store] default_backend = {default} must be one of enabled_backends: {', '.join(backends)}")
    return backends, default


def _build(conf: cfg.ConfigOpts, name: str, kind: str) -> Store:
    section = name if conf.enabled_backends else "glance_store"
    options = conf[section]
    try:
        store = _file_store(conf, name, options) if kind == "file" else _http_store(conf, name, options)
    except ValueError as error:
        raise cfg.Error(f"[{section}] {error}") from error
    store.description, store.weight = options.store_description, options.weight
    return store


def _file_store(conf: cfg.ConfigOpts, name: str, options: Any) -> Store:
    return FilesystemStore(
        name,
        _folders_of(conf, name, options),
        file_perm=_mode(options.filesystem_store_file_perm),
        chunk_size=options.filesystem_store_chunk_size,
        thin=options.filesystem_thin_provisioning,
        metadata_file=options.filesystem_store_metadata_file,
        location_metadata={"store": name} if conf.enabled_backends else {},
    )


def _folders_of(conf: cfg.ConfigOpts, name: str, options: Any) -> list[tuple[Path, int]]:
    """The folders of a file store, each with its priority."""
    single, several = options.filesystem_store_datadir, options.filesystem_store_datadirs
    if single and several:
        raise ValueError("only one of filesystem_store_datadir and filesystem_store_datadirs may be set")
    if not several:
        default = f"/var/lib/glance/{name}" if conf.enabled_backends else DEFAULT_DATADIR
        return [(Path(single or default), 0)]
    found = [_with_priority(entry) for entry in several]
    if len(dict(found)) < len(found):
        raise ValueError("filesystem_store_datadirs names a folder twice")
    return found


def _with_priority(entry: str) -> tuple[Path, int]:
    if re.search(r":\d+\s*,", entry):
        raise ValueError(f"filesystem_store_datadirs = {entry}: write one line for each folder")
    path, colon, number = entry.strip().rpartition(":")
    if not colon:
        return Path(number), 0
    if not number.strip().isdigit():
        raise ValueError(f"filesystem_store_datadirs = {entry}: must be PATH or PATH:PRIORITY, a whole number")
    return Path(path), int(number)


def _mode(digits: int) -> int:
    """640 in the file means 0o640."""
    if not re.fullmatch("0|[4-7][0-7]{2}", str(digits)):
        raise ValueError(f"filesystem_store_file_perm = {digits}: must be an octal mode that lets the owner read, like 640")
    return int(str(digits), 8)


def _http_store(conf: cfg.ConfigOpts, name: str, options: Any) -> Store:
    # With an empty flavor only this host's own users reach the service, and they reach the inside without it, too.
    inside = not conf.paste_deploy.flavor and not conf.allow_unauthenticated_access
    addresses = AddressFilter(options.http_allowed_networks, options.http_denied_networks, inside=inside)
    ca_file, insecure = options.https_ca_certificates_file, options.https_insecure
    try:
        return HttpStore(name, addresses, ca_file=ca_file, insecure=insecure, retries=conf.http_retries)
    except OSError as error:
        raise ValueError(f"https_ca_certificates_file = {ca_file} cannot be used: {error}") from error
