"""What every settings schema shares: frozen, typed, unknown keys rejected with the nearest name.

Each component declares its own schema beside its code (`descriptors/nep.py`, `training/loss.py`, ...);
`training/settings.py` puts them together into the schema of one run. This file holds the base class,
the reading and writing of YAML and the `--set key=value` overrides.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from forgefield.errors import ConfigError, did_you_mean
from forgefield.files import read_text

__all__ = ["Schema", "apply_overrides", "dump_yaml", "kind_of", "load_yaml", "parse"]

S = TypeVar("S", bound="Schema")


class Schema(BaseModel):
    """Base of all settings: immutable, no unknown keys; numbers may be text, for YAML reads 1e-3 as such."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str = "") -> Self:
        """Validate a mapping; raise `ConfigError` with one line per problem."""
        return parse(cls, values, where=where)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where numbers belong, which pydantic takes for 1 and 0."""
        if info.field_name is not None and _is_misplaced(value, cls.model_fields[info.field_name].annotation):
            raise ValueError("should be a number, not true or false")
        return value


def _is_misplaced(value: Any, annotation: Any) -> bool:
    """Return whether a truth value stands where only numbers may, alone or within a list or mapping."""
    if isinstance(value, bool):
        kinds = set(_kinds(annotation))
        return bool(kinds & {int, float}) and not kinds & {bool, Any, object}
    if isinstance(value, list | tuple):
        inner: Iterable[Any] = value
    elif isinstance(value, Mapping):
        inner = value.values()
    else:
        return False
    # A union of containers is rare; each value may then be any of what they hold.
    held = [a for container in _parts(annotation) for a in get_args(container) if a is not Ellipsis]
    return bool(held) and any(_is_misplaced(v, Union[tuple(held)]) for v in inner)  # noqa: UP007 - made at run time


def _parts(annotation: Any) -> list[Any]:
    """Return the alternatives of an annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _parts(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [part for a in get_args(annotation) for part in _parts(a)]
    return [annotation]


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types a single value may have."""
    for part in _parts(annotation):
        yield from map(type, get_args(part)) if get_origin(part) is Literal else (part,)


def parse(schema: type[S], values: Mapping[str, Any], *, where: str = "") -> S:
    """Validate `values` against `schema`.

    Parameters
    ----------
    schema : subclass of Schema
        What is expected.
    values : mapping
        What the user gave.
    where : str
        Prefix of the key in messages, e.g. ``"descriptor"``.

    Raises
    ------
    ConfigError
        Naming each key, the value, what is allowed and, for a typo, the nearest name.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"`{where or 'config'}` must be a mapping of settings, got {values!r}")
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(schema, item, where) for item in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def kind_of(values: Any, kinds: Iterable[str], where: str, default: str | None = None) -> str:
    """Return the `kind` that a mapping of settings names.

    Parameters
    ----------
    values : mapping
        What the user gave.
    kinds : iterable of str
        What is allowed.
    where : str
        Name of the section, for messages.
    default : str, optional
        Kind where none is named.

    Raises
    ------
    ConfigError
        No mapping, or an unknown kind.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"`{where}` must be a mapping such as {{kind: {min(kinds)}}}, got {values!r}")
    kind = values.get("kind", default)
    if not isinstance(kind, str) or kind not in set(kinds):
        raise ConfigError(f"`{where}.kind` is {kind!r}: {did_you_mean(str(kind), kinds)}")
    return kind


def _explain(schema: type[BaseModel], item: Mapping[str, Any], where: str) -> str:
    location = [part for part in item["loc"] if isinstance(part, str | int)]
    key = ".".join([*([where] if where else []), *map(str, location)])
    if item["type"] == "extra_forbidden":
        owner = _owner(schema, location[:-1])
        choices = owner.model_fields if owner else {}
        return f"unknown setting `{key}`: {did_you_mean(str(location[-1]), choices)}"
    if item["type"] == "missing":
        return f"`{key}` is required and was not given"
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return str(cause)  # a component explained itself already
    message = item["msg"].removeprefix("Value error, ")
    return f"`{key}`: {message}, got {item.get('input')!r}"


def _owner(schema: type[BaseModel], path: Iterable[str | int]) -> type[BaseModel] | None:
    """Return the schema that holds the last key of `path`, where it can be told from the annotations."""
    owner: type[BaseModel] = schema
    for part in path:
        field = owner.model_fields.get(str(part))
        if field is None:
            continue
        found = _schema_in(field.annotation)
        if found is None:
            return None
        owner = found
    return owner


def _schema_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        found = [s for s in map(_schema_in, get_args(annotation)) if s is not None]
        return found[0] if len(found) == 1 else None
    return None


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file into a dictionary.

    Raises
    ------
    ConfigError
        The file is missing, not text, not YAML, or not a mapping; the line and column are named.
    """
    try:
        values = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if values is None:
        raise ConfigError(f"{path} is empty; write one with `forgefield init DATA -o {path}`")
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold `key: value` settings, got {type(values).__name__}")
    return values


def dump_yaml(schema: Schema) -> str:
    """Return the settings as YAML text, in the order of the schema."""
    return yaml.safe_dump(schema.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def apply_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Apply ``key.sub=value`` overrides to a copy of `values`; the right side is read as YAML.

    Raises
    ------
    ConfigError
        An override has no ``=``, or walks through something that is not a mapping.
    """
    result: dict[str, Any] = _copied(values)
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set expects key=value, got {text!r}; for example --set training.epochs=100")
        *parents, last = key.strip().split(".")
        target = result
        for parent in parents:
            if target.get(parent) is None:
                target[parent] = {}
            inner = target[parent]
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {text}: `{parent}` holds {inner!r}, not settings of its own")
            target = inner
        try:
            target[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {text}: the value is not valid YAML: {error}") from None
    return result


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list) else value
