"""Bytes in motion, in constant memory: decode, cap, digest, ranges."""
