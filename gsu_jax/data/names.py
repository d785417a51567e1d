"""Messages about names that do not exist: what was found, what is near, what there is."""

import difflib
from collections.abc import Iterable

LONGEST_LIST = 20


def listing(names: Iterable[str]) -> str:
    """`names` with commas, the first 20 of them where there are more."""
    names = list(names)
    shown = ", ".join(names[:LONGEST_LIST])
    rest = len(names) - LONGEST_LIST
    return f"{shown} and {rest} more" if rest > 0 else shown or "none"


def near(found: str, known: Iterable[str]) -> str:
    """A question (did you mean ...?) with the names in `known` like `found`, or nothing."""
    by_lower_case = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(found.lower(), by_lower_case, n=3, cutoff=0.6)
    if not matches:
        return ""
    return f" Did you mean {' or '.join(repr(by_lower_case[match]) for match in matches)}?"


def unknown(argument: str, kind: str, found: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in `known`."""
    known = list(known)
    return ValueError(
        f"{argument}: there is no {kind} {str(found)!r}.{near(str(found), known)} "
        f"There is: {listing(known)}."
    )
