"""Out of memory: the error names what is needed, what is there and what to lower to how much."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsu_jax
from gsu_jax.cli import answer
from gsu_jax.models import MLPVAEConfig
from gsu_jax.networks import mlp_vae
from gsu_jax.runtime import Compiled, OutOfMemory, jitted, timed
from gsu_jax.runtime import _memory as memory
from gsu_jax.runtime._memory import Needs, Scale, explain
from gsu_jax.study import Recipe, start_training, train_epoch

GIB = 2**30
BATCHES = {"batch_size": 1024, "retain_batch_size": 512}


def exhausted(*arguments):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\nmore")


exhausted.memory_analysis = lambda: SimpleNamespace(
    argument_size_in_bytes=GIB,
    output_size_in_bytes=3 * GIB,
    alias_size_in_bytes=2 * GIB,
    temp_size_in_bytes=8 * GIB,
)


@pytest.fixture
def six_gib(monkeypatch):
    monkeypatch.setattr(memory, "device_memory", lambda: 6 * GIB)
    monkeypatch.setattr(memory, "check_fits", lambda *arguments: None)


def test_what_does_not_fit_is_held_against_the_device_and_the_batches_are_lowered_by_it(six_gib):
    # A donated argument is no result: 1 + 8 + 1 GiB of 6, so 4 of the 8 in between.
    message = explain(memory.needs(exhausted), 6 * GIB, Scale(BATCHES))
    assert "needs 10.00 GiB (1.00 GiB of arguments, 8.00 GiB of intermediate values" in message
    assert "of 6.00 GiB that the device has" in message
    assert (
        "batch_size from 1024 to about 512 and retain_batch_size from 512 to about 256" in message
    )


def test_models_at_once_are_lowered_by_the_whole():
    message = explain(Needs(GIB, GIB, 8 * GIB), 5 * GIB, Scale({"batch_size": 128}, members=32))
    assert "Lower batch_size from 128 to about 48 or take 16 models at once, not 32." in message


def test_where_the_arguments_alone_do_not_fit_no_batch_helps():
    message = explain(Needs(9 * GIB, 0, GIB), 6 * GIB, Scale(BATCHES))
    assert "Take fewer images, or a smaller model." in message
    assert "batch_size" not in message


@pytest.mark.parametrize("found", [None, Needs(GIB, 0, GIB)])
def test_half_is_advised_where_something_unknown_holds_the_rest(found):
    message = explain(found, 6 * GIB, Scale({"batch_size": 100}))
    assert "batch_size from 100 to about 50" in message


@pytest.mark.parametrize("run", [lambda program: program(1.0), lambda program: timed(program, 1.0)])
def test_a_program_that_runs_out_of_memory_says_what_to_lower(run, six_gib, monkeypatch):
    monkeypatch.setattr("gsu_jax.runtime._compiled.check_fits", lambda *arguments: None)
    program = Compiled(lambda x: lambda: exhausted, lambda x: Scale(BATCHES))
    with pytest.raises(OutOfMemory, match=r"from 1024 to about 512 .*allocating 99 bytes"):
        run(program)


def test_compiling_may_run_out_of_memory_too():
    with pytest.raises(OutOfMemory, match="does not fit"):
        Compiled(exhausted).compile(1.0)


def test_other_errors_of_a_program_pass_through():
    def failing(x):
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault")

    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        Compiled(lambda x: lambda: failing)(1.0)


def test_a_real_program_that_is_larger_than_the_machine_is_refused():
    program = jitted(lambda x: jnp.zeros(2**48, jnp.float32) + x)
    with pytest.raises(OutOfMemory, match=r"needs 1048576.00 GiB .* that the device has"):
        program(jnp.float32(1))


def test_xla_itself_is_understood(monkeypatch):
    monkeypatch.setattr("gsu_jax.runtime._compiled.check_fits", lambda *arguments: None)
    program = jitted(lambda x: jnp.zeros(2**48, jnp.float32) + x)
    with pytest.raises(OutOfMemory, match="XLA: RESOURCE_EXHAUSTED"):
        program(jnp.float32(1))


def small():
    images = np.zeros((64, 4, 4, 1), np.uint8)
    return mlp_vae(MLPVAEConfig(image_shape=(4, 4, 1), widths=(8,), latent_size=2)), images


def test_unlearning_names_its_batch_sizes(monkeypatch):
    _, images = small()
    model = mlp_vae(MLPVAEConfig(image_shape=(4, 4, 1), widths=(500,), latent_size=2))
    params = model.init(jax.random.key(0))
    monkeypatch.setattr(memory, "device_memory", lambda: 700_000)  # before the steps it is enough
    with pytest.raises(OutOfMemory, match=r"batch_size from 32 to about \d+ and retain_batch_size"):
        gsu_jax.unlearn(
            model,
            params,
            images,
            images,
            method="gradient_ascent",
            key=jax.random.key(0),
            batch_size=32,
        )


def test_training_names_its_seeds(monkeypatch):
    model, images = small()
    recipe, keys = Recipe(batch_size=32), jax.random.split(jax.random.key(0), 3)
    state = start_training(model.init, recipe, keys)
    monkeypatch.setattr(memory, "device_memory", lambda: 30_000)
    with pytest.raises(OutOfMemory, match=r"models at once, not 3"):
        train_epoch(model.loss, recipe, state, jnp.asarray(images), keys)


def test_the_command_line_ends_in_one_message(monkeypatch, capsys):
    def run(arguments):
        raise OutOfMemory("out of memory: lower batch_size")

    monkeypatch.setattr("sys.argv", ["experiment"])
    with pytest.raises(SystemExit) as stopped:
        answer(run, Scale())
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: out of memory: lower batch_size\n"
