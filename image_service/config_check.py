"""What a configuration says besides what it means: options that nobody knows, and doors that are open by accident."""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from oslo_config import cfg, iniparser

from image_service import config

NOT_BUILT = "belongs to a feature that this release does not have"
OF_OTHER = "is an option of"


@cache
def _glances() -> dict[str, frozenset[str]]:
    """Sections, options and first words of options of Glance (contract D.3, D.4) whose features this release does not have."""
    text = resources.files("image_service").joinpath("glance_options.json").read_text(encoding="utf-8")
    return {kind: frozenset(names) for kind, names in json.loads(text).items()}


@dataclass(frozen=True, slots=True)
class Written:
    """One option as a file has it."""

    file: str
    group: str
    name: str
    value: str


class _Reader(iniparser.BaseParser):
    """Reads a file without knowing which options there are."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self._file = file
        self._group = "DEFAULT"
        self.found: list[Written] = []

    def new_section(self, section: str) -> None:
        self._group = section

    def assignment(self, key: str, value: list[str]) -> None:
        self.found.append(Written(self._file, self._group, key.strip().replace("-", "_"), "\n".join(value)))

    def comment(self, comment: str) -> None:
        pass


def read_raw(path: str) -> list[Written]:
    """Every option in a file. Raises ``OSError``; ``cfg.Error`` for a line that is none."""
    reader = _Reader(path)
    try:
        with open(path, encoding="utf-8") as file:
            reader.parse(file)
    except iniparser.ParseError as error:
        raise cfg.Error(f"{path}: {error}") from error
    return reader.found


def files_of(conf: cfg.ConfigOpts) -> list[str]:
    """The files that ``conf`` was read from, in their order."""
    files = [os.path.abspath(name) for name in conf.config_file or []]
    for folder in conf.config_dir or []:
        if os.path.isdir(folder):
            files += sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".conf"))
    return [name for name in files if os.path.exists(name)]


def unknown_options(conf: cfg.ConfigOpts, program: str) -> list[str]:
    """A sentence for each option that is written and has no effect."""
    known = known_names(conf, program)
    written = (option for file in files_of(conf) for option in read_raw(file))
    return [sentence for option in written if (sentence := _complaint(option, known, program))]


def known_names(conf: cfg.ConfigOpts, program: str) -> dict[str, set[str]]:
    """Group -> every name, also old ones, under which an option is read from it."""
    known: dict[str, set[str]] = {}
    for group, options in config.GROUPS[program].items():
        for option in options:
            for place, name in _names(group, option):
                known.setdefault(place, set()).add(name)
    backends = (conf.enabled_backends or {}) if program == "glance-api" else {}
    for backend in backends:
        known[backend] = {option.dest for option in config.STORE_OPTIONS}
    return known


def _names(group: str, option: cfg.Opt) -> Iterator[tuple[str, str]]:
    yield group, option.dest
    for old in option.deprecated_opts:
        yield old.group or group, (old.name or option.dest).replace("-", "_")


def _complaint(option: Written, known: dict[str, set[str]], program: str) -> str | None:
    if option.name in known.get(option.group, ()):
        return None
    where, glances = f"{option.file}: [{option.group}] {option.name}", _glances()
    if (
        option.group in glances["groups"]
        or option.name in glances["options"]
        or option.name.startswith(tuple(glances["prefixes"]))
    ):
        return f"{where} {NOT_BUILT}; it has no effect"
    other = _other_program(option, program)
    if other:
        return f"{where} {OF_OTHER} {other}.conf; it has no effect here"
    elsewhere = [group for group, names in known.items() if option.name in names]
    if elsewhere:
        return f"{where} has no effect in this section; it belongs to [{elsewhere[0]}]"
    return f"{where} is not an option{_nearest(option, known)}; it has no effect"


def _other_program(option: Written, program: str) -> str | None:
    """The program of ours that has such an option, when this one has not."""
    for other, groups in config.GROUPS.items():
        names = {place for group, options in groups.items() for known in options for place in _names(group, known)}
        if other != program and (option.group, option.name) in names:
            return other
    return None


def _nearest(option: Written, known: dict[str, set[str]]) -> str:
    """The name that was probably meant: in the same section first, then in any."""
    for names in (known.get(option.group, set()), set().union(*known.values())):
        near = difflib.get_close_matches(option.name, sorted(names), n=1, cutoff=0.7)
        if near:
            group = option.group if near[0] in known.get(option.group, ()) else _group_of(near[0], known)
            return f" (did you mean [{group}] {near[0]}?)"
    return ""


def _group_of(name: str, known: dict[str, set[str]]) -> str:
    return next(group for group, names in known.items() if name in names)


def require_valid(conf: cfg.ConfigOpts, program: str) -> None:
    """Raise ``cfg.Error`` for a value that is not allowed: oslo.config itself looks at a value only when it is asked for."""
    for group, options in config.GROUPS[program].items():
        for option in options:
            _ = conf[option.dest] if group == "DEFAULT" else conf[group][option.dest]
    if program == "glance-api":
        _require_valid_stores(conf)
        _require_hash(conf.hashing_algorithm)


def _require_valid_stores(conf: cfg.ConfigOpts) -> None:
    for backend in conf.enabled_backends or {}:
        for option in config.STORE_OPTIONS:
            _ = conf[backend][option.dest]


def _require_hash(algorithm: str) -> None:
    try:
        hashlib.new(algorithm, usedforsecurity=False).hexdigest()
    except (ValueError, TypeError) as error:
        near = nearest(algorithm, sorted(hashlib.algorithms_available))
        raise cfg.Error(
            f"hashing_algorithm = {algorithm}: hashlib has no such algorithm{near}. sha512 is the default."
        ) from error


# ---- who can reach the service -------------------------------------------------------------------------------------


def require_closed_door(conf: cfg.ConfigOpts, addresses: Iterable[Any] | None = None) -> None:
    """Raise ``cfg.Error`` when nobody would be asked who he is and strangers can reach the service.

    ``addresses``: those of sockets that are open already (as ``getsockname`` gives them); default: ``bind_host``.
    """
    if conf.allow_unauthenticated_access or not asks_nobody(conf):
        return
    hosts = [conf.bind_host] if addresses is None else [_host(address) for address in addresses]
    for host in hosts:
        if not is_loopback(host):
            raise cfg.Error(
                f"[paste_deploy] flavor is empty, so everybody who reaches {host} would be administrator. Set"
                " flavor to http_basic or trusted-auth, or bind_host to 127.0.0.1, or"
                " allow_unauthenticated_access = True if that is what you want."
            )


def asks_nobody(conf: cfg.ConfigOpts) -> bool:
    """Whether the flavor lets everybody in."""
    words = (conf.paste_deploy.flavor or "").strip().split("+")
    return not [word for word in words if word not in ("", "caching", "cachemanagement")]


def _host(address: Any) -> str:
    return str(address[0]) if isinstance(address, tuple) else "localhost"


def is_loopback(host: str) -> bool:
    """Whether only this host reaches ``host``. Other names than localhost may mean anything."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def nearest(word: str, words: Sequence[str]) -> str:
    """`` (did you mean X?)`` or nothing."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.7)
    return f" (did you mean {near[0]}?)" if near else ""
