"""`ResultsFile` and the records of methods: rows on disk, merged with those of earlier runs."""

import json
import os

import pytest

from gsu_jax import GradientSurgery
from gsu_jax.study import _results_file
from gsu_jax.study._method_records import method_from, method_record, upgrade_made_with
from gsu_jax.study._results_file import ResultsFile

ROW = {"method": "a", "seed": 0, "diverged": False, "fid": 1.0}


def start(folder, **changes):
    config = {"forget": "1", "methods": {"a": {"rate": 1}, "b": {}}, "seeds": 2} | changes
    return ResultsFile(folder, {"schema": 1, "experiment": "test", "config": config, "rows": []})


@pytest.fixture
def results(tmp_path):
    return start(tmp_path)


def on_disk(results):
    return json.loads(results.path.read_text())


def test_config_is_on_disk_from_the_first_moment(results):
    assert on_disk(results)["config"]["forget"] == "1"


def test_rows_are_on_disk_in_the_order_of_methods_and_seeds(results):
    for method, seed in (("b", 0), ("a", 1), ("a", 0)):
        assert not results.has_row(method, seed)
        results.add_row(ROW | {"method": method, "seed": seed})
        assert results.has_row(method, seed)
    rows = on_disk(results)["rows"]
    assert [(row["method"], row["seed"]) for row in rows] == [("a", 0), ("a", 1), ("b", 0)]


def test_second_run_keeps_rows_methods_and_seeds_that_it_does_not_name(results):
    results.add_row(ROW)
    second = start(results.path.parent, methods={"c": {}}, seeds=1, ensemble=8).content
    assert second["rows"] == [ROW]
    assert list(second["config"]["methods"]) == ["a", "b", "c"]
    assert (second["config"]["seeds"], second["config"]["ensemble"]) == (2, 8)
    # The second run has nothing to do and saves nothing; its tables need both all the same.
    assert second["summary"] == on_disk(results)["summary"]
    assert "comparison" in second


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"forget": "2"}, "forget: '1' there, '2' now"),
        ({"extra": 3}, "extra: None there, 3 now"),
        ({"methods": {"a": {"rate": 2}}}, "methods.a.rate: 1 there, 2 now"),
    ],
)
def test_another_config_is_refused_and_nothing_is_written(results, change, difference):
    before = results.path.read_bytes()
    with pytest.raises(ValueError, match=difference):
        start(results.path.parent, **change)
    assert results.path.read_bytes() == before


def test_failed_write_keeps_the_earlier_results(results, monkeypatch):
    before = on_disk(results)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"results.json: No space left on device"):
        results.add_row(ROW)
    assert on_disk(results) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema": 1, "rows": [', r"results\.json"),
        ("[]", "schema"),
        ('{"schema": 1, "experiment": "tiny", "rows": []}', "config"),
        (
            '{"schema": 1, "experiment": "tiny", "config": {"methods": {}, "seeds": 1}, '
            '"rows": [{"method": "before", "seed": 0}]}',
            r"rows\[0\] .*'before', seed 0",
        ),
    ],
)
def test_broken_results_are_refused_and_left_as_they_are(tmp_path, content, message):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        start(tmp_path)
    assert (tmp_path / "results.json").read_text() == content


def test_processes_with_other_arguments_are_refused(tmp_path, monkeypatch):
    def two_processes(value):
        return [value, value | {"seeds": 3}]

    monkeypatch.setattr(_results_file, "all_gather_json", two_processes)
    with pytest.raises(ValueError, match=r"process 1 .*its seeds differ"):
        start(tmp_path)


def test_provenance_is_the_data_the_settings_and_the_method(tmp_path):
    results = start(tmp_path, data={"fingerprint": "ab12", "forget": 3}, epochs=(1, 2))
    expected = {"data": "ab12", "epochs": [1, 2], "method": {"rate": 1}}
    assert results.made_with("epochs", method="a") == expected


# Settings that a method had in an earlier release


@pytest.fixture
def retired(monkeypatch):
    """The record of a method whose setting `shape` is retired, at its old default."""
    monkeypatch.setattr(GradientSurgery, "retired", {"shape": "round"})
    return method_record(GradientSurgery()) | {"shape": "round"}


def test_retired_setting_at_its_old_default_is_accepted(tmp_path, retired):
    now = method_record(GradientSurgery())
    assert upgrade_made_with({"data": "ab", "method": retired}) == {"data": "ab", "method": now}
    start(tmp_path, methods={"gradient_surgery": retired})
    results = start(tmp_path, methods={"gradient_surgery": now})
    assert results.content["config"]["methods"] == {"gradient_surgery": now}
    assert method_from("gradient_surgery", now) == GradientSurgery()


def test_retired_setting_at_another_value_is_refused(tmp_path, retired):
    other = retired | {"shape": "square"}
    start(tmp_path, methods={"gradient_surgery": other})
    with pytest.raises(ValueError, match="shape: 'square' there, None now"):
        start(tmp_path, methods={"gradient_surgery": method_record(GradientSurgery())})
    with pytest.raises(ValueError, match=r"'gradient_surgery'.*shape"):
        method_from("gradient_surgery", other)


# Settings of a later release


def test_a_record_leaves_out_later_settings_at_their_defaults():
    record = method_record(GradientSurgery(scope="leaf"))
    assert record.keys() == {
        "name", "learning_rate", "batch_size", "retain_batch_size", "label", "loss", "through",
        "sign", "when", "scope", "retain_gradients", "incoming", "retain_weight",
    }  # fmt: skip
    assert method_from("gradient_surgery", record) == GradientSurgery(scope="leaf")


def test_a_record_keeps_later_settings_that_are_used():
    method = GradientSurgery(scope="measured", conflict_layers=5)
    record = method_record(method)
    assert (record["scope"], record["conflict_layers"]) == ("measured", 5)
    assert "variant" not in record
    assert method_from("measured", record) == method
