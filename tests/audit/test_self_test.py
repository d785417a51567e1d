"""An audit spares models that never saw the data, and fails those that did."""

import numpy as np
import pytest

from gsu_jax.audit import KnownModels, Verdict, self_test

LINES = ("phi", "recovery", "set")


def known(original: float, fine_tuned: float, m: int = 200, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        name: KnownModels(
            rng.normal(size=m), original + rng.normal(size=4), fine_tuned + rng.normal(size=4)
        )
        for name in LINES
    }


def test_retrained_models_pass_at_the_level_that_the_lines_share():
    found = self_test(known(10.0, 8.0), effect=8.0)
    assert found.passed.value == pytest.approx(1 - 0.05 / 3, abs=0.015)
    assert found.false_alarms.low <= 0.05
    assert found.believed
    assert found.models == {"retrained": 200, "original": 4, "fine_tuned": 4}


def test_models_that_saw_the_data_fail():
    found = self_test(known(10.0, 8.0), effect=8.0)
    assert found.overall["original"][Verdict.FAILED] == 1
    assert found.overall["fine_tuned"][Verdict.FAILED] == 1


def test_rates_of_a_group_sum_to_one():
    found = self_test(known(2.0, 1.0), effect=2.0)
    for groups in (*found.lines.values(), found.overall):
        for rates in groups.values():
            assert sum(rates.values()) == pytest.approx(1)


def test_image_that_nobody_memorizes_is_not_detectable():
    found = self_test(known(0.3, 0.1, m=32), effect=0.3)
    assert not found.believed
    for group in ("retrained", "original", "fine_tuned"):
        for line in LINES:
            assert found.lines[line][group][Verdict.NOT_DETECTABLE] >= 0.5
            assert found.lines[line][group][Verdict.PASSED] == 0


def test_lines_at_a_level_that_is_not_shared_raise_false_alarms():
    found = self_test(known(10.0, 8.0), effect=8.0, level=0.95)
    assert found.passed.value == pytest.approx(0.95, abs=0.02)
    assert found.false_alarms.value == pytest.approx(1 - 0.95**3, abs=0.05)


def test_line_without_power_counts_as_no_line_that_is_passed():
    weak = {"weak": known(0.3, 0.1)["phi"]}
    found = self_test(known(10.0, 8.0) | weak, effect=dict.fromkeys(LINES, 8.0) | {"weak": 0.3})
    assert found.passed.value > 0.95
    assert found.lines["weak"]["retrained"][Verdict.PASSED] == 0
    assert np.isnan(self_test(weak, effect=0.3).passed.value)


def test_control_with_something_to_find_is_not_believed():
    effects = dict.fromkeys(LINES, 8.0)
    for shift, believed in ((0.0, True), (9.0, False)):
        controls = {"unseen": known(shift, shift)["phi"]}
        found = self_test(
            known(10.0, 8.0), effect=effects | {"unseen": max(shift, 0.1)}, controls=controls
        )
        assert found.believed == believed
        assert (found.unseen >= 0.95) == believed
        assert found.overall["original"][Verdict.FAILED] == 1


def test_audit_that_the_original_passes_is_not_believed():
    assert not self_test(known(0.0, 8.0, seed=1), effect=8.0).believed


def test_one_line_that_sees_the_data_is_enough():
    figures = known(0.0, 0.0) | {"recovery": known(9.0, 9.0)["recovery"]}
    found = self_test(figures, effect=9.0)
    assert found.overall["original"][Verdict.FAILED] == 1
    assert found.lines["phi"]["original"][Verdict.FAILED] < 1


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="figures must be one or more lines"):
        self_test({}, effect=1.0)
    with pytest.raises(ValueError, match="figures must be one or more lines"):
        self_test(known(1.0, 1.0) | {"odd": KnownModels([1.0, 2.0, 3.0], [1.0], [1.0])}, effect=1.0)
    with pytest.raises(ValueError, match="retrained must be three or more models, got 2"):
        self_test({"phi": KnownModels([1.0, 2.0], [1.0], [1.0])}, effect=1.0)
