"""`import gsu_jax` needs jax, optax and numpy alone, and costs nothing over importing those."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FORBID = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"forbidden: {{name}}", name=name)

sys.meta_path.insert(0, Forbidden())
"""

EXTRAS = {
    "PIL", "array_record", "chex", "cryptography", "etils", "flax", "hypothesis", "jax_privacy",
    "matplotlib", "orbax", "psycopg", "rfc8785", "rich", "securesystemslib", "sklearn",
    "sqlalchemy", "tensorflow", "tensorflow_datasets", "tyro",
}  # fmt: skip


def run(code: str) -> str:
    """What Python prints for `code`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_core_runs_without_the_packages_of_the_experiments():
    printed = run(
        FORBID.format(names=EXTRAS)
        + """
import jax, jax.numpy as jnp, optax
import gsu_jax

assert all(hasattr(gsu_jax, name) for name in gsu_jax.__all__)
model = gsu_jax.GenerativeModel(
    lambda key: {"bias": jnp.zeros(4)},
    lambda params, x, key: jnp.square(params["bias"] - x.reshape(len(x), 4)).mean(),
    lambda params, key, n: jnp.zeros((n, 2, 2, 1)),
)
params = model.init(jax.random.key(0))
images = jax.random.uniform(jax.random.key(1), (6, 2, 2, 1))
result = gsu_jax.unlearn(
    model, params, images[:3], images[3:], method="gradient_surgery", key=jax.random.key(2)
)
print(result.steps)
"""
    )
    assert printed.split() == ["1"]


def test_importing_the_core_imports_nothing_besides_what_it_is_built_on():
    printed = run(
        """
import sys
import jax, jax.numpy, optax, numpy
before = set(sys.modules)
import gsu_jax
for name in gsu_jax.__all__:
    getattr(gsu_jax, name)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""
    )
    assert printed.split() == ["gsu_jax"]


def test_the_packages_of_the_experiments_come_with_their_own_rooms():
    printed = run(
        f"""
import sys
import gsu_jax
for name in gsu_jax.__all__:
    getattr(gsu_jax, name)
found = {{name.partition(".")[0] for name in sys.modules}}
print(*sorted({EXTRAS!r} & found - {{"chex", "etils"}}))
"""
    )
    assert printed.split() == []


def test_the_audit_needs_the_core_alone():
    printed = run(
        FORBID.format(names=EXTRAS)
        + """
import gsu_jax.audit as audit
print(len([getattr(audit, name) for name in audit.__all__]) == len(audit.__all__))
"""
    )
    assert printed.split() == ["True"]


def test_networks_without_flax_name_the_extra_that_has_it():
    printed = run(
        FORBID.format(names={"flax"})
        + """
try: from gsu_jax.networks import mlp_vae
except ImportError as error: print(error)
"""
    )
    assert printed.startswith("gsu_jax.networks needs flax")
    assert 'pip install "gsu-jax[experiments]"' in printed


def test_names_and_packages_are_imported_when_they_are_first_used():
    printed = run(
        """
import sys
import gsu_jax
print("jax" in sys.modules, "gsu_jax.surgery" in sys.modules)
print(gsu_jax.project.__name__, gsu_jax.data.load.__name__, gsu_jax.surgery.rules.gru.__name__)
"""
    )
    assert printed.split() == ["False", "False", "project", "load", "gru"]


def test_name_that_does_not_exist_is_an_attribute_error():
    printed = run(
        """
import gsu_jax
for name in ("nothing", "_nothing"):
    try: getattr(gsu_jax, name)
    except AttributeError as error: print(error)
print(hasattr(gsu_jax, "nothing"), "unlearn" in dir(gsu_jax))
"""
    )
    assert printed.splitlines() == [
        "module 'gsu_jax' has no attribute 'nothing'",
        "module 'gsu_jax' has no attribute '_nothing'",
        "False True",
    ]


@pytest.mark.parametrize(
    ("missing", "said"),
    [("sqlalchemy", "gsu_jax.removal needs SQLAlchemy"), ("psycopg", "PostgreSQL needs psycopg")],
)
def test_a_ledger_without_its_packages_names_the_extra_that_has_them(missing, said):
    printed = run(
        FORBID.format(names={missing})
        + """
try:
    from gsu_jax.removal import Ledger
    Ledger("postgresql://host/database")
except ImportError as error: print(error)
"""
    )
    assert said in printed
    assert 'pip install "gsu-jax[removal]"' in printed


def test_bounds_of_epsilon_name_the_extra_that_has_them():
    printed = run(
        FORBID.format(names={"jax_privacy"})
        + """
from gsu_jax.audit import epsilon_bounds
try: epsilon_bounds([1.0, 2.0], [1.0, 2.0])
except ImportError as error: print(error)
"""
    )
    assert "gsu_jax.audit.epsilon_bounds needs jax-privacy" in printed
    assert 'pip install "gsu-jax[audit]"' in printed


def test_a_ledger_needs_nothing_of_the_experiments(tmp_path):
    of_the_ledger = {"cryptography", "psycopg", "rfc8785", "securesystemslib", "sqlalchemy"}
    printed = run(
        FORBID.format(names=EXTRAS - of_the_ledger)
        + f"""
import sys
from gsu_jax.cli import console
from gsu_jax.removal import Ledger, load_key
folder = {str(tmp_path)!r}
def gsu_jax(*words):
    sys.argv = ["gsu-jax", "removal", "ledger", *words]
    console()
gsu_jax("init-keys", folder)
Ledger(folder + "/ledger", "faces").append("received", "1", load_key(folder, "operator"))
gsu_jax("verify", folder + "/ledger", "--keys", folder)
"""
    )
    assert "whole: 1 event of 1 request" in printed
