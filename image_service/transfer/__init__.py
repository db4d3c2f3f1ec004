"""Bytes in motion, in constant memory: decode, receive (cap, hash, write), ranges."""
