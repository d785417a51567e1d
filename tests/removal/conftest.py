import pytest
from removal_desk import Desk
from removal_events import Office

from gsu_jax.removal.service import run, verify_case


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture(scope="session")
def run_desk(tmp_path_factory):
    """A desk whose request was run; take a copy to change it."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    desk.plan()
    run(desk.case())
    return desk


@pytest.fixture
def ran(run_desk, tmp_path):
    return run_desk.copy(tmp_path / "copy")


@pytest.fixture(scope="session")
def verified_desk(run_desk, tmp_path_factory):
    desk = run_desk.copy(tmp_path_factory.mktemp("verified") / "desk")
    verify_case(desk.case(), samples=200)
    return desk


@pytest.fixture
def verified(verified_desk, tmp_path):
    return verified_desk.copy(tmp_path / "copy")
