"""Read a configuration: YAML and overrides in, one validated object out, or one error that lists every mistake."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from udfs.config.schema import Config
from udfs.errors import InputError

_STAND_INS: dict[str, Any] = {"dataset_group": "group", "frequency": "D", "horizon": 1, "models": {"naive": {}}}
"""Valid values of required keys that were set aside as wrong, so that the checks between sections still run."""


class ConfigError(InputError):
    """Every mistake of a configuration, one a line."""

    def __init__(self, origin: str, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} mistakes" if len(problems) > 1 else "1 mistake"
        super().__init__("\n".join([f"{origin} has {count}:", *(f"  {p}" for p in problems)]))


def load_config(
    source: str | Path | Mapping[str, Any] | Config, overrides: Iterable[str] = (), *, frames: bool = False
) -> Config:
    """The configuration from a YAML file, a mapping or a Config, with `a.b=value` overrides (values are YAML).

    frames: DataFrames stand in for the sources' locations. Raises ConfigError.
    """
    changes = list(overrides)
    if isinstance(source, Config):
        if not changes:
            return source
        source = source.model_dump(by_alias=True, mode="json", exclude_unset=True)  # what is not set stays open
    origin = "the configuration" if isinstance(source, Mapping) else str(source)
    content = _plain(source) if isinstance(source, Mapping) else _read(Path(source))
    problems = [problem for change in changes if (problem := _override(content, change))]
    try:
        config = Config.model_validate(content, context={"frames": frames})
    except ValidationError as error:
        raise ConfigError(origin, problems + _all_problems(content, error, frames)) from None
    if problems:
        raise ConfigError(origin, problems)
    return config


def resolved_json(config: Config) -> str:
    """The whole configuration with its defaults, as stored with a run.

    The models stay in their order: an ensemble is added up in it, and of equal models the first is chosen.
    """
    return json.dumps(config.model_dump(by_alias=True, mode="json"), ensure_ascii=False)


def config_hash(config: Config) -> str:
    """A digest of everything that changes a result; where the session runs and what things cost do not.

    Where fits start from is a matter of one forecast and stands in its plan; components are made from what is there;
    a global model says itself what it was trained with.
    """
    apart = {"spark", "cost", "refit", "parameters_from", "components", "deepar"}
    content = config.model_dump(by_alias=True, mode="json", exclude=apart)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"config file {path} does not exist; give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"config file {path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"config file {path} holds {type(content).__name__}; expected keys and values")
    return content


def _override(content: dict[str, Any], change: str) -> str | None:
    """Apply one `a.b=value` in place; the problem, if there is one."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        return f"--set {change}: write it as section.key=value"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return f"--set {change}: {error}"
    place: Any = content
    *parents, last = path.split(".")
    for part in parents:
        if isinstance(place, list) and part.isdigit() and int(part) < len(place):
            place = place[int(part)]
            continue
        if not isinstance(place, dict):
            return f"--set {change}: there is no section {path.rpartition('.')[0]}"
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
    if not isinstance(place, dict):
        return f"--set {change}: there is no section {path.rpartition('.')[0]}"
    place[last] = value
    return None


def _all_problems(content: dict[str, Any], error: ValidationError, frames: bool) -> list[str]:
    """The mistakes found, and those between sections that only show once the wrong fields are set aside."""
    found = [line for e in error.errors() for line in _describe(dict(e)).split("\n")]
    rest = copy.deepcopy(content)
    for e in error.errors():
        _drop(rest, list(e["loc"]))
    for name, value in _STAND_INS.items():
        rest.setdefault(name, value)
    try:
        Config.model_validate(rest, context={"frames": frames})
    except ValidationError as second:
        for e in second.errors():
            if e["type"] == "value_error":
                found += [line for line in _describe(dict(e)).split("\n") if line not in found]
    return found


def _drop(content: Any, path: list[Any]) -> None:
    for part in path[:-1]:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return
    if path and isinstance(content, dict):
        content.pop(path[-1], None)


def _describe(error: dict[str, Any]) -> str:
    path = [part for part in error["loc"] if not str(part).startswith(("function-", "tuple["))]
    where = ".".join(str(part) for part in path)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"
    if error["type"] == "missing":
        return f"{where}: missing, and there is no default"
    if error["type"] == "value_error":
        return "\n".join(f"{where}: {line}" if where else line for line in message.split("\n"))
    return f"{where}: got {error['input']!r}; {message[:1].lower() + message[1:]}"


def _known_keys(path: list[Any]) -> list[str]:
    """The keys of the section at `path`, found by walking the schema."""
    kind: Any = Config
    for part in path:
        model = section_in(kind)
        if model is None:
            return []
        if isinstance(part, int):
            continue
        fields = _by_alias(model)
        if str(part) in fields:
            kind = fields[str(part)].annotation
    model = section_in(kind)
    return sorted(_by_alias(model)) if model else []


def _by_alias(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {info.alias or name: info for name, info in model.model_fields.items()}


def section_in(kind: Any) -> type[BaseModel] | None:
    """The section inside an annotation such as tuple[Section, ...] or dict[str, Section]."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and not isinstance(kind, types.GenericAlias):
        return kind
    for argument in typing.get_args(kind):
        if (found := section_in(argument)) is not None:
            return found
    return None
