"""Several requests in one table: ratios to retraining, missed aims, and how many reach them."""

import pytest
from report_rows import row, study

from gsu_jax.cli import _report as command
from gsu_jax.report import requests_table, write_results

PHI = {"before": -20.0, "retrain": -40.0}


def request(forget, *, seeds=4, **methods):
    """A study of retrained models with fratio 0.02, FID 30, nelbo 100, and of `methods`."""
    level = {"fratio": 0.02, "fid_retain": 30.0, "nelbo_retain": 100.0}
    models = {"before": {}, "retrain": {}, **methods}
    rows = [
        row(name, seed, **{
            **level,
            "fratio_second": own.get("fratio", 0.02),
            "fid_retain_second": own.get("fid_retain", 30.0),
            "phi_forget": PHI.get(name, -40.0) + 0.01 * seed,
            "e_retain_outside": 0.05,
            **own,
        })
        for name, own in models.items()
        for seed in range(seeds)
    ]  # fmt: skip
    return study(rows) | {"config": {"forget": forget, "dataset": "mnist"}}


def cells(text):
    """Request and method -> the cells of the figures."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {tuple(cells[1:3]): cells[3:] for cells in lines[2:]}


def test_figures_are_ratios_to_retraining_by_both_judges_and_missed_aims_are_bold():
    good = {"fratio": 0.01, "fid_retain": 33.0, "nelbo_retain": 101.0}
    bad = {"fratio": 0.04, "fid_retain": 36.0, "nelbo_retain": 102.0, "phi_forget": -25.0}
    found = cells(requests_table([request("1", ours=good, other=bad)]))
    assert found["1", "ours"][:3] == ["0.50x, 0.50x", "1.10x, 1.10x", "1.010x"]
    assert found["1", "other"][:3] == ["**2.00x, 2.00x**", "**1.20x, 1.20x**", "**1.020x**"]
    assert found["1", "ours"][3].startswith("0.00 (")
    assert found["1", "other"][3].startswith("**0.75 (")
    assert found["1", "ours"][4:] == ["5% (5%)", "4, 4"]


def test_an_aim_counts_as_reached_if_both_judges_see_it():
    apart = {"fid_retain": 30.0, "fid_retain_second": 60.0}
    found = cells(requests_table([request("1", ours=apart)]))
    assert found["1", "ours"][1] == "**1.00x, 2.00x**"


def test_a_small_fratio_reaches_its_aim_whatever_retrained_models_have():
    studied = request("1", ours={"fratio": 0.004})
    for each in studied["rows"]:
        if each["method"] == "retrain":
            each.update(fratio=0.0001, fratio_second=0.0001)
    assert cells(requests_table([studied]))["1", "ours"][0] == "40.00x, 40.00x"


def test_a_negative_nelbo_is_shown_as_a_difference():
    studied = request("1", ours={"nelbo_retain": -510.0}, worse={"nelbo_retain": -480.0})
    for each in studied["rows"]:
        if each["method"] == "retrain":
            each.update(nelbo_retain=-500.0)
    found = cells(requests_table([studied]))
    assert found["1", "ours"][2] == "-10.0"
    assert found["1", "worse"][2] == "**+20.0**"


def test_the_counts_are_of_requests_on_which_a_method_was_run():
    studies = [
        request("1", ours={}, other={}),
        request("2", ours={"fid_retain": 60.0}, other={}),
        request("3", ours={"phi_forget": -20.0}),
    ]
    text = requests_table(studies)
    assert "ours: fratio, FID and nelbo reach their aims on 2 of 3 requests, rho on 2 of 3." in text
    assert (
        "other: fratio, FID and nelbo reach their aims on 2 of 2 requests, rho on 2 of 2." in text
    )


def test_one_seed_has_no_interval_and_counts_for_no_rho():
    text = requests_table([request("1", seeds=1, ours={})])
    assert cells(text)["1", "ours"][3] == "0.00"
    assert "rho on 0 of 0" in text


def test_rows_are_chosen_by_name_and_in_that_order():
    studied = request("1", ours={}, other={}, third={})
    assert list(cells(requests_table([studied], ["third", "ours"]))) == [
        ("1", "third"),
        ("1", "ours"),
    ]
    with pytest.raises(ValueError, match=r"thrid.*third"):
        requests_table([studied], ["thrid"])
    with pytest.raises(ValueError, match=r"unlearning method 'before'.*Known: ours, other, third"):
        requests_table([studied], ["before"])


def test_a_study_without_retrained_models_is_named():
    studied = request("7", ours={})
    studied["rows"] = [each for each in studied["rows"] if each["method"] != "retrain"]
    with pytest.raises(ValueError, match=r"mnist, forget 7.*no retrained model"):
        requests_table([studied])
    with pytest.raises(ValueError, match="at least one study"):
        requests_table([])


def test_the_command_puts_several_runs_in_one_table(tmp_path, capfd):
    runs = [str(tmp_path / name) for name in ("one", "two")]
    for run, forget in zip(runs, "12", strict=True):
        write_results(f"{run}/results.json", request(forget, ours={}, other={}))
    assert command.main([*runs, "--methods", "ours"]) == 0
    assert list(cells(capfd.readouterr().out)) == [("1", "ours"), ("2", "ours")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}", "{run}", "--format", "csv"], ["--format csv", "got 2"]),
        (["{run}", "--methods", "ours"], ["--methods", "several"]),
        (["{run}", "{run}", "--methods", "our"], ["--methods", "'our'", "ours"]),
        (["{run}", "{run}/nowhere"], ["there is no", "nowhere"]),
    ],
)
def test_the_command_says_what_does_not_go_together(tmp_path, capsys, arguments, words):
    write_results(tmp_path / "results.json", request("1", ours={}))
    assert command.main([each.format(run=tmp_path) for each in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said
