"""A schema of Amazon Forecast: which columns a file without a header has, in order, and of what type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from udfs.config.domains import TIMESTAMP, item_of

NUMERIC = ("integer", "float")
_SHAPE = '{"Attributes": [{"AttributeName": "timestamp", "AttributeType": "timestamp"}, …]}'


class SchemaAttribute(BaseModel):
    """A column of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    name: str = Field(alias="AttributeName", min_length=1)
    """Its name."""
    type: Literal["string", "integer", "float", "timestamp", "geolocation"] = Field(alias="AttributeType")
    """Its type, as the service calls it."""


def attributes(value: Any) -> Any:
    """The list of attributes from a path of a JSON file, the mapping in it, or the list. Raises ValueError."""
    if isinstance(value, str):
        value = _read(value)
    if isinstance(value, Mapping):
        keys = {str(key).lower(): key for key in value}
        if set(keys) != {"attributes"}:
            raise ValueError(f"a schema looks like {_SHAPE}; got the keys {', '.join(map(str, value)) or 'none'}")
        value = value[keys["attributes"]]
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"a schema looks like {_SHAPE}; got {value!r}")
    names = [_name(each) for each in value]
    twice = sorted({str(n) for n in names if names.count(n) > 1 and n is not None})
    if twice:
        raise ValueError(f"the attributes {', '.join(twice)} stand there twice; every column has a name of its own")
    return tuple(value)


def _name(attribute: Any) -> Any:
    if isinstance(attribute, SchemaAttribute):
        return attribute.name
    return attribute.get("AttributeName", attribute.get("name")) if isinstance(attribute, Mapping) else None


def _read(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ValueError(
            f"the file {path} does not exist; give the path of a JSON file, or the schema itself"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"the file {path} is not a JSON file that can be read: {error}") from None


Schema = Annotated[tuple[SchemaAttribute, ...] | None, BeforeValidator(attributes)]


def with_series(content: Any) -> Any:
    """The content of a related source, with the series and the key that its schema declares: numbers are series,
    strings belong to the key. Given keys stay."""
    listed = _declared(content)
    if not listed:
        return content
    made = dict(content)
    if "series" not in made:
        made["series"] = {n: {} for n, kind in listed.items() if kind in NUMERIC}
    if made.get("key") is None:
        item = item_of(listed)
        texts = [n for n, kind in listed.items() if kind not in (*NUMERIC, TIMESTAMP)]
        made["key"] = ["item_id" if n == item else n for n in texts]
    return made


def with_attributes(content: Any) -> Any:
    """The content of an items source, with the attributes and types that its schema declares. Given keys stay."""
    listed = _declared(content)
    if not listed:
        return content
    made = dict(content)
    if "attributes" not in made:
        item = item_of(listed)
        key = {item, *(made.get("key") or ())}
        made["attributes"] = {n: n for n in listed if n not in key}
    named = made["attributes"]
    if isinstance(named, Mapping):
        numbers = {ours: "number" for ours, theirs in named.items() if listed.get(theirs) in NUMERIC}
    else:
        numbers = {n: "number" for n in named if listed.get(n) in NUMERIC}
    if numbers:
        made["types"] = numbers | dict(made.get("types") or {})
    return made


def _declared(content: Any) -> dict[str, str]:
    """Attribute -> type of a source's schema; {} where there is none, or it is wrong and is reported elsewhere."""
    if not isinstance(content, Mapping):
        return {}
    given = content.get("schema", content.get("schema_"))
    if given is None:
        return {}
    try:
        found = [SchemaAttribute.model_validate(each) for each in attributes(given) or ()]
    except ValueError:
        return {}
    return {attribute.name: attribute.type for attribute in found}
