"""Images API v2: metadata in JSON."""
