"""A search for what a record must not hold: images, their ids and their hashes, in any spelling."""

import base64
import hashlib
import json
import re

import numpy as np

KINDS = ("id", "ids", "class")
RUN = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
STANDARD = bytes.maketrans(b"-_", b"+/")


class Secrets:
    """What must not be found.

    Args:
        positions: Of the images, large enough to occur nowhere by chance.
        words: Names, distinctive ones.
        images: Floats in [0, 1].
    """

    def __init__(self, positions: list[int], words: list[str], images: np.ndarray):
        self.patterns = {f"the name {word}": re.escape(word.encode()) for word in words}
        for i in positions:
            number = rb"(?<![\w.])" + re.escape(f"{i:,}".encode()).replace(b",", b",?")
            self.patterns[f"the position {i}"] = number + rb"(?!\w|\.\d*[1-9])"
        for i, image in zip(positions, images, strict=True):
            for pixels in (np.uint8(np.rint(image * 255)), np.float32(image)):
                self.patterns[f"the {pixels.dtype} pixels of {i}"] = re.escape(pixels.tobytes())
                self._add_hash(f"the {pixels.dtype} pixels of {i}", pixels.tobytes())
        for said in (*positions, *words, positions, words):
            # The last ones are what a commitment would hide, without its key.
            with_kinds = [json.dumps([kind, said], separators=(",", ":")) for kind in KINDS]
            for text in {str(said), json.dumps(said), *with_kinds}:
                self._add_hash(text, text.encode())

    def _add_hash(self, title: str, content: bytes) -> None:
        for spelling, said in hashes(content).items():
            self.patterns[f"the SHA-256 of {title}, {spelling}"] = re.escape(said)

    def found_in(self, content: bytes) -> list[str]:
        """What is in the content, or in text that is written in it in base64."""
        parts = list(layers(content))
        return [
            title
            for title, pattern in self.patterns.items()
            if any(re.search(pattern, part, re.IGNORECASE) for part in parts)
        ]


def hashes(content: bytes) -> dict[str, bytes]:
    """The SHA-256 of some content, as it may be written."""
    digest = hashlib.sha256(content).digest()
    return {
        "hexadecimal": digest.hex().encode(),
        "base64": base64.b64encode(digest).rstrip(b"="),
        "base64 of URLs": base64.urlsafe_b64encode(digest).rstrip(b"="),
        "bytes": digest,
    }


def layers(content: bytes):
    """Yields the content, and each text that is written in it in base64.

    A database breaks a long text where its page ends, so a part may begin anywhere.
    """
    yield content
    for run in RUN.findall(content.translate(STANDARD)):
        for start in range(4):
            part = run[start:]
            part = part[: len(part) - (len(part) % 4 == 1)]
            text = base64.b64decode(part + b"=" * (-len(part) % 4))
            if text.isascii():
                yield from layers(text)
