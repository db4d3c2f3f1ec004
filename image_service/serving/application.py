"""What gunicorn is told: our configuration in its words, our log as its own, the application that each worker makes."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from gunicorn.app.base import BaseApplication
from oslo_config import cfg

from image_service.serving.accepting import Loads
from image_service.serving.worker import Worker

# A worker whose event loop stands still for so many seconds is killed. Draining ones keep their heart beating.
HEARTBEAT_TIMEOUT = 120

MakeApp = Callable[[cfg.ConfigOpts], Awaitable[web.Application]]
Preload = Callable[[cfg.ConfigOpts], None]


class GunicornLog:
    """What gunicorn wants to say, said by our log."""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg
        for name in ("debug", "info", "warning", "error", "critical", "exception", "log"):
            setattr(self, name, getattr(logging.getLogger("gunicorn"), name))

    def setup(self, cfg: Any) -> None:
        """Nothing: the application has done it."""

    def reopen_files(self) -> None:
        """Nothing: a rotated file is noticed."""

    def close_on_exec(self) -> None:
        """Nothing: files are opened so."""


class Application(BaseApplication):
    """Our configuration in gunicorn's words, and the application that each worker makes."""

    def __init__(self, name: str, read_conf: Callable[[], cfg.ConfigOpts], make_app: MakeApp, preload: Preload) -> None:
        self.name = name
        self.preload = preload
        self.read_conf = read_conf
        self.make_app = make_app
        self.conf = read_conf()
        self.loads = Loads()
        super().__init__(prog=name)

    def load_config(self) -> None:
        """Called by gunicorn at the start and at each reload."""
        conf = self.conf
        host = f"[{conf.bind_host}]" if ":" in conf.bind_host else conf.bind_host
        settings = {
            "bind": [f"{host}:{conf.bind_port}"],
            "backlog": conf.backlog,
            "workers": conf.workers,
            "worker_class": Worker,
            "timeout": HEARTBEAT_TIMEOUT,
            "graceful_timeout": conf.graceful_timeout,
            "proc_name": self.name,
            "logger_class": GunicornLog,
            "control_socket_disable": True,
            # A heartbeat must not wait for a disk.
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,  # noqa: S108 - unlinked at once
        }
        for setting, value in settings.items():
            self.cfg.set(setting, value)

    def load(self) -> Any:
        """For gunicorn; the worker calls ``make_app`` itself."""
        return self.make_app
