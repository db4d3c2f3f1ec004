"""The HTTP face of image-registry. It stands on the floor of ``api``: it may use ``operations.policy``."""
