"""A wrong command line is refused in one message, before anything is measured."""

import pytest
from benchmark_program import FOLDER, run_benchmark


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
        ("data.py", "--datasets mnist --data-dir none", "Give data_dir= or"),
        ("peers.py", "--rounds 0", "rounds must be at least 1"),
        ("run.py", "--only speed", "no benchmark 'speed'"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_message(benchmark, arguments, named, tmp_path):
    run = run_benchmark(benchmark, *arguments.split(), folder=tmp_path)
    assert (run.status, run.stdout) == (2, "")
    assert named in run.stderr
    assert "Traceback" not in run.stderr


def test_step_refuses_a_place_that_it_cannot_write_before_it_measures(tmp_path):
    (tmp_path / "taken").write_text("", encoding="utf-8")
    run = run_benchmark("step.py", "--out", "taken/step.json", folder=tmp_path)
    assert run.status == 2
    assert run.stderr.startswith("error: ")
    assert "taken" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


def test_step_explains_itself(tmp_path):
    run = run_benchmark("step.py", "--help", folder=tmp_path)
    assert run.status == 0
    assert "--rounds" in run.stdout
    assert "--batch-sizes" in run.stdout


def test_run_knows_every_benchmark_of_the_folder(tmp_path):
    started = "paired.command_line(main"
    own = [path.stem for path in FOLDER.glob("*.py") if started in path.read_text()]
    run = run_benchmark("run.py", "--only", "speed", folder=tmp_path)
    listed = run.stderr.split("There is:")[1]
    assert all(name in listed for name in own)
