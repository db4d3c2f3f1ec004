"""What gunicorn is told: our configuration in its words, our log as its own, the application that each worker makes."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from oslo_config.cfg import ConfigOpts

from image_service.serving.accepting import Loads
from image_service.serving.worker import Worker

# A worker whose event loop stands still for so many seconds is killed. Draining ones keep their heart beating.
HEARTBEAT_TIMEOUT = 120

MakeApp = Callable[[ConfigOpts], Awaitable[web.Application]]
Preload = Callable[[ConfigOpts], None]


class GunicornLog(logging.LoggerAdapter[logging.Logger]):
    """What gunicorn wants to say, said by our log."""

    def __init__(self, _settings: Any) -> None:
        super().__init__(logging.getLogger("gunicorn"), {})

    def close_on_exec(self) -> None:
        """Nothing: files are opened so."""


@dataclass
class Application(BaseApplication):
    """What master and workers know of the program that they run. ``conf``: the configuration that new workers get."""

    name: str
    read_conf: Callable[[], ConfigOpts]
    make_app: MakeApp
    preload: Preload

    def __post_init__(self) -> None:
        self.conf = self.read_conf()
        self.loads = Loads()
        self.cfg = _settings(self.name, self.conf)


def _settings(name: str, conf: ConfigOpts) -> Config:
    """Our configuration in gunicorn's words."""
    host = f"[{conf.bind_host}]" if ":" in conf.bind_host else conf.bind_host
    words = {
        "bind": [f"{host}:{conf.bind_port}"],
        "backlog": conf.backlog,
        "workers": conf.workers,
        "worker_class": Worker,
        "timeout": HEARTBEAT_TIMEOUT,
        "proc_name": name,
        "logger_class": GunicornLog,
        "control_socket_disable": True,
        # A heartbeat must not wait for a disk.
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,  # noqa: S108 - unlinked at once
    }
    settings = Config(prog=name)
    for setting, value in words.items():
        settings.set(setting, value)
    return settings
