"""Images API v1: metadata in headers."""
