"""The HTTP face of image-api: wire formats, routes and middleware."""
