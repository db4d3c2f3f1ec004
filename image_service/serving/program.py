"""What image-api and image-registry have in common as commands: arguments, configuration, log, master."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import NoReturn

from oslo_config import cfg

from image_service import __version__, config, log
from image_service.config_check import require_closed_door, require_valid, unknown_options
from image_service.serving.application import Application, MakeApp, Preload
from image_service.serving.arguments import add_config_arguments
from image_service.serving.master import Master

LOG = logging.getLogger(__name__)


def serve(name: str, program: str, make_app: MakeApp, preload: Preload) -> NoReturn:
    """Run the server ``name`` (image-api) with the configuration of ``program`` (glance-api); ends the process.

    Exit codes: 0 stopped, 1 it cannot serve, 2 wrong arguments.
    """
    args = _parse(name, program)

    def read_conf() -> cfg.ConfigOpts:
        conf = config.load(program, args.config_file, args.config_dir)
        if args.debug:
            conf.set_override("debug", True)
        log.setup(conf, name)
        require_valid(conf, program)
        require_closed_door(conf)
        for warning in unknown_options(conf, program):
            LOG.warning("%s", warning)
        return conf

    try:
        Master(Application(name, read_conf, make_app, preload)).run()
    except (cfg.Error, OSError) as error:
        log.complain(name, str(error))
        sys.exit(1)
    sys.exit(0)


def _parse(name: str, program: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=name, description="Serves in the foreground until SIGTERM. SIGHUP reloads the configuration."
    )
    add_config_arguments(parser, program)
    parser.add_argument("--debug", "-d", action="store_true", help="log at level DEBUG")
    parser.add_argument("--version", action="version", version=__version__)
    return parser.parse_args()
