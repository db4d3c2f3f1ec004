"""Arguments that every command of ours takes. Apart, because commands need not know of servers."""

from __future__ import annotations

import argparse


def add_config_arguments(parser: argparse.ArgumentParser, program: str) -> None:
    """``--config-file`` and ``--config-dir``; both may be repeated."""
    places = f"~/.glance, ~, /etc/glance or /etc, as {program}.conf and {program}.conf.d"
    parser.add_argument("--config-file", metavar="FILE", action="append", help=f"may be repeated; default: {places}")
    parser.add_argument("--config-dir", metavar="FOLDER", action="append", help="folder of further *.conf files; may be repeated")
