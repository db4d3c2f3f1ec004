"""What can be done to images, in the domain's words. Every rule stands here once, for API v1, API v2 and the registry."""
