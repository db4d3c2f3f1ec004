"""What is known about images: the interface and its two rooms, in-process (database) and over HTTP (client)."""
