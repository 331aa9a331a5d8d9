"""Settings in words: what each key means and may hold, read off the schemas."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

__all__ = ["Described", "allowed_values", "describe_schema", "flow_yaml", "schema_fields"]

_TYPE_NAMES = {int: "integer", float: "number", str: "text", bool: "true or false"}
_LIMITS: tuple[tuple[type, str, str], ...] = (
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Ge, "ge", ">="),
    (annotated_types.Lt, "lt", "<"),
    (annotated_types.Le, "le", "<="),
)


@dataclass(frozen=True)
class Described:
    """One setting.

    Attributes
    ----------
    key : str
    default : str
        As YAML; "required" where there is none.
    allowed : str
        Type, choices and range.
    description : str
    """

    key: str
    default: str
    allowed: str
    description: str


def describe_schema(schema: type[BaseModel]) -> Iterator[Described]:
    """Yield every setting of a schema that holds a value of its own; nested schemas are left to the caller."""
    for name, field in schema.model_fields.items():
        if schema_fields(field):
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        text = "required" if default is PydanticUndefined else flow_yaml(default)
        yield Described(name, text, allowed_values(field), field.description or "")


def schema_fields(field: FieldInfo) -> list[type[BaseModel]]:
    """Return the schemas among the types a field accepts."""
    return list(_schemas(field.annotation))


def _schemas(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _schemas(part)
    elif hasattr(annotation, "__metadata__"):
        yield from _schemas(get_args(annotation)[0])


def allowed_values(field: FieldInfo) -> str:
    """Return type, choices and range of a field, such as ``number > 0, <= 20``."""
    limits = [
        f"{sign} {_number(getattr(item, attribute))}"
        for item in field.metadata
        for kind, attribute, sign in _LIMITS
        if isinstance(item, kind)
    ]
    return ", ".join([" ".join([_type_name(field.annotation), *limits[:1]]), *limits[1:]])


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _type_name(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return " | ".join(str(p) for p in parts)
    if origin in (Union, types.UnionType):
        ordered = sorted(parts, key=lambda p: p is not type(None))  # limits are written after the last one
        return " | ".join(dict.fromkeys(_type_name(p) for p in ordered))
    if hasattr(annotation, "__metadata__"):
        return _type_name(parts[0])
    if origin in (list, tuple, set, frozenset) or annotation in (list, tuple):
        inner = dict.fromkeys(_type_name(p) for p in parts if p is not Ellipsis)
        return f"list of {' | '.join(inner)}" if inner else "list"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{_type_name(parts[0])}: {_type_name(parts[1])} pairs"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "settings"
    return _TYPE_NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def flow_yaml(value: Any) -> str:
    """Return a value as one line of YAML."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
