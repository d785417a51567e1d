"""How a command says that it was given something wrong."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from gsu_jax.cli._options import unknown_option


def report_mistake(message: str) -> int:
    """Prints one line on standard error and returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return 2


class Parser(argparse.ArgumentParser):
    """A parser that ends in one line, without the usage."""

    words: Sequence[str] = ()

    def read(self, words: Sequence[str] | None = None) -> argparse.Namespace:
        """Returns the arguments; like `parse_args`, but an error knows the nearest option."""
        self.words = sys.argv[1:] if words is None else words
        return self.parse_args(self.words)

    def error(self, message: str) -> NoReturn:
        """Exits with that line."""
        option, question = unknown_option(self.words, self._option_string_actions)
        # What is like no option may be one of a script that is launched.
        sys.exit(report_mistake(f"unknown option {option}.{question}" if question else message))
