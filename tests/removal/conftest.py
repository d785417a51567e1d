import pytest
from removal_desk import Desk, sign_verdict
from removal_events import Office

from gsu_jax.audit import not_run
from gsu_jax.removal.service import _plan, _run, _verify, release, run, verify_case
from gsu_jax.removal.service._quote import Quote


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


@pytest.fixture(scope="session")
def desks(tmp_path_factory):
    """A desk before each step: only the step itself is left to do."""
    found, desk = {}, Desk(tmp_path_factory.mktemp("faults"))
    for name, step in {
        "plan": lambda: desk.plan(),
        "run": lambda: run(desk.case()),
        "verify": lambda: sign_verdict(desk),
        "release": lambda: release(desk.case(), although_failed=True),
        "close": lambda: None,
    }.items():
        found[name] = desk.copy(tmp_path_factory.mktemp(name) / "desk")
        step()
    return found


UNLEARNED = {}  # request -> what its run found


@pytest.fixture
def quick(monkeypatch):
    """Steps that compute next to nothing, and write all that they write."""
    unlearn = _run._unlearn

    def unlearn_once(case):
        if case.number not in UNLEARNED:
            UNLEARNED[case.number] = unlearn(case)
        outcome, *rest = UNLEARNED[case.number]
        return outcome._replace(published=str(case.published)), *rest

    quote = Quote(steps=2, seconds=0.1, compile_seconds=0.0)
    monkeypatch.setattr(_plan, "quote_run", lambda *_: quote)
    monkeypatch.setattr(_plan, "conflict", lambda *_: (0.0, 0.5))
    monkeypatch.setattr(_run, "_unlearn", unlearn_once)
    monkeypatch.setattr(_verify, "_run", lambda test, *_: (not_run(test.name), "a test"))
