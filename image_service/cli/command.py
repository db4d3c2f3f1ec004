"""What all commands have in common: the arguments that name a configuration, and how they end."""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import NoReturn

from oslo_config import cfg

from image_service import __version__, log
from image_service.errors import ImageServiceError, InvalidValue


def make_parser(name: str, description: str, *programs: str) -> argparse.ArgumentParser:
    """A parser of ``--config-file`` and ``--config-dir`` (of ``programs``), which may be repeated, and of ``--version``."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    names = ", or ".join(f"{program}.conf and {program}.conf.d" for program in programs)
    places = f"~/.glance, ~, /etc/glance or /etc, as {names}"
    parser.add_argument("--config-file", metavar="FILE", action="append", help=f"may be repeated; default: {places}")
    parser.add_argument(
        "--config-dir", metavar="FOLDER", action="append", help="folder of further *.conf files; may be repeated; default: FILE.d"
    )
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def run(name: str, work: Callable[[], int | None]) -> NoReturn:
    """End the process with what ``work`` returns (None is 0), or with a sentence: 1 it failed, 2 what it was given is wrong."""
    gc.freeze()
    gc.enable()
    _occupy_standard_streams()
    log.leave_out_traces()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        sys.exit(work())
    except (cfg.NoSuchOptError, cfg.NoSuchGroupError, cfg.TemplateSubstitutionError):
        # Its own words may hold a part of a password.
        log.complain(name, "A value of the configuration has a $ and then no option: image-manage config check says which.")
        sys.exit(2)
    except (cfg.Error, ImageServiceError, OSError) as error:
        log.complain(name, re.sub(r"from LocationInfo\(.*, detail='(.*)'\)", r"in \1", str(error)))
        sys.stdout = None  # What it could not write Python would try to write again.
        sys.exit(2 if isinstance(error, (cfg.Error, InvalidValue)) else 1)


def _occupy_standard_streams() -> None:
    """Where one is closed, an image or a client would get its number, and what is written to standard error."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
