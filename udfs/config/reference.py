"""docs/configuration.md, written from the schema itself: `python -m udfs.config.reference`."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from forecasting.models.registry import get_model, model_names
from udfs.config.load import section_in
from udfs.config.schema import Config

_HEAD = """# Configuration

One YAML file describes a dataset group, its models and its lake; `almanac VERB --config FILE --set a.b=value` changes
single keys. A file is checked whole: every mistake is listed in one error, and an unknown key names the nearest known
one. Keys in **bold** have no default. This page is written from the schema by `python -m udfs.config.reference`.
"""


def reference() -> str:
    """The page as Markdown."""
    parts = [_HEAD, *_section("", Config), "## Hyperparameters\n"]
    parts.append("Under `models.NAME`; what each family is good for and what it costs stands in the README.\n")
    for name in model_names():
        parts.append(f"### `{name}`\n")
        parts += [*_table(get_model(name).Hyperparameters), ""]
    return "\n".join(parts)


def _section(path: str, model: type[BaseModel]) -> Iterator[str]:
    title = path or "top level"
    yield f"## {title}\n\n{inspect.getdoc(model)}\n"
    yield from _table(model)
    yield ""
    for name, info in model.model_fields.items():
        inner = section_in(info.annotation)
        if inner is not None:
            below = f"{path}.{info.alias or name}" if path else str(info.alias or name)
            yield from _section(below + _suffix(info.annotation), inner)


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, info in model.model_fields.items():
        key = info.alias or name
        inner = section_in(info.annotation)
        if info.is_required():
            key, default = f"**{key}**", ""
        elif info.default is PydanticUndefined or inner is not None:
            default = ""
        else:
            default = f"`{_yaml(info.default)}`"
        meaning = " ".join((info.description or (inspect.getdoc(inner) if inner else "") or "").split())
        yield f"| {key} | {_type(info.annotation)} | {default} | {meaning.replace('|', '/')} |"


def _yaml(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _suffix(kind: object) -> str:
    origin = typing.get_origin(kind)
    return "[]" if origin is tuple else ".NAME" if origin is dict else ""


def _type(kind: object) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section"
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return " or ".join(str(a) for a in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"map of {_type(arguments[1])}"
    if arguments:
        return " or ".join(_type(a) for a in arguments if a is not type(None))
    return getattr(kind, "__name__", str(kind))


if __name__ == "__main__":
    page = reference()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page, encoding="utf-8")
    else:
        sys.stdout.write(page)
