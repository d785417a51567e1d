"""The secret of a request, under which its ids enter the ledger, and which its end destroys."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gsu_jax.removal._events import canonical, check_type
from gsu_jax.storage import write_whole


class CommitmentKey:
    """A secret of 32 bytes, and the commitments under it.

    commit(x) = HMAC-SHA-256(secret, kind and x). Who has the secret and x can check a commitment.
    Without the secret nobody can, not even by trying all ids.

    Example:
        >>> key = CommitmentKey(bytes(32))
        >>> [len(commitment) for commitment in key.commit([3, 14, 159])]
        [64, 64, 64]
        >>> key.commit(["a.png"]) == key.commit(["b.png"])
        False
    """

    def __init__(self, secret: bytes):
        if not isinstance(secret, bytes) or len(secret) != 32:
            raise ValueError("secret must be 32 bytes, as secrets.token_bytes(32) returns them")
        self._secret = secret

    def __repr__(self) -> str:
        return "CommitmentKey(...)"

    def commit(self, values: Iterable[Any], kind: str = "id") -> list[str]:
        """Returns the commitments of `values`, sorted, so that their order says nothing.

        Args:
            values: Positions, names, or images (arrays, of which the content counts).
            kind: "id", "class" or another word: equal values of two kinds differ.

        Raises:
            TypeError: A value is none of these.
        """
        found = []
        for value in values:
            message = canonical([kind, _plain(value)])
            found.append(hmac.new(self._secret, message, hashlib.sha256).hexdigest())
        return sorted(found)


class RequestKeys:
    """A folder with a secret for each open request.

    The folder is no part of the ledger. Keep it out of backups that outlive a request, or the
    secrets live on there.

    Args:
        folder: Where; it is made with the first key.

    Example:
        >>> import tempfile
        >>> keys = RequestKeys(tempfile.mkdtemp())
        >>> keys.create("2026-014")
        CommitmentKey(...)
        >>> keys.destroy("2026-014"), keys.destroy("2026-014")
        (True, False)
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def create(self, request: str) -> CommitmentKey:
        """Makes the secret of a request.

        Raises:
            FileExistsError: The request has one.
            ValueError: `request` is no number of a request.
        """
        path = self._path(request)
        try:
            write_whole(path, secrets.token_bytes(32), private=True, new=True)
        except FileExistsError as error:
            raise FileExistsError(f"request {request} has a key, {path}") from error
        return self.load(request)

    def load(self, request: str) -> CommitmentKey:
        """Returns the secret of a request.

        Raises:
            FileNotFoundError: There is none, or it was destroyed.
            ValueError: The file is damaged.
        """
        path = self._path(request)
        if not path.is_file():
            raise FileNotFoundError(
                f"request {request} has no key {path}; a request that has ended has none any more"
            )
        return CommitmentKey(path.read_bytes())

    def destroy(self, request: str) -> bool:
        """Overwrites and removes the secret of a request; returns whether there was one.

        Raises:
            OSError: It cannot be overwritten.
        """
        path = self._path(request)
        if not path.is_file():
            return False
        try:
            with path.open("r+b") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
        except OSError as error:
            raise OSError(
                f"cannot destroy {path}: {error.strerror or error}; check free space and "
                "permissions, and give the command again"
            ) from error
        return True

    def _path(self, request: str) -> Path:
        check_type("received", request)
        return self.folder / f"{request}.secret"


def _plain(value: Any) -> int | str | list:
    if isinstance(value, np.ndarray) and value.ndim > 0:
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [value.dtype.str, list(value.shape), content]
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"values must be integers, names or images, got {type(value).__name__}")
