"""What a configuration says besides what it means: options that nobody knows, and doors that are open by accident."""

from __future__ import annotations

import difflib
import glob
import ipaddress
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from typing import Any, Literal

from oslo_config import cfg

from image_service import config

_NOT_BUILT = "belongs to a feature that this release does not have"


@dataclass(frozen=True, slots=True)
class Finding:
    """An ``error`` keeps the service from starting, makes it unsafe, or is a slip of the pen; a ``warning`` is worth a look."""

    level: Literal["error", "warning"]
    sentence: str


error, warning = partial(Finding, "error"), partial(Finding, "warning")


@cache
def _glances() -> dict[str, frozenset[str]]:
    """Sections, options and first words of options of Glance (contract D.3, D.4) whose features this release does not have."""
    text = resources.files("image_service").joinpath("glance_options.json").read_text(encoding="utf-8")
    return {kind: frozenset(names) for kind, names in json.loads(text).items()}


def files_of(conf: cfg.ConfigOpts) -> list[str]:
    """The files that ``conf`` was read from, in their order."""
    files = list(conf.config_file or [])
    for folder in conf.config_dir or []:
        files += sorted(glob.glob(os.path.join(folder, "*.conf")))
    return [os.path.abspath(name) for name in files if os.path.exists(name)]


def unknown_options(conf: cfg.ConfigOpts, program: str) -> Iterator[Finding]:
    """Every option that is written and has no effect; a warning where somebody else knows it."""
    backends = (conf.enabled_backends or {}) if program == "glance-api" else {}
    known = known_names(program) | {backend: {option.dest for option in config.STORE_OPTIONS} for backend in backends}
    for file in files_of(conf):
        sections: dict[str, dict[str, Any]] = {}
        cfg.ConfigParser(file, sections).parse()
        for group, names in sections.items():
            for name in (name.strip().replace("-", "_") for name in names):
                if name not in known.get(group, ()):
                    yield _without_effect(f"{file}: [{group}] {name}", group, name, known)
    if "cach" in (conf.paste_deploy.flavor or ""):
        yield warning(f"[paste_deploy] flavor = {conf.paste_deploy.flavor}: there is no cache of images; it {_NOT_BUILT}")


@cache
def known_names(program: str) -> dict[str, set[str]]:
    """Group -> every name, also old ones, under which an option is read from it."""
    known: dict[str, set[str]] = {}
    for group, options in config.GROUPS[program].items():
        for option in options:
            known.setdefault(group, set()).add(option.dest)
            for old in option.deprecated_opts:
                known.setdefault(old.group or group, set()).add((old.name or option.dest).replace("-", "_"))
    return known


def _without_effect(written: str, group: str, name: str, known: dict[str, set[str]]) -> Finding:
    glances = _glances()
    if group in glances["groups"] or name in glances["options"] or name.startswith(tuple(glances["prefixes"])):
        return warning(f"{written} {_NOT_BUILT}; it has no effect")
    for program in config.GROUPS:
        if name in known_names(program).get(group, ()):
            return warning(f"{written} is an option of {program}.conf; it has no effect here")
    # What was probably meant: a name of the same section first, then of any; also this very name.
    for names in (known.get(group, set()), set().union(*known.values())):
        for near in close_to(name, names):
            place = next(other for other in (group, *known) if near in known.get(other, ()))
            return error(f"{written} is not an option (did you mean [{place}] {near}?); it has no effect")
    return error(f"{written} is not an option; it has no effect")


def close_to(word: str, words: Iterable[str]) -> list[str]:
    """The one of ``words`` that was probably meant, or none."""
    return difflib.get_close_matches(word, sorted(words), n=1, cutoff=0.7)


def require_valid(conf: cfg.ConfigOpts) -> None:
    """Raise ``cfg.Error`` for values that are not allowed."""
    if wrong := list(invalid_values(conf)):
        raise cfg.ConfigFileValueError(" ".join(wrong))


def invalid_values(options: Mapping[str, Any], group: str = "DEFAULT") -> Iterator[str]:
    """A sentence about each value that is not allowed: oslo.config itself looks at a value only when it is asked for."""
    for name in options:
        try:
            value = options[name]
        except cfg.ConfigFileValueError as error:  # It has its place as oslo.config's insides know it.
            reason = str(error.__context__)
            if reason.startswith("invalid literal"):
                reason = "it must be a whole number"
            yield f"[{group}] {name} is not allowed: {reason}."
        except cfg.Error:  # It has a part of the value, perhaps of a password, and no place.
            yield f"[{group}] {name} is not allowed: after a $ stands no option. Write $$ for one."
        else:
            if isinstance(value, cfg.ConfigOpts.GroupAttr):
                yield from invalid_values(value, name)
            elif isinstance(value, str) and "\0" in value:
                yield f"[{group}] {name} is not allowed: it has a zero byte."


# ---- who can reach the service -------------------------------------------------------------------------------------


def require_closed_door(conf: cfg.ConfigOpts, addresses: Iterable[Any] | None = None) -> None:
    """Raise ``cfg.Error`` when nobody would be asked who he is and strangers can reach the service.

    ``addresses``: those of sockets that are open already (as ``getsockname`` gives them); default: ``bind_host``.
    """
    if conf.allow_unauthenticated_access or not asks_nobody(conf):
        return
    hosts = [conf.bind_host]
    if addresses is not None:
        hosts = [str(address[0]) if isinstance(address, tuple) else "localhost" for address in addresses]
    flavors = "http_basic or trusted-auth" if "http_basic" in conf else "trusted-auth"
    for host in hosts:
        if not is_loopback(host):
            raise cfg.Error(
                f"[paste_deploy] flavor is empty, so everybody who reaches {host} would be administrator. Set"
                f" flavor to {flavors}, or bind_host to 127.0.0.1, or"
                " allow_unauthenticated_access = True if that is what you want."
            )


def asks_nobody(conf: cfg.ConfigOpts) -> bool:
    """Whether the flavor lets everybody in."""
    return not without_caches(conf.paste_deploy.flavor)


def without_caches(flavor: str | None) -> str:
    """A flavor without the parts of Glance's flavors that add a cache of images, not a way of asking who it is."""
    return "+".join(word for word in (flavor or "").strip().split("+") if word not in ("caching", "cachemanagement"))


def is_loopback(host: str) -> bool:
    """Whether only this host reaches ``host``. Other names than localhost may mean anything."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
