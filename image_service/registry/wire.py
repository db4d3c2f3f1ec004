"""The registry's calls as JSON: arguments, results and errors of every method of :class:`Registry`, by its
type hints.

A dataclass is an object, a time is ISO text, an enum is its value. Both sides use this module, so a new
method or field needs no code here.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import orjson

from image_service.errors import ImageServiceError, InvalidValue, RegistryUnavailable, by_code
from image_service.registry.interface import Registry

Decoder = Callable[[Any], Any]

SECRET_HEADER = "X-Registry-Secret"  # noqa: S105 - a name, not a secret
REQUEST_ID_HEADER = "X-Openstack-Request-Id"
# Asking again does no harm.
READS = frozenset(
    {
        "get_image",
        "list_images",
        "live_uploads",
        "list_members",
        "get_member",
        "list_shared",
        "storage_used",
        "known_image_ids",
        "check",
    }
)


class Malformed(ValueError):
    """What came over the wire does not have the form that the types say."""


def encode(value: object) -> bytes:
    """JSON text.

    ``InvalidValue`` for text that is no Unicode or a number beyond 64 bits: no registry could keep these.
    """
    try:
        return orjson.dumps(value, default=_listed)
    except TypeError:
        raise InvalidValue("A value is no valid text, or out of range.") from None


def _listed(value: object) -> object:
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError


def decoder(hint: Any) -> Decoder:
    """A function that makes a value of type ``hint`` of what orjson read. It raises ``Malformed``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _optional([decoder(argument) for argument in arguments if argument is not type(None)], type(None) in arguments)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _checked(hint)
    if hint is datetime:
        return _checked(datetime.fromisoformat)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(decoder(arguments[1]))
    if origin is not None:
        return _sequence(decoder(arguments[0]), tuple if origin is tuple else list)
    return _plain(hint)


def _plain(hint: Any) -> Decoder:
    def decode(value: Any) -> Any:
        # An int is a fine float; True is an int to Python, but not to us.
        if hint in (object, Any) or type(value) is hint or (hint is float and type(value) is int):
            return value
        raise Malformed(f"{hint} expected")

    return decode


def _checked(make: Callable[[Any], Any]) -> Decoder:
    def decode(value: Any) -> Any:
        try:
            return make(value)
        except (ValueError, TypeError) as error:
            raise Malformed(str(error)) from None

    return decode


def _optional(choices: list[Decoder], nullable: bool) -> Decoder:
    def decode(value: Any) -> Any:
        if value is None and nullable:
            return None
        for choice in choices:
            try:
                return choice(value)
            except Malformed:
                continue
        raise Malformed("a value has none of its types")

    return choices[0] if len(choices) == 1 and not nullable else decode


def _sequence(item: Decoder, make: Callable[[list[Any]], Any]) -> Decoder:
    def decode(value: Any) -> Any:
        if not isinstance(value, list):
            raise Malformed("an array expected")
        return make([item(element) for element in value])

    return decode


def _mapping(item: Decoder) -> Decoder:
    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Malformed("an object expected")
        return {key: item(element) for key, element in value.items()}

    return decode


def _dataclass(cls: type) -> Decoder:
    hints = get_type_hints(cls)
    decoders = {field.name: decoder(hints[field.name]) for field in fields(cls)}

    def decode(value: Any) -> Any:
        if not isinstance(value, dict) or value.keys() - decoders.keys():
            raise Malformed(f"an object with the fields of {cls.__name__} expected")
        try:
            return cls(**{name: decoders[name](element) for name, element in value.items()})
        except TypeError as error:
            raise Malformed(str(error)) from None

    return decode


class Call:
    """One method of the interface: how to read its arguments and its result."""

    def __init__(self, method: Callable[..., Any]) -> None:
        hints = get_type_hints(method)
        self._result = decoder(hints.pop("return"))
        self._arguments = {name: decoder(hint) for name, hint in hints.items()}
        parameters = inspect.signature(method).parameters.values()
        self._required = {p.name for p in parameters if p.default is p.empty} - {"self"}

    def arguments(self, body: bytes) -> dict[str, Any]:
        """Keyword arguments of a request.

        ``InvalidValue`` when it is not what an image-api of this release sends.
        """
        try:
            given = orjson.loads(body)
            if not isinstance(given, dict) or self._required - given.keys() or given.keys() - self._arguments.keys():
                raise Malformed("other arguments expected")
            return {name: self._arguments[name](value) for name, value in given.items()}
        except ValueError as error:
            raise InvalidValue(f"The call is malformed: {error}.") from None

    def result(self, body: bytes) -> Any:
        """The result in an answer. ``RegistryUnavailable`` when it makes no sense."""
        try:
            return self._result(orjson.loads(body)["result"])
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryUnavailable("image-registry answers in a form that this release does not know.") from error


CALLS: dict[str, Call] = {name: Call(getattr(Registry, name)) for name in sorted(Registry.__abstractmethods__) if name != "close"}


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
