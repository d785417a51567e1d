"""The exclusion manifest is signed, private to its owner, and refuses a changed byte."""

import numpy as np
import pytest
from removal_events import Office

from gsu_jax.data import Exclusions
from gsu_jax.removal import read_exclusions, write_exclusions

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), np.uint8)


def test_exclusions_are_read_back_and_may_grow(office, tmp_path):
    path = tmp_path / "exclusions.json"
    write_exclusions(path, Exclusions.of(IMAGES[:2]), office.operator)
    found = read_exclusions(path, office.public_keys)
    write_exclusions(path, found.add(IMAGES[2:3]), office.operator)
    found = read_exclusions(path, office.public_keys)
    assert found.matches(IMAGES).tolist() == [True] * 3 + [False] * 3
    assert path.stat().st_mode & 0o077 == 0


def test_changed_byte_and_wrong_key_are_named(office, tmp_path):
    path = tmp_path / "exclusions.json"
    write_exclusions(path, Exclusions.of(IMAGES[:2]), office.operator)
    stranger = Office(tmp_path / "stranger")
    with pytest.raises(ValueError, match=r"exclusions\.json: it is signed with key"):
        read_exclusions(path, stranger.public_keys)
    with pytest.raises(ValueError, match="key: exclusions are signed by the operator"):
        write_exclusions(path, Exclusions.of(IMAGES), office.verifier)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"exclusions\.json: "):
            read_exclusions(path, office.public_keys)


def test_another_signed_file_is_refused(office, tmp_path):
    path = tmp_path / "event.json"
    path.write_text(office.append("received").envelope)
    with pytest.raises(ValueError, match=r"event\.json is no file of exclusions"):
        read_exclusions(path, office.public_keys)
    with pytest.raises(FileNotFoundError):
        read_exclusions(tmp_path / "nothing.json", office.public_keys)
