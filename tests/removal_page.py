"""docs/experiments/removal_faults.md as the tests read it: what each bad input says."""

import re

import tiny_study

PAGE = tiny_study.ROOT / "docs" / "experiments" / "removal_faults.md"
CELLS = re.compile(r"(?<!\\)\|")  # in a cell it is written \|


def table(heading):
    """The rows of the table under a heading, a list of cells each."""
    part = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    rows = ([cell.strip() for cell in CELLS.split(line)[1:-1]] for line in lines[2:])
    return [[cell.replace("\\|", "|") for cell in row] for row in rows]


def messages(heading):
    """First cell -> last cell, without the marks of code."""
    return {row[0].strip("`"): row[-1].strip("`") for row in table(heading)}


def check_message(heading, case, said, folder):
    """The page says of a case what the command said; "..." stands for anything."""
    said = " ".join(said.removeprefix("error: ").replace(f"{folder}/", "").split())
    shown = messages(heading).get(case, "")
    pattern = ".*".join(re.escape(part) for part in shown.split("..."))
    assert re.fullmatch(pattern, said), f"{PAGE.name}, {heading}: | {case} | {said} |"
