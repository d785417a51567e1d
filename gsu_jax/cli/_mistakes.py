"""How a command says that it was given something wrong."""

import argparse
import sys
from typing import NoReturn


def report_mistake(message: str) -> int:
    """Prints one line on standard error and returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return 2


class Parser(argparse.ArgumentParser):
    """A parser that ends in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Exits with that line."""
        sys.exit(report_mistake(message))
