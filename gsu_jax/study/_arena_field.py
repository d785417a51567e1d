"""The studies of an arena: one folder for each request, and for each method's trials on it."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gsu_jax.data import Source
from gsu_jax.methods import Before, Method, Retrain
from gsu_jax.report import read_results
from gsu_jax.runtime import on_first_process
from gsu_jax.storage import exclusive
from gsu_jax.study._config import StudyConfig
from gsu_jax.study._setup import Setup, resolve
from gsu_jax.study._state import Study, open_study
from gsu_jax.study._study import complete, unlearn_one

MODELS = "models"  # beside the folders of the methods


class Field(NamedTuple):
    """What all methods of an arena meet.

    Attributes:
        folder: of the arena.
        setups: request -> images and networks.
        tuning: requests that settings are chosen on.
        closed: requests that methods are compared on.
        seeds: of the models before unlearning.
        lenders: folders of other studies, whose models are copied.
    """

    folder: Path
    setups: dict[str, Setup]
    tuning: Sequence[str]
    closed: Sequence[str]
    seeds: int
    lenders: Sequence[Path] = ()

    def run_models(self, request: str) -> dict[str, Any]:
        """Returns the results of the models before unlearning and the retrained ones."""
        folder, first = self._models(request), self.tuning[0]
        lender = self._lender(request, None if request == first else self._models(first))
        study = _run(self.setups[request], folder, [Before(), Retrain()], self.seeds, lender)
        return study.results.content

    def run_trials(
        self, request: str, title: str, tried: Sequence[Method], seeds: int
    ) -> dict[str, Any]:
        """Returns the results of the trials of a method; their checkpoints are removed."""
        folder = self.folder / "tuning" / _name(request) / _name(title)
        study = _run(self.setups[request], folder, tried, seeds, self._models(request))
        for seed in study.seeds:
            for row in (Before.name, *(method.title for method in study.methods)):
                study.store.remove(f"{row}-{seed}")
        study.store.remove("judge-0")
        return study.results.content

    def run_closed(self, request: str, methods: Sequence[Method], seeds: int) -> dict[str, Any]:
        """Returns the results of a closed request."""
        lender = self._lender(request, self._models(self.tuning[0]))
        folder, rows = self.closed_folder(request), [Before(), Retrain(), *methods]
        _run(self.setups[request], folder, rows, seeds, lender, page=True)
        # As the file has it: with the date and the hardware of the run that made its last row.
        return read_results(folder / "results.json")

    def closed_folder(self, request: str) -> Path:
        """Returns the folder of a closed request."""
        return self.folder / "closed" / _name(request)

    def _models(self, request: str) -> Path:
        return self.folder / "tuning" / _name(request) / MODELS

    def _lender(self, request: str, otherwise: Path | None) -> Path | None:
        """The lender whose study forgets the same, or `otherwise`, or the first lender."""
        same = [folder for folder in self.lenders if _forgets(folder) == request]
        return next(iter([*same, *filter(None, [otherwise]), *self.lenders]), None)


def field_of(
    tuning_config: StudyConfig,
    config: StudyConfig,
    source: Source,
    folder: Path,
    tuning: Sequence[str],
    closed: Sequence[str],
    seeds: int,
) -> Field:
    """Parses all requests of an arena.

    Args:
        tuning_config: what the studies of tuning requests are.
        config: what those of closed requests are.
        source: the images.
        folder: of the arena.
        tuning: requests that settings are chosen on.
        closed: requests that methods are compared on.
        seeds: of the models before unlearning.

    Raises:
        ValueError: there is none of a kind, one is named twice, or one is of single images.
    """
    for name, requests in (("tuning", tuning), ("closed", closed)):
        if not requests or isinstance(requests, str):
            raise ValueError(f"{name} must be a list of one request or more, got {requests!r}")
    setups: dict[str, Setup] = {}
    asked = [(request, tuning_config) for request in tuning]
    for request, about in [*asked, *((request, config) for request in closed)]:
        setup = resolve(replace(about, forget=request), source)
        if setup.listed is not None:
            raise ValueError(
                "tuning and closed must name classes or an attribute, since the objective of an "
                f"arena has fratio in it, got {request!r}"
            )
        for other, earlier in setups.items():
            same = np.array_equal(setup.split.mask, earlier.split.mask)
            if same or _name(request) == _name(other):
                raise ValueError(
                    f"tuning and closed must name each request once, got {other!r} and {request!r}"
                    + ", which forget the same" * (other != request)
                )
        setups[request] = setup
    return Field(folder, setups, [*tuning], [*closed], seeds)


def _run(
    setup: Setup,
    folder: Path,
    methods: Sequence[Method],
    seeds: int,
    lender: Path | None,
    page: bool = False,
) -> Study:
    with exclusive(folder):
        study = open_study(setup, folder, methods, seeds, lender)
        complete(study, partial(unlearn_one, study), page=page)
    return study


def _name(text: str) -> str:
    """The name of a folder: "T-shirt/top" gives "T-shirt_top"."""
    return re.sub(r"[^\w.=,-]+", "_", text)


@on_first_process
def _forgets(folder: Path) -> str | None:
    """Returns what the study in a folder forgets; None if it has no results."""
    try:
        return json.loads((folder / "results.json").read_text(encoding="utf-8"))["config"]["forget"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
