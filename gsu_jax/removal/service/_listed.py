"""Whether a case speaks of the images of its ledger."""

import numpy as np

from gsu_jax.removal.service._case import Case


def is_listed(case: Case) -> bool:
    """Whether the list of the images is that of the ledger, by the commitments of both.

    If a class or an attribute is forgotten, the judge must look for what those images show.
    """
    committed = case.secrets.load(case.number).commit(case.positions)
    if committed != case.last("identified").predicate["commitments"]:
        return False
    if case.facts["what"] not in ("class", "attribute"):
        return case.target is None
    if case.target is None:
        return False
    attribute, classes = case.target
    shown = np.isin(case.source.train.attributes[attribute], classes)
    return np.array_equal(np.flatnonzero(shown), case.positions)
