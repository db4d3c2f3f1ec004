"""Every option: section, default, help, old names. Sample files, documents and checks are generated from these lists.

Names and defaults are Glance's (``glance-api.conf``, ``glance-registry.conf``), so operators' files keep working; options that
are ours say so in their help. Read once at start; nothing reads the environment or a file later.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from copy import copy
from typing import Any, cast

from oslo_config import cfg

from image_service import __version__

DISK_FORMATS = ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"]
CONTAINER_FORMATS = ["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"]
# shake has no length of its own.
HASHES = sorted(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake"))
_FACILITIES = [
    "AUTH", "CRON", "DAEMON", "KERN", "LPR", "MAIL", "NEWS", "SYSLOG", "USER", "UUCP", *(f"LOCAL{n}" for n in range(8)),
]  # fmt: skip
FACILITIES = [f"{prefix}{name}" for prefix in ("LOG_", "") for name in _FACILITIES]
DEFAULT_DATADIR = "/var/lib/glance/images"
_UNITS = ("B", "KB", "MB", "GB", "TB")


def _bytes(text: str) -> int:
    """``10GB`` -> 10737418240. Units B, KB, MB, GB, TB (powers of 1024)."""
    match = re.fullmatch(r"\s*(\d+)\s*([KMGT]?B)?\s*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is no number of bytes: give digits and one of B, KB, MB, GB, TB, such as 10GB")
    return int(match[1]) << 10 * _UNITS.index((match[2] or "B").upper())


def _old(*places: str) -> list[cfg.DeprecatedOpt]:
    """Where an option is read from as well: GROUP.NAME."""
    return [cfg.DeprecatedOpt(name, group=group) for group, _, name in (place.partition(".") for place in places)]


def _as_in_juno(option: cfg.Opt) -> cfg.Opt:
    """``option`` of stores without names; those of the file store stood in ``[DEFAULT]``."""
    if not option.name.startswith("filesystem_"):
        return option
    option = copy(option)
    option.deprecated_opts = _old(f"DEFAULT.{option.name}")
    return option


SERVER_OPTIONS: list[cfg.Opt] = [
    cfg.HostAddressOpt("bind_host", default="127.0.0.1", help="Address to listen on."),
    cfg.PortOpt("bind_port", help="Port to listen on. Default: 9292 for image-api, 9191 for image-registry."),
    cfg.IntOpt("backlog", default=4096, min=1, max=(1 << 31) - 1, help="Connections that may wait to be accepted."),
    cfg.IntOpt("workers", min=1, help="Worker processes. Default: the number of CPUs, at most 8."),
    cfg.IntOpt("tcp_keepidle", default=600, min=1, max=32767, help="Seconds of silence before TCP keep-alive probes."),
    cfg.IntOpt("max_header_line", default=16384, min=4096, help="Longest header line, in bytes; a property's value must fit."),
    cfg.BoolOpt("http_keepalive", default=True, help="Keep connections open between requests."),
    cfg.IntOpt(
        "client_socket_timeout",
        default=900,
        min=0,
        max=2_000_000,
        help="Seconds of silence after which a client is gone; 0: never.",
    ),
    cfg.IntOpt(
        "graceful_timeout", default=3600, min=1, help="Ours. Seconds that running transfers get after SIGTERM and SIGHUP."
    ),
    cfg.StrOpt("run_dir", default="/run/glance", help="Ours. Folder of the pid files of image-control."),
    cfg.StrOpt("public_endpoint", help="Address of this service as its users write it; default: as the request says (Host)."),
    cfg.BoolOpt(
        "allow_unauthenticated_access",
        default=False,
        help="Ours. With an empty flavor everybody who reaches the service is its administrator, so it listens on loopback"
        " addresses only, unless this is true.",
    ),
]

LOG_OPTIONS: list[cfg.Opt] = [
    cfg.BoolOpt("debug", default=False, help="Log at level DEBUG."),
    cfg.BoolOpt("verbose", default=True, help="Old: level INFO is the default. False logs warnings and worse only."),
    cfg.StrOpt("log_file", deprecated_name="logfile", help="File to log to, rotated at will. Default: standard error."),
    cfg.StrOpt(
        "log_dir",
        deprecated_name="logdir",
        help="Folder that a relative log_file is in. Without log_file it is glance-api.log or glance-registry.log there.",
    ),
    cfg.BoolOpt("use_stderr", default=False, help="Log to standard error as well when a log_file is given."),
    cfg.BoolOpt("use_syslog", default=False, help="Log to syslog as well."),
    cfg.StrOpt(
        "syslog_log_facility",
        default="LOG_USER",
        choices=FACILITIES,
        ignore_case=True,
        help="Syslog facility, with LOG_ or without.",
    ),
    cfg.BoolOpt("use_json", default=False, help="One JSON object a log line."),
    cfg.StrOpt("log_date_format", default="%Y-%m-%d %H:%M:%S", help="Form of the time in log lines (strftime)."),
    cfg.BoolOpt("access_log", default=True, help="Ours. Log one line a request."),
]

REGISTRY_LINK_OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "data_api",
        default="database",
        choices=["database", "registry", "glance.db.sqlalchemy.api", "glance.db.simple.api", "glance.db.registry.api"],
        help="database: this process talks to the database itself. registry: it asks image-registry over HTTP. The long names are"
        " Glance's for the same.",
    ),
    cfg.HostAddressOpt("registry_host", default="127.0.0.1", help="Where image-registry listens (data_api = registry)."),
    cfg.PortOpt("registry_port", default=9191, help="Port of image-registry."),
    cfg.StrOpt("registry_client_protocol", default="http", choices=["http", "https"], help="How to talk to image-registry."),
    cfg.StrOpt("registry_client_ca_file", help="CA certificates that image-registry's certificate is checked against."),
    cfg.BoolOpt("registry_client_insecure", default=False, help="Do not check image-registry's certificate."),
    cfg.IntOpt("registry_client_timeout", default=600, min=1, help="Seconds after which a call to image-registry fails."),
]

API_OPTIONS: list[cfg.Opt] = [
    cfg.BoolOpt("enable_v1_api", default=True, help="Serve the Images API v1."),
    cfg.BoolOpt("enable_v2_api", default=True, help="Serve the Images API v2."),
    cfg.IntOpt("limit_param_default", default=25, min=1, help="Images in a page when a request does not say."),
    cfg.IntOpt("api_limit_max", default=1000, min=1, help="Most images in a page, whatever a request says."),
    cfg.StrOpt("admin_role", default="admin", help="The role that makes an administrator."),
    cfg.BoolOpt("owner_is_tenant", default=True, help="The owner of a new image is the project; else the user."),
    cfg.BoolOpt("allow_anonymous_access", default=False, help="Who is not authenticated may read public images."),
    cfg.IntOpt("max_request_id_length", default=64, help="Longest X-Openstack-Request-Id that is taken from a request."),
    cfg.IntOpt("image_size_cap", default=1 << 40, min=1, max=1 << 63, help="Largest image, in bytes."),
    cfg.IntOpt("image_member_quota", default=128, help="Most members of an image; negative: no limit."),
    cfg.IntOpt("image_property_quota", default=128, help="Most properties of an image; negative: no limit."),
    cfg.IntOpt("image_tag_quota", default=128, help="Most tags of an image; negative: no limit."),
    cfg.Opt(
        "user_storage_quota",
        type=cast(Any, _bytes),  # Any callable will do.
        default="0",
        help="Most bytes of one owner's images, as B, KB, MB, GB or TB; 0: no limit.",
    ),
    cfg.BoolOpt("show_image_direct_url", default=False, help="Show the location of an image's bytes as direct_url (API v2)."),
    cfg.StrOpt("hashing_algorithm", default="sha512", choices=HASHES, ignore_case=True, help="Algorithm of os_hash_value."),
    cfg.IntOpt("http_retries", default=3, min=0, help="How often reading from an http location is tried again."),
    cfg.BoolOpt("delayed_delete", default=False, help="DELETE only marks an image; image-scrubber removes it later."),
    cfg.IntOpt(
        "scrub_time",
        default=0,
        min=0,
        help="Seconds that a marked image is kept (delayed_delete), by the clocks of who marks and who removes: keep them alike.",
    ),
    cfg.IntOpt("scrub_pool_size", default=1, min=1, help="Images that image-scrubber removes at the same time."),
    cfg.IntOpt("wakeup_time", default=300, min=1, help="Seconds between two passes of image-scrubber --daemon."),
    cfg.IntOpt(
        "upload_lease",
        default=90,
        min=2,
        help="Ours. Seconds without a sign of life after which an upload is dead. The same on all hosts; a smaller number takes a"
        " restart of all of them, for a reload leaves running uploads with the old one.",
    ),
    cfg.DictOpt("enabled_backends", help="Stores by name: NAME:KIND,... with a section [NAME] for each."),
]

DATABASE_OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "connection",
        secret=True,
        deprecated_opts=_old("DEFAULT.sql_connection", "database.sql_connection", "DEFAULT.connection"),
        help="URL of the database: mysql://USER:PASSWORD@HOST/glance (PyMySQL is used) or sqlite:////ABSOLUTE/PATH.",
    ),
    cfg.IntOpt(
        "max_pool_size",
        default=5,
        min=1,
        deprecated_opts=_old("DEFAULT.sql_max_pool_size"),
        help="Connections kept open by each worker.",
    ),
    cfg.IntOpt(
        "max_overflow",
        default=10,
        min=0,
        deprecated_opts=_old("DEFAULT.sql_max_overflow"),
        help="Further connections that a worker opens when it needs them.",
    ),
    cfg.IntOpt("pool_timeout", default=30, min=1, help="Seconds to wait for a free connection."),
    cfg.IntOpt(
        "max_retries",
        default=10,
        deprecated_opts=_old("DEFAULT.sql_max_retries"),
        help="How often the first connection is tried; -1: for ever.",
    ),
    cfg.IntOpt(
        "retry_interval", default=10, min=0, deprecated_opts=_old("DEFAULT.sql_retry_interval"), help="Seconds between two tries."
    ),
    cfg.IntOpt(
        "connection_recycle_time",
        default=3600,
        deprecated_opts=_old("database.idle_timeout", "DEFAULT.sql_idle_timeout"),
        help="Seconds after which a connection is replaced by a new one.",
    ),
    cfg.StrOpt(
        "ssl_ca",
        help="Ours. CA certificates that a MySQL server's certificate is checked against; makes TLS a must. Without"
        " it there is no TLS to a server on this host, and to others where they know it.",
    ),
]

API_SECTION_OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "sendfile_header",
        default="",
        help="Ours. Let the proxy in front send a file store's bytes: X-Accel-Redirect:/PREFIX for nginx, where the internal"
        " location PREFIX is the root of the file system. Only requests of API v2 get it, if the proxy marks them with"
        " X-Sendfile-Type.",
    ),
]

PASTE_OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt("flavor", default="", help="Who is asked for what: empty (nobody is asked), http_basic or trusted-auth."),
    cfg.StrOpt("config_file", help="Old: the place of a paste file. Not read."),
]

HTTP_BASIC_OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "identity_file",
        default="/etc/glance/identities.json",
        help='Ours. JSON object: user -> {"project": "...", "roles": ["..."]}; beside the file of passwords.',
    ),
    cfg.StrOpt("realm", default="image", help="Ours. The realm that a client is told."),
    cfg.IntOpt("cache_time", default=300, min=0, help="Ours. Seconds for which a checked password is remembered (hashed)."),
]
OSLO_MIDDLEWARE_OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt("http_basic_auth_user_file", default="/etc/glance/htpasswd", help="Users and bcrypt hashes (htpasswd -B)."),
    cfg.BoolOpt("enable_proxy_headers_parsing", default=False, help="Believe a proxy's X-Forwarded-Proto, -Host, -Prefix, -For."),
]
TRUSTED_AUTH_OPTIONS: list[cfg.Opt] = [
    cfg.ListOpt(
        "trusted_addresses",
        default=["127.0.0.1", "::1"],
        help="Ours. Addresses and networks whose X-Identity-Status, X-User-Id, X-Project-Id and X-Roles headers are believed.",
    ),
]
LINK_SECRET_OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "secret_file",
        default="/etc/glance/registry.secret",
        help="Ours. File with the secret that image-api shows image-registry; the same on both sides, mode 0600 or 0640."
        " image-manage registry-secret makes one.",
    ),
]
IMAGE_FORMAT_OPTIONS: list[cfg.Opt] = [
    cfg.ListOpt("disk_formats", default=DISK_FORMATS, deprecated_group="DEFAULT", help="Values of disk_format."),
    cfg.ListOpt("container_formats", default=CONTAINER_FORMATS, deprecated_group="DEFAULT", help="Values of container_format."),
]

STORES_OPTIONS: list[cfg.Opt] = [
    cfg.ListOpt(
        "stores",
        default=["file", "http"],
        deprecated_opts=_old("DEFAULT.known_stores"),
        help="Stores without names: file, http. Old driver paths (glance.store.filesystem.Store) are read as these.",
    ),
    cfg.StrOpt(
        "default_store", default="file", deprecated_opts=_old("DEFAULT.default_store"), help="The store that new images go to."
    ),
    cfg.StrOpt("default_backend", help="The store that new images go to, where enabled_backends gives names."),
]
STORE_OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt("store_description", help="What GET /v2/info/stores tells about the store."),
    cfg.IntOpt("weight", default=0, help="Of several stores that have an image, the one with the highest weight is read."),
    cfg.StrOpt(
        "filesystem_store_datadir", help="Folder of a file store. Default: /var/lib/glance/images, or .../NAME with a name."
    ),
    cfg.MultiStrOpt("filesystem_store_datadirs", help="Several folders, PATH:PRIORITY; the highest is filled first."),
    cfg.StrOpt("filesystem_store_metadata_file", help="JSON file with id and mountpoint, kept with each location."),
    cfg.IntOpt("filesystem_store_file_perm", default=0, help="Mode of an image's file, in octal digits; 0: as the umask says."),
    cfg.IntOpt("filesystem_store_chunk_size", default=65536, min=4096, help="Bytes read at a time where sendfile is impossible."),
    cfg.BoolOpt("filesystem_thin_provisioning", default=False, help="Blocks of zeros become holes."),
    cfg.StrOpt("https_ca_certificates_file", help="CA certificates for https locations. Default: the system's at the start."),
    cfg.BoolOpt(
        "https_insecure", default=False, help="Do not check certificates of https locations. (Glance's default is True.)"
    ),
    cfg.ListOpt(
        "http_allowed_networks",
        default=[],
        help="Ours. Networks that a location or copy-from URL may lead to although they are private, loopback or link-local."
        " Private and loopback ones are open anyway while the flavor is empty and allow_unauthenticated_access is false.",
    ),
    cfg.ListOpt("http_denied_networks", default=[], help="Ours. Networks that a location or copy-from URL may never lead to."),
]

API_GROUPS: dict[str, list[cfg.Opt]] = {
    "DEFAULT": [*SERVER_OPTIONS, *LOG_OPTIONS, *REGISTRY_LINK_OPTIONS, *API_OPTIONS],
    "api": API_SECTION_OPTIONS,
    "database": DATABASE_OPTIONS,
    "paste_deploy": PASTE_OPTIONS,
    "oslo_middleware": OSLO_MIDDLEWARE_OPTIONS,
    "http_basic": HTTP_BASIC_OPTIONS,
    "trusted_auth": TRUSTED_AUTH_OPTIONS,
    "registry_link": LINK_SECRET_OPTIONS,
    "image_format": IMAGE_FORMAT_OPTIONS,
    "glance_store": [*STORES_OPTIONS, *map(_as_in_juno, STORE_OPTIONS)],
}
REGISTRY_GROUPS: dict[str, list[cfg.Opt]] = {
    "DEFAULT": [
        *SERVER_OPTIONS,
        *LOG_OPTIONS,
        *[o for o in API_OPTIONS if o.name in ("limit_param_default", "api_limit_max", "admin_role", "owner_is_tenant")],
    ],
    **{group: API_GROUPS[group] for group in ("database", "paste_deploy", "trusted_auth", "registry_link")},
}
GROUPS = {"glance-api": API_GROUPS, "glance-registry": REGISTRY_GROUPS}
DEFAULT_PORTS = {"glance-api": 9292, "glance-registry": 9191}


def load(program: str, files: Sequence[str] | None = None, dirs: Sequence[str] | None = None) -> cfg.ConfigOpts:
    """Read the configuration of ``program``.

    ``files`` and ``dirs`` replace the search (``~/.glance``, ``~``, ``/etc/glance``, ``/etc``). With ``files`` alone each has its
    own folder beside it (``FILE.d``): who tries something out must not get the database of an installed service, whose folder
    oslo.config would read. Raises oslo.config's ``cfg.Error`` with a sentence for a file that is missing or a value that is not
    allowed. A section for each of ``enabled_backends`` is registered.
    """
    conf = cfg.ConfigOpts()
    for group, options in GROUPS[program].items():
        conf.register_opts(options, group=None if group == "DEFAULT" else group)
    if files is not None and dirs is None:
        dirs = [folder for folder in (f"{file}.d" for file in files) if os.path.isdir(folder)]
    places = {"default_config_files": files, "default_config_dirs": dirs}
    given: dict[str, Any] = {place: list(map(os.path.abspath, names)) for place, names in places.items() if names is not None}
    for folder in dirs or ():
        if not os.path.isdir(folder):
            raise cfg.ConfigDirNotFoundError(folder)
    try:
        conf([], project="glance", prog=program, version=__version__, **given)
    except (UnicodeDecodeError, OSError) as error:
        raise cfg.Error(f"A configuration file cannot be read: {error}.") from None
    conf.set_default("bind_port", DEFAULT_PORTS[program])
    conf.set_default("workers", min(os.cpu_count() or 1, 8))
    for name in (conf.enabled_backends or {}) if program == "glance-api" else {}:
        if name in GROUPS[program]:
            raise cfg.Error(f"[DEFAULT] enabled_backends = {name}: a store's options stand in [{name}]; give it another name.")
        conf.register_opts(STORE_OPTIONS, group=name)
    return conf


def asks_registry(conf: cfg.ConfigOpts) -> bool:
    """Whether a process has the registry over HTTP (``data_api``, also in Glance's long name); image-registry never has."""
    return "data_api" in conf and "registry" in conf.data_api
