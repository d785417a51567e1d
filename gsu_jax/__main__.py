"""`python -m gsu_jax launch ...` and `python -m gsu_jax report ...`."""

import sys

from gsu_jax.cli._launch import main as launch
from gsu_jax.cli._report import main as report

COMMANDS = {"launch": launch, "report": report}


def main() -> None:
    """Runs the command that the first argument names."""
    command, *rest = sys.argv[1:] or [""]
    if command not in COMMANDS:
        print(f"usage: python -m gsu_jax {{{','.join(COMMANDS)}}} ...", file=sys.stderr)
        sys.exit(0 if command in ("-h", "--help") else 2)
    sys.argv = [f"python -m gsu_jax {command}", *rest]
    sys.exit(COMMANDS[command]())


if __name__ == "__main__":
    main()
