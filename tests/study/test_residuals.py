"""Images one by one: phi of each image beside the rows, and e against the retrained models."""

import numpy as np
import pytest
from tiny_study import read, run_tiny

from gsu_jax.metrics import RESIDUAL_METRICS, image_residuals
from gsu_jax.study import _evidence

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("plain_report")]

OPTIONS = {"methods": ("before", "retrain", "gradient_ascent"), "seeds": 1, "ensemble": 3}


@pytest.fixture(scope="module")
def out(tmp_path_factory, finished):
    folder = tmp_path_factory.mktemp("residuals") / "out"
    run_tiny(folder, models_from=finished, **OPTIONS)
    return folder


def arrays(folder, name):
    with np.load(folder / "evidence" / f"{name}.npz") as file:
        return dict(file)


def row_of(folder, method, seed=0):
    rows = read(folder)["rows"]
    (found,) = (row for row in rows if (row["method"], row["seed"]) == (method, seed))
    return found


def test_the_mean_of_the_kept_phi_is_that_of_the_row(out):
    for method in ("before", "retrain", "gradient_ascent"):
        for kind in ("forget", "retain"):
            kept = arrays(out, f"{method}-0")[f"phi_{kind}"]
            assert kept.mean() == pytest.approx(row_of(out, method)[f"phi_{kind}"])
    assert (out / "evidence" / "before-0.npz").stat().st_size < 10_000


def test_e_is_the_residual_against_all_retrained_models(out):
    retrained = np.stack([arrays(out, f"retrain-{seed}")["phi_forget"] for seed in range(3)])
    own, row = arrays(out, "gradient_ascent-0"), row_of(out, "gradient_ascent")
    expected = image_residuals(own["phi_forget"], retrained)
    np.testing.assert_allclose(own["e_forget"], expected.values)
    assert row["e_forget"] == pytest.approx(expected.values.mean())
    assert row["e_forget_outside"] == expected.outside
    assert {e["metric"] for e in read(out)["summary"]} >= {*RESIDUAL_METRICS}


def test_e_of_a_retrained_model_is_against_the_others(out):
    phi = [arrays(out, f"retrain-{seed}")["phi_retain"] for seed in range(3)]
    expected = image_residuals(phi[1], np.stack([phi[0], phi[2]]))
    np.testing.assert_allclose(arrays(out, "retrain-1")["e_retain"], expected.values)
    assert row_of(out, "retrain", 1)["e_retain_outside"] == expected.outside


def test_fewer_than_three_retrained_models_give_no_e(finished):
    assert not [row for row in read(finished)["rows"] if row.keys() & {*RESIDUAL_METRICS}]
    assert "e_forget" not in arrays(finished, "before-0")


def test_a_finished_study_stays_as_it_is(out, files, no_work):
    before = files(out)
    (out / "report.html").touch()
    run_tiny(out, **OPTIONS)
    assert {k: v for k, v in files(out).items() if "log" not in k.name} == {
        k: v for k, v in before.items() if "log" not in k.name
    }


def test_lost_or_damaged_files_are_measured_again_and_the_rows_stay(out, monkeypatch):
    rows, kept = read(out)["rows"], arrays(out, "before-0")
    (out / "evidence" / "before-0.npz").unlink()
    (out / "evidence" / "retrain-2.npz").write_bytes(b"half")
    run_tiny(out, **OPTIONS)
    assert read(out)["rows"] == rows
    for name, values in arrays(out, "before-0").items():
        np.testing.assert_array_equal(values, kept[name])
    monkeypatch.setattr(_evidence, "evidence_of_kinds", None)
    run_tiny(out, **OPTIONS)


def test_more_retrained_models_change_e(out):
    before = row_of(out, "before")
    run_tiny(out, **OPTIONS | {"ensemble": 4})
    after = row_of(out, "before")
    assert after["e_forget"] != before["e_forget"]
    assert after["phi_forget"] == before["phi_forget"]
    phi = np.stack([arrays(out, f"retrain-{seed}")["phi_forget"] for seed in range(4)])
    expected = image_residuals(arrays(out, "before-0")["phi_forget"], phi)
    assert after["e_forget_outside"] == expected.outside
