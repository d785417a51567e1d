"""`python -m gsu_jax launch ...` and `python -m gsu_jax report ...`."""

import importlib
import sys

COMMANDS = ("launch", "report")


def main() -> None:
    """Runs the command that the first argument names."""
    command, *rest = sys.argv[1:] or [""]
    if command in ("-h", "--help"):
        print(f"usage: python -m gsu_jax {{{','.join(COMMANDS)}}} ...")
        return
    if command not in COMMANDS:
        names = " or ".join(COMMANDS)
        print(f"error: the command must be {names}, got {command!r}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"python -m gsu_jax {command}", *rest]
    # The other command's packages stay out.
    sys.exit(importlib.import_module(f"gsu_jax.cli._{command}").main())


if __name__ == "__main__":
    main()
