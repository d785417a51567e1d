import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_step(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    return run_benchmark("step.py", *arguments, folder=folder)


def run_benchmark(benchmark: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess:
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / benchmark), *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def written(folder: Path, benchmark: str) -> dict:
    path = folder / "benchmarks" / "results" / f"{benchmark}.json"
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("step")
    few = ["--rounds", "2", "--steps", "1", "--batch-sizes", "8"]
    run = run_step(*few, "--only", "gradient_surgery", "redirect_surgery", folder=folder)
    assert run.returncode == 0, run.stderr
    return run, written(folder, "step")


def test_step_writes_a_row_for_each_kind_of_step(measured):
    _, result = measured
    kinds = [row["step"] for row in result["rows"]]
    assert kinds == [
        "gradient_ascent",
        "two gradients, summed",
        "gradient_surgery",
        "redirect_surgery",
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


def test_redirect_takes_its_own_share_of_images(measured):
    _, result = measured
    sizes = {row["step"]: (row["forget_batch"], row["retain_batch"]) for row in result["rows"]}
    assert sizes["gradient_ascent"] == (8, 8)
    assert sizes["redirect_surgery"] == (8, 4)


def test_step_says_what_it_ran_on_and_with(measured):
    run, result = measured
    assert result["settings"] == {
        "models": ["mlp"],
        "batch_sizes": [8],
        "dtypes": ["float32"],
        "only": ["gradient_surgery", "redirect_surgery"],
        "rounds": 2,
        "steps": 1,
        "out": str(Path("benchmarks/results/step.json")),
    }
    assert {"jax", "devices", "cpus", "load", "date", "versions"} <= set(result["environment"])
    assert "written to" in run.stdout
    for row in result["rows"]:
        assert row["step"] in run.stdout
        assert (row["model"], row["dtype"], row["batch_size"]) == ("mlp", "float32", 8)


@pytest.mark.slow
def test_step_computes_in_bfloat16_and_times_the_named_kinds_beside_the_bases(tmp_path):
    arguments = ["--dtypes", "bfloat16", "--batch-sizes", "4", "--only", "projection, ravelled"]
    run = run_step(*arguments, "--steps", "1", "--rounds", "1", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    rows = written(tmp_path, "step")["rows"]
    assert [row["step"] for row in rows] == [
        "gradient_ascent",
        "two gradients, summed",
        "projection, ravelled",
    ]
    assert {row["dtype"] for row in rows} == {"bfloat16"}
    assert "computed in bfloat16, batches of 4" in run.stdout


@pytest.mark.parametrize(
    ("benchmark", "arguments", "named"),
    [
        ("step.py", "--rounds many", "--rounds"),
        ("step.py", "--rounds 0", "rounds must be at least 1"),
        ("step.py", "--batch-sizes -8", "batch_sizes must be"),
        ("step.py", "--dtypes float8", "--dtypes"),
        ("step.py", "--only surgery", "there is no step 'surgery'"),
        ("step.py", "--bogus 1", "--bogus"),
        ("step.py", "--out .", "out must be a file"),
        ("seeds.py", "--seeds 0", "seeds must be"),
        ("seeds.py", "--steps 0", "steps must be at least 1"),
        ("unlearn.py", "--methods ascend", "unknown method 'ascend'"),
        ("unlearn.py", "--rounds 0", "rounds must be at least 1"),
        ("memory.py", "--methods ascend", "unknown method 'ascend'"),
        ("memory.py", "--microbatch-size 3", "does not divide"),
        ("memory.py", "--model gan", "--model"),
        ("projection.py", "--sizes 4", "sizes must be at least 8"),
        ("projection.py", "--spans 1", "spans must be at least 2"),
        ("projection.py", "--rounds 0", "rounds must be at least 1"),
        ("cold.py", "--method ascend", "unknown method 'ascend'"),
        ("cold.py", "--rounds 0", "rounds must be at least 1"),
        ("data.py", "--rounds 0", "rounds must be at least 1"),
        ("data.py", "--datasets mnist --data-dir none", "Give data_dir= (--data-dir)"),
        ("peers.py", "--rounds 0", "rounds must be at least 1"),
        ("run.py", "--only speed", "no benchmark 'speed'"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_message(benchmark, arguments, named, tmp_path):
    run = run_benchmark(benchmark, *arguments.split(), folder=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert named in run.stderr
    assert "Traceback" not in run.stderr


def test_step_refuses_a_place_that_it_cannot_write_before_it_measures(tmp_path):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    run = run_step("--out", "taken/step.json", folder=tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert "taken" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


def test_step_explains_itself(tmp_path):
    run = run_step("--help", folder=tmp_path)
    assert run.returncode == 0
    assert "--rounds" in run.stdout
    assert "--batch-sizes" in run.stdout


@pytest.mark.slow
def test_seeds_are_timed_together_and_one_after_the_other(tmp_path):
    arguments = ["--seeds", "1", "2", "--steps", "1", "--batch-size", "8", "--rounds", "2"]
    done = run_benchmark("seeds.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
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
    assert done.returncode == 0, done.stderr
    result = written(tmp_path, "unlearn")
    epoch, ascent, redirect = result["rows"]
    shares = [a / (10 * b) for a, b in zip(redirect["rounds"], epoch["rounds"], strict=True)]
    assert redirect["share_of_retraining"]["min"] == pytest.approx(min(shares))
    assert ascent["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}


def test_the_memory_of_a_step_is_that_of_its_arguments_and_its_intermediate_values(tmp_path):
    arguments = ["--methods", "gradient_ascent", "synaptic_dampening"]
    arguments += ["--batch-size", "8", "--microbatch-size", "4"]
    done = run_benchmark("memory.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = written(tmp_path, "memory")
    rows = {row["method"]: row for row in result["rows"]}
    # Dampening has no steps.
    assert list(rows) == ["gradient_ascent", "gradient_surgery", "gradient_surgery, microbatched"]
    parameters = 4 * 973_624  # bytes: weights and biases of 784-400-400-20 and its mirror
    for row in rows.values():
        assert row["argument_bytes"] > 3 * parameters  # Adam holds two more of each
    assert rows["gradient_surgery"]["ratio"] == 1.0
    assert rows["gradient_ascent"]["ratio"] < 1.0  # one gradient less


def test_the_projection_is_held_against_the_bytes_that_it_moves(tmp_path):
    arguments = ["--sizes", "800", "--spans", "2", "4", "--most", "1600", "--rounds", "2"]
    done = run_benchmark("projection.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = written(tmp_path, "projection")
    rows = {row["projection"]: row for row in result["rows"]}
    # A span of 4 would have 3,200 values.
    assert list(rows) == ["floor", "leaf by leaf", "ravelled", "floor of 2", "span of 2"]
    for name in ("floor", "floor of 2"):
        assert rows[name]["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert rows["leaf by leaf"]["bytes"] == 5 * 4 * 800
    assert rows["span of 2"]["bytes"] == rows["floor of 2"]["bytes"] == 7 * 4 * 800


def test_run_knows_every_benchmark_of_the_folder(tmp_path):
    own = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {
        "paired",
        "run",
        "in_pytorch",
    }
    run = run_benchmark("run.py", "--only", "speed", folder=tmp_path)
    listed = run.stderr.split("There is:")[1]
    assert all(name in listed for name in own)


@pytest.mark.slow
def test_a_cold_request_is_the_sum_of_its_stages_and_a_second_one_compiles_nothing(tmp_path):
    arguments = ["--rounds", "1", "--forget", "40", "--retain", "200"]
    done = run_benchmark("cold.py", *arguments, "--method", "gradient_ascent", folder=tmp_path)
    assert done.returncode == 0, done.stderr  # the request itself asserts that nothing is compiled
    cold, cached = written(tmp_path, "cold")["rows"]
    for row in (cold, cached):
        stages = {name: seconds["median"] for name, seconds in row["stages"].items()}
        assert min(stages.values()) >= 0
        whole = sum(stages.values()) - stages["second request"]
        assert row["seconds"]["median"] == pytest.approx(whole)


def test_a_cached_reading_is_held_against_the_cold_one_of_its_round(tmp_path):
    done = run_benchmark("data.py", "--rounds", "2", "--data-dir", "none", folder=tmp_path)
    assert done.returncode == 0, done.stderr
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
    assert run.returncode == 0, run.stderr
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
    assert done.returncode == 0, done.stderr  # it compares losses and gradients before it measures
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
    assert run.returncode == status
    assert "pip install 'gsu-jax[bench]'" in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
