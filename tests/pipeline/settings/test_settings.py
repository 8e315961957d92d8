from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field, ValidationError

from clever.errors import CleverError
from clever.pipeline.settings.evaluate import EvaluateSettings
from clever.pipeline.settings.features import FeaturesSettings
from clever.pipeline.settings.shared.base import JobSettings, save_settings
from clever.pipeline.settings.shared.fields import Names


class Toy(JobSettings):
    cache: Path
    head: Literal["mlp", "linear"] = "mlp"
    head_layers: Annotated[int, Field(ge=1)] = 3
    lr: float | None = None
    sequences: Names | None = None


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text("cache: from-file\nhead: linear\nhead_layers: 2\nlr: 1e-3\n")
    return path


def test_defaults_then_file_then_flags(config: Path) -> None:
    settings = Toy.resolve(config, {"head_layers": 5, "head": None})
    assert settings == Toy(cache=Path("from-file"), head="linear", head_layers=5, lr=0.001)
    assert Toy.resolve(None, {"cache": "x"}) == Toy(cache=Path("x"))


def test_saved_settings_read_back_equal(tmp_path: Path) -> None:
    settings = Toy(cache=Path("a b"), lr=0.1 + 0.2, sequences=("00", "08", "010"))
    save_settings(settings, tmp_path)
    assert Toy.resolve(tmp_path / "settings.yaml", {}) == settings


def test_names_take_commas_and_refuse_numbers(tmp_path: Path) -> None:
    assert Toy.resolve(None, {"cache": "x", "sequences": "00, 08"}).sequences == ("00", "08")
    path = tmp_path / "toy.yaml"
    path.write_text("cache: x\nsequences: [00, 010]\n")
    assert yaml.safe_load(path.read_text())["sequences"] == [0, 8]
    with pytest.raises(CleverError, match="put each name in quotes"):
        Toy.resolve(path, {})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"cache": "x", "head": "mpl"}, "`head` is 'mpl': should be 'mlp' or 'linear'"),
        (
            {"cache": "x", "head_layers": 0},
            "`head_layers` is 0: should be greater than or equal to 1",
        ),
        ({"cache": "x", "lr": float("nan")}, "`lr` is nan: should be a finite number"),
        ({}, "`cache` is required"),
        (
            {"cache": "x", "sequences": ","},
            "`sequences` is ',': names nothing; give a value or leave it out",
        ),
        (
            {"cache": "x", "sequences": [" ", ","]},
            "`sequences` is [' ', ',']: names nothing; give a value or leave it out",
        ),
    ],
)
def test_a_bad_flag_is_one_line_with_the_allowed_values(
    flags: dict[str, object], message: str
) -> None:
    with pytest.raises(CleverError) as failure:
        Toy.resolve(None, flags)
    assert str(failure.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cache: x\nhaed: mlp\n", "unknown setting haed in {path}; did you mean head?"),
        (
            "cache: x\nzzz: 1\n",
            "unknown setting zzz in {path}; there are cache, head, head_layers, lr, sequences",
        ),
        (
            "cache: x\nhead_layers: many\n",
            "head_layers in {path} is 'many': should be a whole number",
        ),
        ("cache: x\nhead_layers: true\n", "head_layers in {path} is true: should be a number"),
        ("cache: x\nlr: off\n", "lr in {path} is false: should be a number"),
        ("cache: x\nhead_layers: 1.5\n", "head_layers in {path} is 1.5: should be a whole number"),
        ("cache: x\nhead_layers:\n", "head_layers in {path} has no value; give one or leave it"),
        ("cache: x\nhead-layers: 1\n", "unknown setting head-layers in {path}; did you mean head_"),
        ("cache: 5\n", "cache in {path} is 5: should be a path"),
        ("cache: x\nlr: 1\nlr: 2\n", "settings {path}: lr is given 2 times; leave only one"),
        ("cache: x\n1: 2\n", "settings {path}: 1 is no name of a setting"),
        ("cache: x\non: 2\n", "settings {path}: on, yes or true is no name of a setting"),
        ("- cache\n", "settings {path} must be a list of `name: value` lines"),
        ("cache: [x\n", "settings {path} are not valid YAML"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(text)
    with pytest.raises(CleverError) as failure:
        Toy.resolve(path, {})
    assert str(failure.value).startswith(message.format(path=path))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("value", [True, False, [1, True], (False,)])
@pytest.mark.parametrize("name", ["count", "share", "choice", "counts"])
def test_a_truth_value_is_no_number(name: str, value: object) -> None:
    """Wherever it comes from; where a field takes both it is what it is."""

    class Numbers(JobSettings):
        count: int = 1
        share: Annotated[float, Field(gt=0)] | None = None
        choice: int | Literal["auto"] = "auto"
        counts: tuple[int, ...] = ()
        switch: bool | None = None
        either: bool | int = 2

    with pytest.raises(ValidationError, match="should be a number"):
        Numbers.model_validate({name: value})
    given = Numbers.model_validate({"count": 1, "switch": True, "either": True})
    assert (given.count, given.switch, given.either) == (1, True, True)
    assert isinstance(given.either, bool)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CleverError, match=r"cannot read settings .*none\.yaml: No such file"):
        Toy.resolve(tmp_path / "none.yaml", {})


def test_differences_name_both_values() -> None:
    old, new = Toy(cache=Path("a"), lr=0.1), Toy(cache=Path("b"), lr=0.2)
    assert new.differences(old, frozenset({"cache"})) == ["lr: 0.1 -> 0.2"]


@pytest.mark.parametrize("origin", ["1,2", "1,2,3,4", "1,2,high", [1, 2], "1,2,inf", 7])
def test_an_origin_is_three_numbers(origin: object) -> None:
    values = {"checkpoint": "run", "out": "out"}
    with pytest.raises(
        CleverError, match=r"`origin` is .* should be three numbers X,Y,Z in metres"
    ):
        FeaturesSettings.resolve(None, {**values, "origin": origin})
    settings = FeaturesSettings.resolve(None, {**values, "origin": "1, -2.5,3"})
    assert settings.origin == (1, -2.5, 3)


def test_an_empty_data_root_of_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEVER_DATA_ROOT", "")
    assert EvaluateSettings.resolve(None, {"checkpoint": "run"}).data_root is None
    monkeypatch.setenv("CLEVER_DATA_ROOT", "/data")
    assert EvaluateSettings.resolve(None, {"checkpoint": "run"}).data_root == Path("/data")
