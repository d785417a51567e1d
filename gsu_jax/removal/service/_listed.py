"""Whether a case speaks of the images of its ledger."""

from gsu_jax.removal.service._case import Case


def is_listed(case: Case) -> bool:
    """Whether the list of the images is that of the ledger, by the commitments of both."""
    committed = case.secrets.load(case.number).commit(case.positions)
    return committed == case.last("identified").predicate["commitments"]
