"""What ``image-manage config check`` looks at: unknown options, paths, secrets, combinations that are not safe.

Every finding says what to change. Nothing here connects to anything, or makes anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from oslo_config import cfg

from image_service import config, log
from image_service.config_check import (
    NOT_BUILT,
    OF_OTHER,
    asks_nobody,
    files_of,
    is_loopback,
    nearest,
    require_closed_door,
    require_valid,
    unknown_options,
)

NO_CONNECTION = "[database] connection is not set: mysql://USER:PASSWORD@HOST/glance, or sqlite:////ABSOLUTE/PATH"


@dataclass(frozen=True, slots=True)
class Finding:
    """An ``error`` keeps the service from starting, or makes it unsafe; a ``warning`` is worth a look."""

    level: Literal["error", "warning"]
    sentence: str


def findings(conf: cfg.ConfigOpts, program: str) -> Iterator[Finding]:
    """Everything there is to say. ``cfg.Error`` for a value that is not allowed: nothing else can be said then."""
    require_valid(conf, program)
    for sentence in unknown_options(conf, program):
        yield Finding("warning" if NOT_BUILT in sentence or OF_OTHER in sentence else "error", sentence)
    try:
        require_closed_door(conf)
    except cfg.Error as error:
        yield Finding("error", str(error))
    yield from _database(conf, program)
    yield from _log(conf)
    yield from _readers(conf)
    yield from _who_asks(conf, program)
    if program == "glance-api":
        yield from _stores(conf)
        yield from _formats(conf)
        yield from _api(conf)
    else:
        yield from _secret(conf)


def _database(conf: cfg.ConfigOpts, program: str) -> Iterator[Finding]:
    connection = conf.database.connection
    if program == "glance-api" and conf.data_api == "registry":
        if connection:
            what = "[database] connection is not used with data_api = registry"
            yield Finding("warning", f"{what}; take it out, so that this host does not know the password")
        yield from _secret(conf)
    elif not connection:
        yield Finding("error", NO_CONNECTION)
    else:
        yield from _database_url(conf, connection)


def _database_url(conf: cfg.ConfigOpts, connection: str) -> Iterator[Finding]:
    from image_service.registry.engine import database_url

    try:
        url = database_url(connection)
    except ValueError as error:
        yield Finding("error", str(error))
        return
    if url.get_backend_name() == "sqlite":
        yield from _writable_folder(Path(url.database or "").parent, "[database] connection")
    elif not url.database:
        yield Finding("error", "[database] connection names no database: write mysql://USER:PASSWORD@HOST/glance")
    elif url.password is None:
        yield Finding("warning", "[database] connection has no password")
    elif url.host and not is_loopback(url.host) and not conf.database.ssl_ca:
        yield Finding("warning", f"[database] ssl_ca is not set: the password goes to {url.host} without TLS")


def _log(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    path = log.log_path(conf)
    if path is None:
        return
    if not os.path.isabs(path):
        yield Finding("error", f"log_file = {conf.log_file}: give the whole path, or log_dir")
    elif os.path.exists(path):
        if not os.access(path, os.W_OK):
            yield Finding("error", f"log_file: {path} cannot be written by {_me()}")
    else:
        yield from _writable_folder(Path(path).parent, "log_file")


def _readers(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    """Files with secrets that everybody on the host may read."""
    for file in files_of(conf):
        text = Path(file).read_text(encoding="utf-8", errors="replace")
        if os.stat(file).st_mode & stat.S_IROTH and log.redact(text) != text:
            yield Finding("error", f"{file} holds a password and everybody may read it: chmod 0640 {file}")


def _who_asks(conf: cfg.ConfigOpts, program: str) -> Iterator[Finding]:
    from image_service.api.middleware.authentication import base_flavor
    from image_service.api.middleware.trusted import parse_networks

    try:
        flavor = base_flavor(conf.paste_deploy.flavor)
        networks = parse_networks(conf.trusted_auth.trusted_addresses)
    except cfg.Error as error:
        yield Finding("error", str(error))
        return
    if flavor == "trusted-auth" and any(network.prefixlen == 0 for network in networks):
        yield Finding("error", "[trusted_auth] trusted_addresses trusts everybody: list the proxy in front only")
    if flavor == "http_basic" and program == "glance-registry":
        yield Finding("error", "[paste_deploy] flavor: image-registry has the flavors empty and trusted-auth only")
    elif flavor == "http_basic":
        yield from _users(conf)
    if asks_nobody(conf) and not is_loopback(conf.bind_host) and conf.allow_unauthenticated_access:
        yield Finding("warning", f"everybody who reaches {conf.bind_host}:{conf.bind_port} is administrator, as you allowed")
    if "cach" in (conf.paste_deploy.flavor or ""):
        yield Finding("warning", f"[paste_deploy] flavor = {conf.paste_deploy.flavor}: this release has no cache of images")


def _users(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    from image_service.api.middleware.identities import parse_identities, parse_passwords

    hint = "make the first user with: image-manage user add NAME --project PROJECT --role admin"
    for option, path, parse in (
        ("[oslo_middleware] http_basic_auth_user_file", conf.oslo_middleware.http_basic_auth_user_file, parse_passwords),
        ("[http_basic] identity_file", conf.http_basic.identity_file, parse_identities),
    ):
        try:
            parse(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            yield Finding("warning", f"{option}: {path} is not there yet, and the service does not start without it; {hint}")
        except (OSError, ValueError) as error:
            yield Finding("error", f"{option}: {path}: {error}")
        else:
            yield from _closed_file(path, option)


def _stores(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    from image_service.store.stores import folders

    try:
        for folder in folders(conf):
            yield from _writable_folder(Path(folder), "the folder of a file store", made=True)
    except cfg.Error as error:
        yield Finding("error", str(error))


def _formats(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    for option, known in (("disk_formats", config.DISK_FORMATS), ("container_formats", config.CONTAINER_FORMATS)):
        for word in getattr(conf.image_format, option):
            if word not in known:
                yield Finding("warning", f"[image_format] {option}: {word} is none of Glance's formats{nearest(word, known)}")


def _api(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    if not (conf.enable_v1_api or conf.enable_v2_api):
        yield Finding("error", "enable_v1_api and enable_v2_api are both off: nothing would be served")
    if conf.public_endpoint and not conf.public_endpoint.startswith(("http://", "https://")):
        yield Finding("error", f"public_endpoint = {conf.public_endpoint}: write http://HOST:PORT or https://HOST")
    if conf.oslo_middleware.enable_proxy_headers_parsing and not is_loopback(conf.bind_host):
        yield Finding("warning", "enable_proxy_headers_parsing believes X-Forwarded-* of everybody who reaches bind_host")
    if conf.limit_param_default > conf.api_limit_max:
        yield Finding(
            "warning", f"limit_param_default = {conf.limit_param_default} is cut to api_limit_max = {conf.api_limit_max}"
        )
    header = conf.api.sendfile_header
    if header and not header.startswith("X-Accel-Redirect:/"):
        yield Finding("error", f"[api] sendfile_header = {header}: write X-Accel-Redirect:/PREFIX")
    if conf.owner_is_tenant is False:
        yield Finding("warning", "owner_is_tenant = False is gone from Glance: its newer releases refuse it")


def _secret(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    from image_service.registry.secret import BadSecret, read_secret

    path = conf.registry_link.secret_file
    if not os.path.exists(path):
        yield Finding("warning", f"[registry_link] secret_file: {path} is not there yet; image-manage registry-secret makes it")
        return
    try:
        read_secret(path)
    except BadSecret as error:
        yield Finding("error", str(error))


def _writable_folder(folder: Path, what: str, *, made: bool = False) -> Iterator[Finding]:
    """An error unless the folder can be written; ``made``: or the service can make it."""
    found = folder
    while not found.exists() and found != found.parent:
        found = found.parent
    if not found.is_dir():
        yield Finding("error", f"{what}: {found} is no folder")
    elif not os.access(found, os.W_OK | os.X_OK):
        yield Finding("error", f"{what}: {found} cannot be written by {_me()}")
    elif found != folder:
        yield Finding(
            "warning" if made else "error", f"{what}: {folder} is not there: install -d -o glance -g glance -m 0750 {folder}"
        )


def _closed_file(path: str, option: str) -> Iterator[Finding]:
    if os.stat(path).st_mode & (stat.S_IROTH | stat.S_IWOTH):
        yield Finding("error", f"{option}: everybody may read {path}: chmod 0640 {path}")


def _me() -> str:
    return f"user {os.geteuid()}"
