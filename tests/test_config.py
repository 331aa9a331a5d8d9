"""Settings: what is wrong is said, with the nearest name; YAML and overrides."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from forgefield.config import Schema, apply_overrides, dump_yaml, load_yaml, parse
from forgefield.errors import ConfigError, DataError


class Inner(Schema):
    cutoff: float = Field(5.0, gt=0)
    kind: Literal["a", "b"] = "a"


class Outer(Schema):
    epochs: int = Field(10, ge=1)
    inner: Inner = Inner()
    optional: Inner | None = None
    items: tuple[Inner, ...] = ()
    weights: dict[str, tuple[float, float]] | None = None
    switch: bool = False
    name: str


def test_values_defaults_and_immutability():
    settings = Outer.parse({"name": "x", "inner": {"cutoff": 4}})
    assert settings.inner.cutoff == 4.0
    assert settings.epochs == 10
    with pytest.raises(Exception, match="frozen"):
        settings.epochs = 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "epoch": 3}, r"unknown setting `epoch`: .*did you mean 'epochs'\?"),
        (
            {"name": "x", "inner": {"cutof": 3}},
            r"`inner.cutof`: choose from cutoff, kind; did you mean 'cutoff'",
        ),
        ({"name": "x", "optional": {"knd": "a"}}, r"`optional.knd`: .*did you mean 'kind'"),
        ({"name": "x", "inner": {"qqqq": 3}}, r"`inner.qqqq`: choose from cutoff, kind$"),
        ({}, "`name` is required"),
        ({"name": "x", "epochs": 0}, r"`epochs`: .*greater than or equal to 1, got 0"),
        ({"name": "x", "epochs": "many"}, r"`epochs`: .*got 'many'"),
        ({"name": "x", "inner": {"kind": "c"}}, r"`inner.kind`: .*'a' or 'b', got 'c'"),
        ({"name": "x", "inner": 3}, r"`inner`: .*got 3"),
        ({"name": "x", "items": [{"cutoff": 1}, {"cutoff": -1}]}, r"`items.1.cutoff`: .*got -1"),
        ([1, 2], "must be a mapping"),
        ({"name": "x", "epochs": True}, "`epochs`: should be a number, not true or false, got True"),
        ({"name": "x", "inner": {"cutoff": False}}, r"`inner.cutoff`: should be a number"),
        ({"name": "x", "weights": {"Si": [1.0, True]}}, r"`weights`: should be a number"),
    ],
)
def test_problems_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        parse(Outer, values)


def test_truth_values_and_numbers_as_text_where_they_belong():
    settings = Outer.parse({"name": "x", "switch": True, "epochs": "30", "weights": {"Si": ["1e-3", 2]}})
    assert settings.switch is True
    assert settings.epochs == 30
    assert settings.weights == {"Si": (0.001, 2.0)}


def test_all_problems_at_once_and_their_place():
    with pytest.raises(ConfigError) as error:
        Outer.parse({"epoch": 1, "inner": {"cutoff": -2}}, where="training")
    assert len(str(error.value).splitlines()) == 3
    assert "`training.inner.cutoff`" in str(error.value)


def test_yaml_round_trip(tmp_path):
    settings = Outer.parse({"name": "Ångström", "optional": {"kind": "b"}})
    path = tmp_path / "x.yaml"
    path.write_text(dump_yaml(settings), encoding="utf-8")
    assert Outer.parse(load_yaml(path)) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1", "not valid YAML: (?s:.*)line"), ("", "is empty"), ("- 1\n- 2", "must hold .* got list")],
)
def test_unreadable_yaml(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_yaml(path)


def test_missing_yaml(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*x.yaml: No such file"):
        load_yaml(tmp_path / "x.yaml")


def test_overrides():
    values = {"a": {"b": 1, "c": [1, 2]}, "d": "x"}
    result = apply_overrides(values, ["a.b=2.5", "a.new.deep=[1, two]", "d=null", "e=a=b"])
    assert result == {"a": {"b": 2.5, "c": [1, 2], "new": {"deep": [1, "two"]}}, "d": None, "e": "a=b"}
    assert values == {"a": {"b": 1, "c": [1, 2]}, "d": "x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("a.b", "key=value"), ("=3", "key=value"), ("d.x=1", "`d` holds 'x'"), ("a.b=[1", "not valid YAML")],
)
def test_overrides_that_make_no_sense(text, message):
    with pytest.raises(ConfigError, match=message):
        apply_overrides({"a": {"b": 1}, "d": "x"}, [text])
