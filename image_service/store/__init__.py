"""Where the bytes of images are: the interface, and one module for each kind of store."""
