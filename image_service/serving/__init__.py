"""How image-api and image-registry run: one master, worker processes, signals, systemd. Knows nothing of images."""
