"""The registry's calls as JSON: arguments, results and errors of every method of :class:`Registry`, by its type hints.

A dataclass is an object, a time is ISO text, an enum is its value. Both sides use this module, so a new method or field needs
no code here.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any, Union, get_args, get_origin, get_type_hints

import orjson

from image_service.errors import ImageServiceError, InvalidValue, RegistryUnavailable, by_code
from image_service.registry.interface import Registry

# Makes a value of what orjson read; ValueError or TypeError for what has not the form that the types say.
Decoder = Callable[[Any], Any]

SECRET_HEADER = "X-Registry-Secret"  # noqa: S105 - a name, not a secret
REQUEST_ID_HEADER = "X-Openstack-Request-Id"
# Asking again does no harm.
REPEATABLE = frozenset(
    {"get_image", "list_images", "live_uploads", "list_members", "get_member", "list_shared", "storage_used", "check"}
    | {"renew_upload", "settle"}
)
_PLAIN = frozenset({str, int, bool, float, types.NoneType})


def encode(value: object) -> bytes:
    """JSON text.

    ``InvalidValue`` for text that is no Unicode or a number beyond 64 bits: no registry could keep these.
    """
    try:
        # Sets are arrays.
        return orjson.dumps(value, default=list)
    except TypeError:
        raise InvalidValue("A value is no valid text, or out of range.") from None


def decoder(hint: Any) -> Decoder:
    """What makes a value of type ``hint``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (object, Any):
        return lambda value: value
    kinds = arguments if origin in (Union, types.UnionType) else (hint,)
    if _PLAIN.issuperset(kinds):
        # An int is a fine float; True is an int to Python, but not to us.
        return partial(_plain, (*kinds, int) if float in kinds else kinds)
    if len(kinds) > 1:
        # The interface has no other unions than these two: of plain types, and of something with None.
        (kind,) = set(kinds) - {types.NoneType}
        return partial(_optional, decoder(kind))
    if isinstance(hint, type) and is_dataclass(hint):
        return partial(_dataclass, hint, {name: decoder(kind) for name, kind in get_type_hints(hint).items()})
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if hint is datetime:
        return datetime.fromisoformat
    if origin is not None and issubclass(origin, Mapping):
        return partial(_mapping, decoder(arguments[1]))
    return partial(_sequence, tuple if origin is tuple else list, decoder(arguments[0]))


def _plain(kinds: tuple[type, ...], value: Any) -> Any:
    if type(value) not in kinds:
        raise ValueError(f"{kinds[0].__name__} expected")
    return value


def _optional(item: Decoder, value: Any) -> Any:
    return None if value is None else item(value)


def _sequence(make: Callable[[list[Any]], Any], item: Decoder, value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("an array expected")
    return make([item(element) for element in value])


def _mapping(item: Decoder, value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError("an object expected")
    return {key: item(element) for key, element in value.items()}


def _dataclass(cls: type, decoders: dict[str, Decoder], value: Any) -> Any:
    if not isinstance(value, dict) or value.keys() - decoders.keys():
        raise ValueError(f"an object with the fields of {cls.__name__} expected")
    return cls(**{name: decoders[name](element) for name, element in value.items()})


class Call:
    """One method of the interface: how its arguments and its result travel."""

    def __init__(self, method: Callable[..., Any]) -> None:
        hints = get_type_hints(method)
        self._result = decoder(hints.pop("return"))
        self._arguments = {name: decoder(hint) for name, hint in hints.items()}
        self._signature = inspect.signature(method)

    def request(self, *arguments: object, **named: object) -> bytes:
        """A request: the arguments by name, the first being the registry itself."""
        return encode(dict([*self._signature.bind(*arguments, **named).arguments.items()][1:]))

    def arguments(self, body: bytes | bytearray) -> dict[str, Any]:
        """Keyword arguments of a request.

        ``RegistryUnavailable`` when it is not what an image-api of this release sends.
        """
        try:
            given = orjson.loads(body)
            self._signature.bind(None, **given)
            return {name: self._arguments[name](value) for name, value in given.items()}
        except (ValueError, TypeError, KeyError) as error:
            raise RegistryUnavailable(f"image-api and image-registry must be of one release: {error}.") from None

    def result(self, body: bytes) -> Any:
        """The result in an answer. ``RegistryUnavailable`` when it makes no sense."""
        try:
            return self._result(orjson.loads(body)["result"])
        except (ValueError, TypeError, KeyError) as error:
            raise RegistryUnavailable("image-registry answers in a form that this release does not know.") from error


CALLS: dict[str, Call] = {name: Call(getattr(Registry, name)) for name in sorted(Registry.__abstractmethods__ - {"aclose"})}


def encode_error(error: ImageServiceError) -> bytes:
    """An error on its way back."""
    return encode({"code": error.code, "message": error.message})


def decode_error(body: bytes) -> ImageServiceError:
    """The error that the registry raised, as the same class; ``RegistryUnavailable`` for what is none."""
    try:
        given = orjson.loads(body)
        return by_code()[given["code"]](str(given["message"]))
    except (ValueError, KeyError, TypeError):
        return RegistryUnavailable("image-registry failed; its log says why.")
