"""All stores of a process: made from the configuration, found by name or by the location of an image.

Without names, ``[glance_store] stores`` says which kinds there are, and a store is called as its kind. With
``[DEFAULT] enabled_backends`` (``fast:file,web:http``) each has the name and the section given there, and a
location remembers the name (``{"store": "fast"}``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
    """The stores, ``default`` among them. ``named``: locations carry the store's name, users may choose
    one."""

    def __init__(self, stores: Sequence[Store], default: str, *, named: bool = False) -> None:
        self._stores = {store.name: store for store in stores}
        self.default = self._stores[default]
        self.named = named

    @classmethod
    def from_config(cls, conf: cfg.ConfigOpts) -> Stores:
        """``cfg.Error`` with a sentence when what the configuration says cannot be."""
        return _named(conf) if conf.enabled_backends else _by_kind(conf)

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
        """The store that a location belongs to: by the name it remembers, else by its scheme.
        ``UnsupportedUrl`` when there is none."""
        named = self._stores.get(str(location.metadata.get("store", "")))
        scheme = location.url.partition("://")[0].lower()
        if named is not None and scheme in named.schemes:
            return named
        fitting = [store for store in self._stores.values() if scheme in store.schemes]
        if not fitting:
            raise UnsupportedUrl(f"External sources are not supported: '{scheme}' is the scheme of no store here.")
        return next((store for store in fitting if _holds(store, location.url)), fitting[0])

    async def close(self) -> None:
        """Close every store."""
        for store in self._stores.values():
            await store.close()


def _holds(store: Store, url: str) -> bool:
    """Whether a store of files has ``url`` in its folders; other stores cannot tell."""
    if not isinstance(store, LocalFiles):
        return False
    try:
        store.path(url)
    except (DataMissing, UnsupportedUrl):
        return False
    return True


def folders(conf: cfg.ConfigOpts) -> list[str]:
    """The folders of all file stores; makes neither stores nor folders. ``cfg.Error`` as :meth:`Stores.from_config`."""
    if conf.enabled_backends:
        file_stores: list[tuple[str, dict[str, object]]] = [
            (name, {"store": name}) for name, kind in _backends(conf)[0].items() if kind == "file"
        ]
    else:
        file_stores = [("glance_store", {})] if "file" in _kinds(conf)[0] else []
    found: list[str] = []
    for group, metadata in file_stores:
        try:
            found += [path for path, _ in _folders_of(group, conf[group], metadata)]
        except ValueError as error:
            raise cfg.Error(f"[{group}] {error}") from error
    return found


def _kinds(conf: cfg.ConfigOpts) -> tuple[list[str], str]:
    """The kinds of stores without names, and the default among them."""
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
    return list(dict.fromkeys(known)), default


def _backends(conf: cfg.ConfigOpts) -> tuple[dict[str, str], str]:
    """The kinds of stores with names, and the default among them."""
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


def _by_kind(conf: cfg.ConfigOpts) -> Stores:
    kinds, default = _kinds(conf)
    return Stores([_build(conf, kind, kind, "glance_store", {}) for kind in kinds], default)


def _named(conf: cfg.ConfigOpts) -> Stores:
    backends, default = _backends(conf)
    return Stores([_build(conf, name, kind, name, {"store": name}) for name, kind in backends.items()], default, named=True)


def _build(conf: cfg.ConfigOpts, name: str, kind: str, group: str, metadata: dict[str, object]) -> Store:
    options = conf[group]
    try:
        store = _file_store(name, options, metadata) if kind == "file" else _http_store(conf, name, options)
    except (ValueError, OSError) as error:
        raise cfg.Error(f"[{group}] {error}") from error
    store.description = options.store_description
    store.weight = options.weight
    return store


def _file_store(name: str, options: Any, metadata: dict[str, object]) -> Store:
    return FilesystemStore(
        name,
        _folders_of(name, options, metadata),
        file_perm=_mode(options.filesystem_store_file_perm),
        chunk_size=options.filesystem_store_chunk_size,
        thin=options.filesystem_thin_provisioning,
        metadata_file=options.filesystem_store_metadata_file,
        location_metadata=metadata,
    )


def _folders_of(name: str, options: Any, metadata: dict[str, object]) -> list[tuple[str, int]]:
    default = f"/var/lib/glance/{name}" if metadata else str(DEFAULT_DATADIR)
    return _datadirs(options.filesystem_store_datadir, options.filesystem_store_datadirs or [], default)


def _mode(digits: int) -> int:
    """640 in the file means 0o640."""
    try:
        mode = int(str(digits), 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777 or (mode and mode & 0o400 == 0):
        raise ValueError(f"filesystem_store_file_perm = {digits}: must be an octal mode that lets the owner read, like 640")
    return mode


def _datadirs(single: str | None, several: Sequence[str], default: str) -> list[tuple[str, int]]:
    if not several:
        return [(single or default, 0)]
    if single:
        raise ValueError("only one of filesystem_store_datadir and filesystem_store_datadirs may be set")
    folders = [_with_priority(entry) for entry in several]
    if len({path for path, _ in folders}) < len(folders):
        raise ValueError("filesystem_store_datadirs names a folder twice")
    return folders


def _with_priority(entry: str) -> tuple[str, int]:
    path, colon, number = entry.strip().rpartition(":")
    if not colon:
        return number.rstrip("/"), 0
    if not number.strip().isdigit():
        raise ValueError(f"filesystem_store_datadirs = {entry}: must be PATH or PATH:PRIORITY, a whole number")
    return path.rstrip("/"), int(number)


def _http_store(conf: cfg.ConfigOpts, name: str, options: Any) -> Store:
    # With an empty flavor only this host's own users reach the service, and they reach the inside without it,
    # too.
    inside = not conf.paste_deploy.flavor and not conf.allow_unauthenticated_access
    addresses = AddressFilter(options.http_allowed_networks, options.http_denied_networks, inside=inside)
    ca_file, insecure = options.https_ca_certificates_file, options.https_insecure
    return HttpStore(name, addresses, ca_file=ca_file, insecure=insecure, retries=conf.http_retries)
