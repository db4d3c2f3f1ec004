"""Image service: a compact image API and registry, wire-compatible with OpenStack Glance."""

from __future__ import annotations

__version__ = "0.1.0"
