"""Keys and values as lines of JSON: one object a line, that people can read, and that brings back any bytes. Pure.

    {"key": "greeting", "value": "hello"}
    {"key": "picture", "value_base64": "iVBORw0KGgo="}

Each of the two is text where its bytes are UTF-8, and base64 under a name that says so where they are not.
"""

import base64
import json
from typing import Any, Final

from meteora.config import HIGHEST_MAX_REQUEST_BYTES, MAX_KEY_BYTES

MAX_LINE_BYTES: Final = 6 * (HIGHEST_MAX_REQUEST_BYTES + MAX_KEY_BYTES) + 1024
"""Of the longest key and value, each byte escaped as JSON may: beyond, it is no line of ours."""

_BASE64: Final = "_base64"


def encode_pair(key: bytes, value: bytes) -> bytes:
    """The line for a key and its value, with its end."""
    fields = dict((_field("key", key), _field("value", value)))
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def decode_pair(line: bytes) -> tuple[bytes, bytes]:
    """The key and the value in a line. Raises `ValueError` that says what is wrong with it."""
    try:
        fields = json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError("it is no object")
    pair = _bytes_of(fields, "key"), _bytes_of(fields, "value")
    if fields:
        raise ValueError(f"{min(fields)!r} means nothing here: expected key and value, either with {_BASE64}")
    return pair


def _field(name: str, data: bytes) -> tuple[str, str]:
    try:
        return name, data.decode()
    except UnicodeDecodeError:
        return name + _BASE64, base64.b64encode(data).decode()


def _bytes_of(fields: dict[str, Any], name: str) -> bytes:
    """Takes the bytes of this name out of `fields`."""
    given = {each: fields.pop(each) for each in (name, name + _BASE64) if each in fields}
    if len(given) != 1:
        raise ValueError(f"it has {'both' if given else 'neither'} {name} {'and' if given else 'nor'} {name}{_BASE64}")
    ((given_name, text),) = given.items()
    if not isinstance(text, str):
        raise ValueError(f"{given_name} is no text")
    try:
        return text.encode() if given_name == name else base64.b64decode(text, validate=True)
    except ValueError as error:  # Of either kind of text.
        raise ValueError(f"{given_name}: {error}") from None
