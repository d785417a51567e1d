"""Makes the links of README.md absolute in the metadata of a built package, for PyPI."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?://|#)([^)\s]+)\)")


class ReadmeHook(MetadataHookInterface):
    """Sets `readme`, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict) -> None:
        """Adds the text of README.md, whose links point to the repository."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        home = metadata["urls"]["Homepage"]
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(text, home)}


def absolute(text: str, home: str) -> str:
    """Returns Markdown whose relative links and pictures are those of the repository `home`."""

    def link(match: re.Match) -> str:
        picture, words, path = match.groups()
        return f"{picture}{words}({home}/{'raw' if picture else 'blob'}/main/{path})"

    return LINK.sub(link, text)
