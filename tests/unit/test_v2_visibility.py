"""What lists show (contract C.11), as the data that the registry turns into SQL."""

from __future__ import annotations

import pytest

from image_service.context import RequestContext
from image_service.errors import InvalidValue
from image_service.operations.policy import visible_v2
from image_service.registry.interface import Visible

MEMBER = RequestContext(project="p", roles=frozenset({"member"}), authenticated=True)
NOBODY = RequestContext(read_only=True)
ADMIN = RequestContext(project="a", roles=frozenset({"admin"}), is_admin=True, authenticated=True)

EVERYBODY = RequestContext(is_admin=True)

PUBLIC = Visible(("public",))
OWN = Visible(owner="p")


def _shared(status: str | None) -> Visible:
    return Visible(("shared",), member="p", member_status=status)


ROWS: list[tuple[RequestContext, str | None, str | None, tuple[Visible, ...] | None]] = [
    (MEMBER, None, None, (PUBLIC, OWN, _shared("accepted"))),
    (MEMBER, None, "pending", (PUBLIC, OWN, _shared("pending"))),
    (MEMBER, None, "all", (PUBLIC, OWN, _shared(None))),
    (MEMBER, "public", None, (PUBLIC,)),
    (MEMBER, "community", None, (Visible(("community",)),)),
    (MEMBER, "private", None, (Visible(("private",), owner="p"),)),
    (MEMBER, "shared", "all", (Visible(("shared",), owner="p"), _shared(None))),
    (MEMBER, "all", None, (PUBLIC, OWN, _shared("accepted"), Visible(("community",)))),
    (MEMBER, "", None, ()),
    (NOBODY, None, None, (PUBLIC,)),
    (NOBODY, "private", None, ()),
    (NOBODY, "shared", "all", ()),
    (NOBODY, "all", None, (PUBLIC, Visible(("community",)))),
    (ADMIN, None, None, (Visible(("public", "shared", "private")), Visible(owner="a"))),
    (ADMIN, "private", None, (Visible(("private",)),)),
    (ADMIN, "all", None, None),
    (EVERYBODY, None, None, (Visible(("public", "shared", "private")),)),
    (EVERYBODY, "community", None, (Visible(("community",)),)),
]


@pytest.mark.parametrize(("who", "visibility", "status", "wanted"), ROWS)
def test_a_list_has_these_reasons(
    who: RequestContext, visibility: str | None, status: str | None, wanted: tuple[Visible, ...] | None
) -> None:
    assert visible_v2(who, visibility, status) == wanted


@pytest.mark.parametrize(("visibility", "status"), [("secret", None), ("Public", None), (None, "maybe"), (None, "")])
def test_other_words_are_refused(visibility: str | None, status: str | None) -> None:
    with pytest.raises(InvalidValue):
        visible_v2(MEMBER, visibility, status)
