"""``image-manage config check`` and ``image-manage registry-secret``.

Unknown options, paths, secrets, combinations that are not safe: every finding says what to change. Nothing here connects to
anything. Exit codes of ``config check``: 0 the service can start with it (warnings may be printed), 1 it could not, or not
safely, 2 the file cannot be read.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from oslo_config import cfg

from image_service import config, config_check, log
from image_service.api.middleware.authentication import base_flavor, parse_networks
from image_service.api.middleware.http_basic import parse_identities, parse_passwords
from image_service.config_check import Finding, error, warning
from image_service.registry.engine import Database
from image_service.registry.secret import make_secret, read_secret
from image_service.store.filesystem import FilesystemStore
from image_service.store.stores import Stores


def check_config(args: argparse.Namespace) -> int:
    """Print what there is to say; the exit code."""
    files = [args.file] if args.file else args.config_file
    program = args.program or program_of(files)
    found = list(findings(config.load(program, files, args.config_dir), program))
    for finding in found:
        print(f"{finding.level}: {finding.sentence}", file=sys.stderr if finding.level == "error" else sys.stdout)
    errors = sum(finding.level == "error" or args.strict for finding in found)
    names = ", ".join(files or config.load(program).config_file or []) or "no file, defaults only"
    warnings = len(found) - errors
    print(f"{program} ({names}): {errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    return 1 if errors else 0


def program_of(files: list[str] | None) -> str:
    """Whose a file is, by its name."""
    return "glance-registry" if any("registry" in Path(name).name for name in files or []) else "glance-api"


def make_secret_file(args: argparse.Namespace) -> int:
    """Make the secret of image-api and image-registry; the exit code."""
    path = args.file or config.load("glance-api", args.config_file, args.config_dir).registry_link.secret_file
    try:
        make_secret(path)
    except FileExistsError:
        print(f"{path} exists. Remove it first if image-api and image-registry shall get a new secret.", file=sys.stderr)
        return 1
    print(f"{os.path.abspath(path)} was made; copy it to every host of image-api and image-registry")
    return 0


# ---- what is looked at ----------------------------------------------------------------------------------------


def findings(conf: cfg.ConfigOpts, program: str) -> Iterator[Finding]:
    """Everything there is to say; of values that are not allowed only that, for nothing can be done with them."""
    if wrong := list(config_check.invalid_values(conf)):
        yield from map(error, wrong)
        return
    yield from config_check.unknown_options(conf, program)
    checks = [_door(conf), _database(conf), _log(conf), _readers(conf), _who_asks(conf)]
    checks += [_stores(conf), _formats(conf), _api(conf)] if program == "glance-api" else [_secret(conf)]
    for check in checks:
        try:
            yield from check
        except (cfg.Error, ValueError) as wrong_value:  # what the service itself would say when it starts
            yield error(str(wrong_value))


def _door(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    config_check.require_closed_door(conf)
    if config_check.asks_nobody(conf) and not config_check.is_loopback(conf.bind_host):
        yield warning(f"everybody who reaches {conf.bind_host}:{conf.bind_port} is administrator, as you allowed")


def _database(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    connection = conf.database.connection
    if config.asks_registry(conf):
        if connection:
            unused = "[database] connection is not used with data_api = registry"
            yield warning(f"{unused}; take it out, so that this host does not know the password")
        yield from _secret(conf)
        return
    if not connection:
        yield error("[database] connection is not set: mysql://USER:PASSWORD@HOST/glance, or sqlite:////ABSOLUTE/PATH")
        return
    url = Database(connection, ssl_ca=conf.database.ssl_ca).engine.url
    if url.get_backend_name() == "sqlite":
        yield from _sqlite(Path(url.database or ""))
    elif not url.database:
        yield error("[database] connection names no database: write mysql://USER:PASSWORD@HOST/glance")
    elif url.password is None:
        yield warning("[database] connection has no password")
    elif url.host and not config_check.is_loopback(url.host) and not conf.database.ssl_ca:
        yield warning(f"[database] ssl_ca is not set: the password goes to {url.host} without TLS")


def _sqlite(file: Path) -> Iterator[Finding]:
    if not file.is_absolute():
        yield error(f"[database] connection: write the whole path, sqlite:///{file.absolute()}; a server has another folder")
    yield from _writable_folder(file.parent, "[database] connection")
    if file.is_dir():
        yield error(f"[database] connection: {file} is a folder: name a file in it")
    elif file.exists() and not os.access(file, os.R_OK | os.W_OK):
        yield error(f"[database] connection: {file} cannot be written by this user: chown it to the service's")


def _log(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    path = log.log_path(conf)
    if path is None:
        return
    if not os.path.isabs(path):
        yield error(f"log_file = {path}: write the whole path, or that of log_dir")
    elif not os.path.exists(path):
        yield from _writable_folder(Path(path).parent, "log_file")
    elif not os.access(path, os.W_OK):
        yield error(f"log_file: {path} cannot be written by {_me()}")


def _readers(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    """Files with secrets that everybody on the host may read."""
    for file in config_check.files_of(conf):
        lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
        text = "\n".join(line for line in lines if not line.startswith(("#", ";")))
        if os.stat(file).st_mode & stat.S_IROTH and log.redact(text) != text:
            yield error(f"{file} holds a password and everybody may read it: chmod 0640 {file}")


def _who_asks(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    flavor = base_flavor(conf)
    networks = parse_networks(conf.trusted_auth.trusted_addresses)
    if flavor == "trusted-auth" and any(network.prefixlen == 0 for network in networks):
        yield error("[trusted_auth] trusted_addresses trusts everybody: list the proxy in front only")
    if flavor == "http_basic":
        yield from _users(conf)


def _users(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    hint = "make the first user with: image-manage user add NAME --project PROJECT --role admin"
    for option, path, parse in (
        ("[oslo_middleware] http_basic_auth_user_file", conf.oslo_middleware.http_basic_auth_user_file, parse_passwords),
        ("[http_basic] identity_file", conf.http_basic.identity_file, parse_identities),
    ):
        try:
            parse(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            yield warning(f"{option}: {path} is not there yet, and the service does not start without it; {hint}")
        except (OSError, ValueError) as unreadable:
            yield error(f"{option}: {path}: {unreadable}")
        else:
            if os.stat(path).st_mode & (stat.S_IROTH | stat.S_IWOTH):
                yield error(f"{option}: everybody may read {path}: chmod 0640 {path}")


def _stores(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    for store in Stores.from_config(conf).all():
        for folder, _ in store.datadirs if isinstance(store, FilesystemStore) else ():
            yield from _writable_folder(folder, "the folder of a file store", made=True)


def _formats(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    for option, known in (("disk_formats", config.DISK_FORMATS), ("container_formats", config.CONTAINER_FORMATS)):
        for word in getattr(conf.image_format, option):
            if word not in known:
                hint = "".join(f" (did you mean {near}?)" for near in config_check.close_to(word, known))
                yield warning(f"[image_format] {option}: {word} is none of Glance's formats{hint}")


def _api(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    if not (conf.enable_v1_api or conf.enable_v2_api):
        yield error("enable_v1_api and enable_v2_api are both off: nothing would be served")
    if conf.public_endpoint and not conf.public_endpoint.startswith(("http://", "https://")):
        yield error(f"public_endpoint = {conf.public_endpoint}: write http://HOST:PORT or https://HOST")
    if conf.oslo_middleware.enable_proxy_headers_parsing and not config_check.is_loopback(conf.bind_host):
        yield warning("enable_proxy_headers_parsing believes X-Forwarded-* of everybody who reaches bind_host")
    if conf.limit_param_default > conf.api_limit_max:
        yield warning(f"limit_param_default = {conf.limit_param_default} is cut to api_limit_max = {conf.api_limit_max}")
    header = conf.api.sendfile_header
    if header and not header.startswith("X-Accel-Redirect:/"):
        yield error(f"[api] sendfile_header = {header}: write X-Accel-Redirect:/PREFIX")
    if conf.owner_is_tenant is False:
        yield warning("owner_is_tenant = False is gone from Glance: its newer releases refuse it")


def _secret(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    path = conf.registry_link.secret_file
    if os.path.exists(path):
        read_secret(path)
    else:
        yield warning(f"[registry_link] secret_file: {path} is not there yet; image-manage registry-secret makes it")


def _writable_folder(folder: Path, what: str, *, made: bool = False) -> Iterator[Finding]:
    """An error unless the folder can be written; ``made``: or the service can make it."""
    found = next(place for place in (folder, *folder.parents) if place.exists() or place == place.parent)
    may = os.access(found, os.W_OK | os.X_OK)
    if not found.is_dir():
        yield error(f"{what}: {found} is no folder")
    elif found != folder:
        sentence = f"{what}: {folder} is not there: install -d -o glance -g glance -m 0750 {folder}"
        yield warning(sentence) if made and may else error(sentence)
    elif not may:
        yield error(f"{what}: {found} cannot be written by {_me()}")


def _me() -> str:
    return f"user {os.geteuid()}"
