"""What we read from JAX and XLA beyond their public interface."""

import jax
import jax.numpy as jnp
import pytest

from gsu_jax.runtime import _jax_internals as internals
from gsu_jax.runtime import explain_abort, is_lost_peer, own_words

LOST = """step 7 of 9
E1125 02:27:39.443460   17268 coordination_service.cc:1549] Use error polling to propagate the \
following error to all tasks: UNAVAILABLE: The following tasks are unhealthy (stopped sending \
heartbeats):
1
2
The tasks have crashed. Check the task logs for an earlier error.
F1125 02:27:39.444498   17279 client.h:80] Terminating process because the JAX distributed service \
detected fatal errors.
"""


def test_process_group_of_one_process_has_no_client():
    group = internals.process_group()
    assert (group.num_processes, group.process_id, group.client) == (1, 0, None)


def test_own_words_end_at_the_report_of_xla():
    assert own_words(LOST) == "step 7 of 9\n"
    assert own_words("error: no such file\n") == "error: no such file\n"


def test_abort_names_the_processes_that_caused_it():
    assert explain_abort(LOST) == "process 1, 2 was lost (its heartbeats stopped)"
    late = "Barrier failed because: UNAVAILABLE: Task 3 heartbeat timeout. Id: Shutdown::12::0"
    assert explain_abort(late).startswith("process 3 was lost")
    alone = "Barrier timed out. Id: Shutdown::12::0.\nThe first task at the barrier: 1. Some timed"
    assert explain_abort(alone).startswith("process 1 failed")
    leader = "UNAVAILABLE: Failed to send RPC to coordination service."
    assert explain_abort(leader).startswith("process 0 was lost")
    nobody = "DEADLINE_EXCEEDED: Deadline Exceeded\n\nRPC: /xla.CoordinationService/RegisterTask"
    assert explain_abort(nobody).startswith("not all processes came")
    assert explain_abort("Segmentation fault") is None


def test_error_of_a_collective_tells_of_a_lost_peer_among_several_processes(monkeypatch):
    error = ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer")
    assert not is_lost_peer(error)
    monkeypatch.setattr(internals.process_group(), "client", object())
    assert is_lost_peer(error)
    assert not is_lost_peer(ValueError("seeds must be at least 1, got 0"))


def test_error_of_xla_for_a_huge_program_is_out_of_memory():
    program = jax.jit(lambda x: jnp.zeros(2**48, jnp.float32) + x).lower(1.0).compile()
    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        program(1.0)
    assert internals.is_out_of_memory(raised.value)
    assert not internals.is_out_of_memory(jax.errors.JaxRuntimeError("INTERNAL: a fault"))
