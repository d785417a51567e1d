"""The other benchmarks measure what they say."""

import importlib.util

import pytest
from benchmark_program import run_benchmark, written


@pytest.mark.slow
def test_seeds_are_timed_together_and_one_after_the_other(tmp_path):
    arguments = ["--seeds", "1", "2", "--steps", "1", "--batch-size", "8", "--rounds", "2"]
    done = run_benchmark("seeds.py", *arguments, folder=tmp_path)
    assert done.status == 0, done.stderr
    result = written(tmp_path, "seeds")
    assert [row["seeds"] for row in result["rows"]] == [1, 2]
    for row in result["rows"]:
        paired = [one["one after the other"] / one["together"] for one in row["rounds"]]
        assert row["speedup"]["min"] == pytest.approx(min(paired))
        assert row["speedup"]["max"] == pytest.approx(max(paired))


@pytest.mark.slow
def test_a_request_is_held_against_a_retraining_of_the_same_round(tmp_path):
    arguments = ["--methods", "gradient_ascent", "redirect_surgery", "--rounds", "2"]
    arguments += ["--forget", "16", "--retain", "24", "--epochs", "10"]
    done = run_benchmark("unlearn.py", *arguments, folder=tmp_path)
    assert done.status == 0, done.stderr
    result = written(tmp_path, "unlearn")
    epoch, ascent, redirect = result["rows"]
    shares = [a / (10 * b) for a, b in zip(redirect["rounds"], epoch["rounds"], strict=True)]
    assert redirect["share_of_retraining"]["min"] == pytest.approx(min(shares))
    assert ascent["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}


@pytest.mark.slow
def test_the_memory_of_a_step_is_that_of_its_arguments_and_its_intermediate_values(tmp_path):
    arguments = ["--methods", "gradient_ascent", "synaptic_dampening"]
    arguments += ["--batch-size", "8", "--microbatch-size", "4"]
    done = run_benchmark("memory.py", *arguments, folder=tmp_path)
    assert done.status == 0, done.stderr
    result = written(tmp_path, "memory")
    rows = {row["method"]: row for row in result["rows"]}
    # Dampening has no steps.
    assert list(rows) == ["gradient_ascent", "gradient_surgery", "gradient_surgery, microbatched"]
    parameters = 4 * 973_624  # bytes: weights and biases of 784-400-400-20 and its mirror
    for row in rows.values():
        assert row["argument_bytes"] > 3 * parameters  # Adam holds two more of each
    assert rows["gradient_surgery"]["ratio"] == 1.0
    assert rows["gradient_ascent"]["ratio"] < 1.0  # one gradient less


@pytest.mark.long
def test_the_projection_is_held_against_the_bytes_that_it_moves(tmp_path):
    arguments = ["--sizes", "800", "--spans", "2", "4", "--most", "1600", "--rounds", "2"]
    done = run_benchmark("projection.py", *arguments, folder=tmp_path)
    assert done.status == 0, done.stderr
    result = written(tmp_path, "projection")
    rows = {row["projection"]: row for row in result["rows"]}
    # A span of 4 would have 3,200 values.
    assert list(rows) == ["floor", "leaf by leaf", "ravelled", "floor of 2", "span of 2"]
    for name in ("floor", "floor of 2"):
        assert rows[name]["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert rows["leaf by leaf"]["bytes"] == 5 * 4 * 800
    assert rows["span of 2"]["bytes"] == rows["floor of 2"]["bytes"] == 7 * 4 * 800


@pytest.mark.slow
def test_a_cold_request_is_the_sum_of_its_stages_and_a_second_one_compiles_nothing(tmp_path):
    arguments = ["--rounds", "1", "--forget", "40", "--retain", "200"]
    done = run_benchmark("cold.py", *arguments, "--method", "gradient_ascent", folder=tmp_path)
    assert done.status == 0, done.stderr  # the request itself asserts that nothing is compiled
    cold, cached = written(tmp_path, "cold")["rows"]
    for row in (cold, cached):
        stages = {name: seconds["median"] for name, seconds in row["stages"].items()}
        assert min(stages.values()) >= 0
        whole = sum(stages.values()) - stages["second request"]
        assert row["seconds"]["median"] == pytest.approx(whole)


def test_a_cached_reading_is_held_against_the_cold_one_of_its_round(tmp_path):
    done = run_benchmark("data.py", "--rounds", "2", "--data-dir", "none", folder=tmp_path)
    assert done.status == 0, done.stderr
    assert "left out: mnist. data_dir: the folder none does not exist" in done.stdout
    (row,) = written(tmp_path, "data")["rows"]
    assert (row["dataset"], row["images"]) == ("digits", 1797)
    assert row["cache_bytes"] > 4 * 64 * 1797  # float32 images of 8x8
    faster = [one["cold"] / one["cached"] for one in row["rounds"]]
    assert row["speedup"]["min"] == pytest.approx(min(faster))
    assert row["speedup"]["max"] == pytest.approx(max(faster))


@pytest.mark.slow
def test_a_step_is_counted_and_what_it_exchanges_read_from_the_program(tmp_path):
    arguments = ("--widths", "16", "32", "--batch-size", "8", "--rounds", "2")
    run = run_benchmark("scaling.py", *arguments, folder=tmp_path)
    assert run.status == 0, run.stderr
    rows = written(tmp_path, "scaling")["rows"]
    counted = [row for row in rows if row["kind"] == "counted"]
    assert [(row["step"], row["width"]) for row in counted] == [
        ("ascent", 16), ("surgery", 16), ("ascent", 32), ("surgery", 32),
    ]  # fmt: skip
    assert all(0.5 < row["over_formula"] < 3 for row in counted)
    shared, split = (row for row in rows if row["kind"] == "exchanged")
    assert shared["bytes"] == pytest.approx(shared["formula_bytes"], rel=1e-4)
    assert split["formula_bytes"] == shared["formula_bytes"] / 2
    predicted = {
        (row["parameters"], row["reuse"], row["devices"]): row.get("seconds")
        for row in rows
        if row["kind"] == "predicted"
    }
    assert len(predicted) == 16
    assert predicted[1e10, 1, 1] is None  # does not fit
    assert predicted[1e8, 256, 512] < predicted[1e8, 256, 1] / 100


HAS_PEERS = all(importlib.util.find_spec(name) is not None for name in ("torch", "torchjd"))


@pytest.mark.skipif(not HAS_PEERS, reason="needs torch and torchjd: pip install 'gsu-jax[bench]'")
def test_peers_compute_the_same_and_are_held_against_jax(tmp_path):
    arguments = ["--rounds", "2", "--steps", "1", "--batch-size", "4"]
    done = run_benchmark("peers.py", *arguments, folder=tmp_path)
    assert done.status == 0, done.stderr  # it compares losses and gradients before it measures
    rows = {row["kind"]: row for row in written(tmp_path, "peers")["rows"]}
    bases = {"JAX, gradient_surgery", "JAX, conv VAE gradient"}
    assert {row["base"] for row in rows.values()} == bases
    assert {"PyTorch, surgery by hand", "TorchJD, PCGrad", "TorchJD, UPGrad"} <= set(rows)
    for row in rows.values():
        paired = [a / b for a, b in zip(row["rounds"], rows[row["base"]]["rounds"], strict=True)]
        assert row["ratio"]["min"] == pytest.approx(min(paired))
        assert row["ratio"]["max"] == pytest.approx(max(paired))


@pytest.mark.skipif(HAS_PEERS, reason="torch and torchjd are installed")
@pytest.mark.parametrize(("benchmark", "status"), [("peers.py", 2), ("run.py --only peers", 0)])
def test_without_pytorch_its_benchmark_says_what_to_install(benchmark, status, tmp_path):
    run = run_benchmark(*benchmark.split(), folder=tmp_path)
    assert run.status == status
    assert "pip install 'gsu-jax[bench]'" in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
