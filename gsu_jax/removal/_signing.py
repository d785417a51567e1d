"""The keys of operator and verifier, and the envelopes that they sign."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from gsu_jax.checks import choice
from gsu_jax.removal._events import ROLES, canonical
from gsu_jax.storage import write_whole

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PublicKeys = Mapping[str, Sequence[Key]]


class RoleKey(NamedTuple):
    """A private key and the role in which it signs.

    Attributes:
        role: "operator" or "verifier".
        signer: Any signer of securesystemslib: a file, a hardware module, a key service.
    """

    role: str
    signer: Signer


def init_keys(folder: str | os.PathLike) -> list[Path]:
    """Makes an Ed25519 key for each role.

    `ROLE.key` is the private key (PEM, for the owner's eyes), `ROLE.pub` the public one. Move the
    verifier's private key to whoever verifies: one person with both keys can testify alone.

    Args:
        folder: Where; it is made if it is missing.

    Returns:
        The files.

    Raises:
        FileExistsError: A key is there already; nothing is written.
        OSError: A file cannot be written.

    Example:
        >>> import tempfile
        >>> [path.name for path in init_keys(tempfile.mkdtemp())]
        ['operator.key', 'operator.pub', 'verifier.key', 'verifier.pub']
    """
    paths = [Path(folder) / f"{role}.{end}" for role in ROLES for end in ("key", "pub")]
    there = [path for path in paths if path.exists()]
    if there:
        raise FileExistsError(f"{there[0]} exists; choose another folder, or keep that key")
    written: list[Path] = []
    try:
        for private, public in zip(paths[::2], paths[1::2], strict=True):
            signer = CryptoSigner.generate_ed25519()
            key = serialization.load_pem_private_key(signer.private_bytes, None).public_key()
            pem = key.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            for path, content in ((private, signer.private_bytes), (public, pem)):
                write_whole(path, content, private=path == private, new=True)
                written.append(path)
    except BaseException:  # half a set of keys would be in the way of the next call
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return paths


def load_key(folder: str | os.PathLike, role: str) -> RoleKey:
    """Returns the private key `ROLE.key` of a folder.

    Raises:
        FileNotFoundError: There is none.
        ValueError: The role is unknown, or the file is no private key.
    """
    choice(ROLES, role=role)
    path = Path(folder) / f"{role}.key"
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}; give --keys the folder that has it, or make keys: gsu-jax "
            f"removal ledger init-keys {folder}"
        )
    try:
        signer = CryptoSigner(serialization.load_pem_private_key(path.read_bytes(), None))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no private key in PEM form without a password") from error
    return RoleKey(role, signer)


def load_public_keys(folder: str | os.PathLike) -> dict[str, list[Key]]:
    """Returns role -> public keys, from the files `operator*.pub` and `verifier*.pub` of a folder.

    Earlier keys of a role may lie beside the present one, as `operator-2025.pub`.

    Raises:
        FileNotFoundError: A role has no key.
        ValueError: A file is no public key.
    """
    found = {}
    for role in ROLES:
        paths = sorted(Path(folder).glob(f"{role}*.pub"))
        if not paths:
            raise FileNotFoundError(
                f"there is no {Path(folder) / f'{role}.pub'}; give the folder with the public keys "
                f"{' and '.join(f'{name}.pub' for name in ROLES)}"
            )
        found[role] = [_public_key(path) for path in paths]
    return found


def sign(payload: Mapping[str, Any], signer: Signer) -> bytes:
    """Returns a DSSE envelope of `payload`, in RFC 8785 form."""
    envelope = Envelope(canonical(payload), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def open_envelope(text: str, keys: Sequence[Key]) -> tuple[dict[str, Any] | None, str]:
    """Returns the payload of a signed envelope and "", or None and what is wrong with it."""
    try:
        envelope = Envelope.from_dict(json.loads(text))
        is_canonical = canonical(envelope.to_dict()).decode() == text
        payload = json.loads(envelope.payload)
        is_canonical = is_canonical and canonical(payload) == envelope.payload
    except Exception:  # whatever a changed byte makes the decoders raise
        return None, "the envelope cannot be read, so a byte of it was changed"
    if envelope.payload_type != PAYLOAD_TYPE:
        return None, f"the payload type is not {PAYLOAD_TYPE}, so the envelope was changed"
    ids = [key.keyid for key in keys]
    if not set(envelope.signatures) & set(ids):
        got, want = (", ".join(i[:16] for i in some) for some in (envelope.signatures, ids))
        return None, f"it is signed with key {got or 'none'}, and the key given is {want}"
    try:
        envelope.verify(list(keys), 1)
    except VerificationError:
        return None, "the signature does not fit the envelope, which was changed"
    if not is_canonical:
        return None, "the envelope is not in RFC 8785 form, so a byte of it was changed"
    return payload, ""


def _public_key(path: Path) -> Key:
    try:
        return SSlibKey.from_crypto(serialization.load_pem_public_key(path.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{path} is no public key in PEM form") from error
