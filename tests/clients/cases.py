"""Which blocks of the page are run against which service. test_page.py fails when a block is in none of these."""

from __future__ import annotations

# Client, what is run before its session, flavor of the service.
SESSIONS = [
    ("curl", ["curl/none"], "none"),
    ("curl", ["curl/http_basic"], "http_basic"),
    ("curl", ["curl/trusted-auth"], "trusted-auth"),
    ("curl v1", ["curl/none"], "none"),
    ("curl v1", ["curl/http_basic"], "http_basic"),
    ("curl v1", ["curl/trusted-auth"], "trusted-auth"),
    ("glance", ["glance/none"], "none"),
    ("glance", ["glance/http_basic"], "http_basic"),
    ("glance v1", ["glance/none", "glance v1/version"], "none"),
    ("glance v1", ["glance/http_basic by netrc", "glance v1/version"], "http_basic"),
    ("glanceclient", ["glanceclient/none"], "none"),
    ("glanceclient", ["glanceclient/http_basic"], "http_basic"),
    ("glanceclient v1", ["glanceclient v1/none"], "none"),
    ("glanceclient v1", ["glanceclient v1/http_basic"], "http_basic"),
    ("openstack", ["openstack/clouds"], "none"),
    ("openstack", ["openstack/http_basic by variables"], "http_basic"),
    ("openstacksdk", ["openstacksdk/clouds"], "none"),
    ("openstacksdk", ["openstacksdk/clouds"], "http_basic"),
    ("ansible", ["ansible/play"], "none"),
    ("ansible", ["ansible/play"], "http_basic"),
]

_ALL = {"create", "look", "change", "share", "lock", "unlock", "download", "delete"}
# API v1 knows nothing of hidden images and deactivation; Ansible's module has neither members nor a download.
STEPS_OF = {
    "curl": _ALL,
    "curl v1": _ALL - {"lock", "unlock"},
    "glance": _ALL | {"two steps"},
    "glance v1": _ALL - {"lock", "unlock"},
    "glanceclient": _ALL,
    "glanceclient v1": _ALL - {"lock", "unlock"},
    "openstack": _ALL,
    "openstacksdk": _ALL,
    "ansible": _ALL - {"share", "download"} | {"same"},
}
# With user and password these go a shorter way: they take up to a second for each command, and how a client says who asks is the
# same for all of its requests.
SHORT = {
    "glance": {"create", "look", "download", "delete"},
    "glance v1": {"create", "look", "delete"},
    "openstack": {"create", "share", "delete"},
    "ansible": {"create", "delete"},
}

# A further configuration, the command that lists images' names, flavor of the service.
_PRINT = "print([image.name for image in cloud.image.images()])"
CONFIGURATIONS = [
    ("openstack/clouds", "openstack image list", "http_basic"),
    ("openstack/none by variables", "openstack image list", "none"),
    ("openstacksdk/none by arguments", _PRINT, "none"),
    ("openstacksdk/http_basic by arguments", _PRINT, "http_basic"),
]

# What the page says is refused, and the flavor of the service that refuses it. The block's last line has the client's answer.
FAILURES = {
    "fails/openstack none": "none",
    "fails/openstack http_basic": "http_basic",
    "fails/openstack override": "none",
    "fails/glance no token": "none",
    "fails/glance none": "none",
    "fails/glance v1 image-update": "none",
    "fails/openstacksdk update_image": "none",
}

# Blocks that are files or users for the others, or have a test of their own.
OTHERS = {
    "users/http_basic",
    "clouds/none",
    "clouds/http_basic",
    "ansible/sitecustomize.py",
    "ansible/environment",
    "openstack/accept",
    "openstacksdk/move",
    "qemu/read",
}
