"""What the benchmarks read from the text of a compiled program."""

import jax
import jax.numpy as jnp
import pytest
from collectives import Collective, collectives


def test_collectives_are_read_from_a_program():
    mesh = jax.make_mesh((8,), ("a",))
    split = jax.NamedSharding(mesh, jax.P("a"))

    def total(x):
        add = jax.shard_map(lambda x: jax.lax.psum(x, "a"), in_specs=jax.P("a"), out_specs=jax.P())
        return add(x)

    x = jax.ShapeDtypeStruct((16, 3), jnp.bfloat16, sharding=split)
    with jax.set_mesh(mesh):
        program = jax.jit(total).lower(x).compile()
    (found,) = collectives(program)
    assert found.kind == "all-reduce"
    assert found.shapes == ((2, 3),)
    assert found.bytes in (12, 24)  # a CPU sums bfloat16 in float32


def test_program_of_one_device_has_no_collectives():
    assert collectives(jax.jit(jnp.sin).lower(1.0).compile()) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "%a = (f32[2,3]{1,0}, f32[]) all-reduce(%x, %y), channel_id=1",
            Collective("all-reduce", ((2, 3), ()), 28),
        ),
        ("%a = bf16[8]{0} all-gather-start(%x)", Collective("all-gather", ((8,),), 16)),
        ("%a = bf16[8]{0} all-gather-done(%x)", None),
        ("%a = f32[8]{0} add(%x, %all-reduce.3)", None),
    ],
)
def test_line_of_a_program_is_parsed(line, expected):
    class Program:
        as_text = staticmethod(lambda: line)

    assert collectives(Program) == ([expected] if expected else [])
