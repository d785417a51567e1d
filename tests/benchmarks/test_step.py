"""`step.py` times each kind of step in the same rounds."""

from pathlib import Path

import pytest
from benchmark_program import run_benchmark, written

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("step")
    few = ["--rounds", "2", "--steps", "1", "--batch-sizes", "8"]
    run = run_benchmark("step.py", *few, "--only", "gradient_surgery", folder=folder)
    assert run.status == 0, run.stderr
    return run, written(folder, "step")


def test_step_writes_a_row_for_each_kind_of_step(measured):
    _, result = measured
    kinds = [row["step"] for row in result["rows"]]
    assert kinds == [
        "gradient_ascent",
        "two gradients, summed",
        "gradient_surgery",
    ]
    for row in result["rows"]:
        assert len(row["rounds"]) == 2
        assert min(row["rounds"]) > 0
        for values in (row["milliseconds"], row["ratio"], row["over_summed"]):
            assert values["min"] <= values["median"] <= values["max"]
        assert row["compile_seconds"] > 0


def test_ratios_are_paired_with_the_ascent_of_their_round(measured):
    _, result = measured
    ascent, *others = result["rows"]
    assert ascent["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    summed = others[0]
    for row in others:
        for name, base in (("ratio", ascent), ("over_summed", summed)):
            paired = [a / b for a, b in zip(row["rounds"], base["rounds"], strict=True)]
            assert row[name]["min"] == pytest.approx(min(paired))
            assert row[name]["max"] == pytest.approx(max(paired))


def test_redirect_takes_its_own_share_of_images(tmp_path):
    few = ["--rounds", "1", "--steps", "1", "--batch-sizes", "8", "--only", "redirect_surgery"]
    assert run_benchmark("step.py", *few, folder=tmp_path).status == 0
    rows = written(tmp_path, "step")["rows"]
    sizes = {row["step"]: (row["forget_batch"], row["retain_batch"]) for row in rows}
    assert sizes["gradient_ascent"] == (8, 8)
    assert sizes["redirect_surgery"] == (8, 4)


def test_step_says_what_it_ran_on_and_with(measured):
    run, result = measured
    assert result["settings"] == {
        "models": ["mlp"],
        "batch_sizes": [8],
        "dtypes": ["float32"],
        "only": ["gradient_surgery"],
        "rounds": 2,
        "steps": 1,
        "memory": False,
        "out": str(Path("benchmarks/results/step.json")),
    }
    assert {"jax", "devices", "cpus", "load", "date", "versions"} <= set(result["environment"])
    assert "written to" in run.stdout
    for row in result["rows"]:
        assert row["step"] in run.stdout
        assert (row["model"], row["dtype"], row["batch_size"]) == ("mlp", "float32", 8)


def test_step_computes_in_bfloat16_and_times_the_named_kinds_beside_the_bases(tmp_path):
    arguments = ["--dtypes", "bfloat16", "--batch-sizes", "4", "--only", "projection, ravelled"]
    run = run_benchmark("step.py", *arguments, "--steps", "1", "--rounds", "1", folder=tmp_path)
    assert run.status == 0, run.stderr
    rows = written(tmp_path, "step")["rows"]
    assert [row["step"] for row in rows] == [
        "gradient_ascent",
        "two gradients, summed",
        "projection, ravelled",
    ]
    assert {row["dtype"] for row in rows} == {"bfloat16"}
    assert "computed in bfloat16, batches of 4" in run.stdout


def test_step_of_a_diffusion_model_has_its_memory_over_that_of_both_gradients(tmp_path):
    few = ["--rounds", "1", "--steps", "1", "--batch-sizes", "8"]
    few += ["--only", "gradient_surgery", "redirect_surgery"]
    run = run_benchmark("step.py", "--models", "diffusion", "--memory", *few, folder=tmp_path)
    assert run.status == 0, run.stderr
    assert "redirect_surgery" not in run.stdout  # it needs an encoder
    rows = {row["step"]: row for row in written(tmp_path, "step")["rows"]}
    summed, surgery = rows["two gradients, summed"], rows["gradient_surgery"]
    assert summed["memory_over_summed"] == 1.0
    assert surgery["memory_over_summed"] == surgery["peak_bytes"] / summed["peak_bytes"]
    assert surgery["argument_bytes"] + surgery["intermediate_bytes"] <= surgery["peak_bytes"]
    assert 0.5 < surgery["memory_over_summed"] < 2.0
    assert "peak MiB" in run.stdout
