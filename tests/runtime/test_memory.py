"""Out of memory: the error says what is needed, what is there and what to lower to how much."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_autoencoder import MODEL, images

import gsu_jax
from gsu_jax.cli import run_command
from gsu_jax.models import MLPVAEConfig
from gsu_jax.networks import mlp_vae
from gsu_jax.runtime import Compiled, OutOfMemory, explain_out_of_memory
from gsu_jax.runtime import _memory as memory
from gsu_jax.runtime._memory import ProgramMemory, advice, raise_out_of_memory
from gsu_jax.study import Recipe, start_training, train_epoch

GIB = 2**30
BATCHES = {"batch_size": 1024, "retain_batch_size": 512}


def program():
    """Stands for a compiled program that donates an argument of 2 GiB."""
    analysis = SimpleNamespace(
        argument_size_in_bytes=GIB,
        output_size_in_bytes=3 * GIB,
        alias_size_in_bytes=2 * GIB,
        temp_size_in_bytes=8 * GIB,
    )
    return SimpleNamespace(memory_analysis=lambda: analysis)


def exhausted():
    return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 B.\nmore")


def test_donated_arguments_are_no_results():
    needed = ProgramMemory.of(program())
    assert needed == ProgramMemory(arguments=GIB, results=GIB, intermediates=8 * GIB)
    assert needed.total == 10 * GIB
    assert ProgramMemory.of(lambda: None) is None


@pytest.mark.parametrize(
    ("needed", "memory", "models", "batches", "expected"),
    [
        # 1 + 8 + 1 GiB do not fit into 6: 4 of the 8 in between do.
        (ProgramMemory(GIB, GIB, 8 * GIB), 6 * GIB, 1, BATCHES, ["1024 .* 512", "512 .* 256"]),
        (ProgramMemory(GIB, GIB, 8 * GIB), 5 * GIB, 32, {"batch_size": 128}, ["128 .* 48", "16 m"]),
        (ProgramMemory(9 * GIB, 0, GIB), 6 * GIB, 1, BATCHES, ["smaller model"]),
        (None, 6 * GIB, 1, {"batch_size": 100}, ["100 .* 50"]),
        (ProgramMemory(GIB, 0, GIB), 6 * GIB, 1, {"batch_size": 100}, ["100 .* 50"]),
        (None, None, 3, {}, ["take 1 models"]),
    ],
    ids=["batches", "models", "arguments alone", "unknown", "other programs", "unknown models"],
)
def test_advice_is_what_the_device_has_left(needed, memory, models, batches, expected):
    advised = advice(needed, memory, models, batches)
    for pattern in expected:
        assert re.search(pattern, advised)


def test_error_of_a_running_program_becomes_out_of_memory(monkeypatch):
    monkeypatch.setattr(memory, "device_memory", lambda: 6 * GIB)
    with (
        pytest.raises(OutOfMemory, match=r"10\.00 GiB .* 6\.00 GiB .*99 B.* 1024 .* 512") as raised,
        explain_out_of_memory(**BATCHES),
        raise_out_of_memory(program()),
    ):
        raise exhausted()
    assert isinstance(raised.value, MemoryError)


def test_error_outside_a_compiled_program_is_explained():
    with (
        pytest.raises(OutOfMemory, match=r"batch_size from 8 .* 4"),
        explain_out_of_memory(batch_size=8),
    ):
        raise exhausted()


def test_other_errors_pass_through():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), explain_out_of_memory():
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault")


@pytest.mark.parametrize("checked", [True, False], ids=["before it runs", "by XLA"])
def test_program_larger_than_the_machine_is_refused(checked, monkeypatch):
    if not checked:
        monkeypatch.setattr("gsu_jax.runtime._compiled.check_fits", lambda program: None)
    function = Compiled(lambda x: jnp.zeros(2**48, jnp.float32) + x)
    with pytest.raises(OutOfMemory, match=r"1048576\.00 GiB" if checked else "RESOURCE_EXHAUSTED"):
        function(jnp.float32(1))


def test_unlearn_names_its_batch_sizes(monkeypatch):
    model = mlp_vae(MLPVAEConfig(image_shape=(4, 4, 1), widths=(500,), latent_size=2))
    params, pixels = model.init(jax.random.key(0)), np.zeros((64, 4, 4, 1), np.uint8)
    monkeypatch.setattr(memory, "device_memory", lambda: 700_000)  # enough before the steps
    with pytest.raises(OutOfMemory, match=r"batch_size from 32 .* retain_batch_size from 32"):
        gsu_jax.unlearn(
            model, params, pixels, 255 - pixels,
            method="gradient_ascent", key=jax.random.key(0), batch_size=32,
        )  # fmt: skip


def test_train_epoch_names_its_models(monkeypatch):
    recipe, keys = Recipe(batch_size=32), jax.random.split(jax.random.key(0), 3)
    state = start_training(MODEL.init, recipe, keys)
    monkeypatch.setattr(memory, "device_memory", lambda: 3_000)
    with pytest.raises(OutOfMemory, match=r"models at once, not 3"):
        train_epoch(MODEL.loss, recipe, state, np.asarray(images(0, 64)), keys)


def test_command_line_prints_one_message(monkeypatch, capsys):
    def run(arguments):
        raise OutOfMemory("out of memory: lower batch_size")

    monkeypatch.setattr("sys.argv", ["experiment"])
    with pytest.raises(SystemExit) as stopped:
        run_command(run, Recipe())
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: out of memory: lower batch_size\n"
