"""What image-api and image-registry have in common as commands: arguments, configuration, log, master."""

from __future__ import annotations

import logging
from typing import NoReturn

from oslo_config import cfg

from image_service import config, log
from image_service.cli.command import make_parser, run
from image_service.config_check import require_closed_door, require_valid, unknown_options
from image_service.serving.application import Application, MakeApp, Preload
from image_service.serving.master import Master

LOG = logging.getLogger(__name__)


def serve(name: str, program: str, make_app: MakeApp, preload: Preload) -> NoReturn:
    """Run the server ``name`` (image-api) with the configuration of ``program`` (glance-api); ends the process.

    Exit codes: 0 stopped, 1 it cannot serve, 2 wrong arguments or configuration.
    """
    parser = make_parser(name, "Serves in the foreground until SIGTERM. SIGHUP reloads the configuration.", program)
    parser.add_argument("--debug", "-d", action="store_true", help="log at level DEBUG")
    args = parser.parse_args()

    def read_conf() -> cfg.ConfigOpts:
        conf = config.load(program, args.config_file, args.config_dir)
        if args.debug:
            conf.set_override("debug", True)
        log.setup(conf, name)
        require_valid(conf)
        require_closed_door(conf)
        for finding in unknown_options(conf, program):
            LOG.warning("%s", finding.sentence)
        return conf

    run(name, lambda: Master(Application(name, read_conf, make_app, preload)).run())
