"""Fields of records in JSON, of the types that they must have: what is of another type would fail later, elsewhere.

All of these raise `ValueError`.
"""

import json
from typing import Any, Final

MAX_NUMBER: Final = (1 << 64) - 1


def parsed(record: bytes) -> Any:
    """What a record holds."""
    try:
        return json.loads(record)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def text(field: Any) -> str:
    """The field, which is text that can be written as UTF-8."""
    if type(field) is not str:
        raise ValueError(f"{field!r} where text should be")
    field.encode()
    return field


def number(field: Any) -> int:
    """The field, which is a number of 64 bits."""
    if type(field) is not int or not 0 <= field <= MAX_NUMBER:
        raise ValueError(f"{field!r} where a number should be")
    return field


def flag(field: Any) -> bool:
    """The field, which is true or false."""
    if type(field) is not bool:
        raise ValueError(f"{field!r} where true or false should be")
    return field
