"""The HTTP face of image-registry:

the registry API v1 for whoever speaks it, and the calls of our own image-api.
"""
