"""The exclusion manifest: a signed file of images that must not be trained on again."""

import hashlib
import os
from pathlib import Path

from gsu_jax.data import Exclusions
from gsu_jax.removal._events import DIGEST, OWN
from gsu_jax.removal._signing import PublicKeys, RoleKey, open_envelope, sign
from gsu_jax.removal._statements import STATEMENT
from gsu_jax.storage import write_whole

EXCLUSIONS = f"{OWN}/exclusions/v1"


def write_exclusions(path: str | os.PathLike, exclusions: Exclusions, key: RoleKey) -> None:
    """Writes exclusions as a DSSE envelope that the operator signs; replaces an earlier file.

    Raises:
        OSError: The file cannot be written; an earlier one is unchanged.
        ValueError: The key is not the operator's.

    Example:
        >>> import tempfile
        >>> from gsu_jax.data import Exclusions, exclude, load
        >>> from gsu_jax.removal import init_keys, load_key, load_public_keys
        >>> folder, digits = tempfile.mkdtemp(), load("digits")
        >>> _ = init_keys(folder)
        >>> removed = Exclusions.of(digits.train.images[[3, 14]])
        >>> write_exclusions(f"{folder}/exclusions.json", removed, load_key(folder, "operator"))
        >>> found = read_exclusions(f"{folder}/exclusions.json", load_public_keys(folder))
        >>> len(exclude(digits, found, found="drop").train)
        1436
    """
    if key.role != "operator":
        raise ValueError(f"key: exclusions are signed by the operator, got the {key.role}'s key")
    commitments = sorted(exclusions.commitments)
    digest = hashlib.sha256("".join(commitments).encode()).hexdigest()
    envelope = sign(
        {
            "_type": STATEMENT,
            "subject": [{"name": "exclusions", "digest": {"sha256": digest}}],
            "predicateType": EXCLUSIONS,
            "predicate": {"salt": exclusions.salt.hex(), "commitments": commitments},
        },
        key.signer,
    )
    # With the salt, who has an image can tell whether it was removed.
    write_whole(path, envelope, private=True)


def read_exclusions(path: str | os.PathLike, public_keys: PublicKeys) -> Exclusions:
    """Returns the exclusions of a file, for `gsu_jax.data.exclude`.

    Raises:
        OSError: The file cannot be read.
        ValueError: It was changed, is signed with another key, or is no file of exclusions.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    statement, fault = open_envelope(text, public_keys["operator"])
    if statement is None:
        raise ValueError(f"{path}: {fault}")
    if statement.get("predicateType") != EXCLUSIONS:
        raise ValueError(f"{path} is no file of exclusions, but {statement.get('predicateType')}")
    said = statement["predicate"]
    if not all(DIGEST.fullmatch(commitment) for commitment in said["commitments"]):
        raise ValueError(f"{path}: its commitments must be 64 hexadecimal digits each")
    return Exclusions(bytes.fromhex(said["salt"]), frozenset(said["commitments"]))
