"""`run_arena`: every method with the same number of trials, then once on closed requests."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from gsu_jax.checks import at_least
from gsu_jax.data import Source
from gsu_jax.methods import Method, check_method, get_method
from gsu_jax.models import GenerativeModel
from gsu_jax.report import Aims, default_row, write_arena_files
from gsu_jax.runtime import announce, on_first_process
from gsu_jax.storage import check_lender, exclusive
from gsu_jax.study._arena_choice import Plan, choose
from gsu_jax.study._arena_field import Field, field_of
from gsu_jax.study._config import StudyConfig
from gsu_jax.study._method_records import method_from
from gsu_jax.study._spaces import Space, draw_trials, spaces_for


class ArenaResults(NamedTuple):
    """What `run_arena` returns.

    Attributes:
        chosen: the content of `chosen.json`: the setting of each method.
        arena: the content of `arena.json`: who wins, and by how much.
    """

    chosen: dict
    arena: dict


def run_arena(
    config: StudyConfig,
    source: Source,
    out: str | Path,
    *,
    tuning: Sequence[str],
    closed: Sequence[str],
    methods: Sequence[str | Method] | None = None,
    trials: int = 20,
    tuning_seeds: int = 1,
    seeds: int = 5,
    spaces: Mapping[str, Space] | None = None,
    aims: Aims | None = None,
    tuning_config: StudyConfig | None = None,
    models_from: Sequence[str | Path] = (),
    defaults: bool = False,
) -> ArenaResults:
    """Runs what is missing of an arena in the folder `out` and returns its results.

    1. Every method runs `trials` settings on every tuning request: its default, and points of
       its space (`gsu_jax.study.draw_trials`). Its setting is that with the lowest mean objective
       (`gsu_jax.report.excess`) over tuning requests and seeds; the earlier trial if two are equal.
    2. `chosen.json` records all settings, before a closed request is run.
    3. Every method runs once, with its setting, on the closed requests. After that no setting of
       these methods can be chosen again in this folder.
    4. `gsu_jax.report.write_arena_files` writes `arena.json`, `arena.md`, `arena.csv`, `front.png`.

    Each part is a study in a folder of its own: `tuning/REQUEST/models` with the retrained models,
    `tuning/REQUEST/METHOD` with the trials, of which no checkpoint is kept, and `closed/REQUEST`.
    So an interrupted arena resumes, and more methods, closed requests or seeds extend it.

    Args:
        config: what the studies are; `forget` is replaced by each request.
        source: the images, from `gsu_jax.data.load`.
        out: the arena's folder; made if it is missing.
        tuning: requests that settings are chosen on, as for `parse_request`.
        closed: requests that the methods are compared on.
        methods: names, or methods with default settings of their own; by default all that have a
            space.
        trials: of each method.
        tuning_seeds: of each trial: 0 to tuning_seeds - 1.
        seeds: of each closed run: 0 to seeds - 1.
        spaces: title or name of a method -> its space; by default `spaces_for` the model.
        aims: of the objective.
        tuning_config: what the tuning studies are, if they measure less than those of the closed
            requests: fewer `samples` or `phi_images`. The rest should be that of `config`, so that
            all have the same models. They never have a second judge, which the objective lacks.
        models_from: folders of other studies, whose models are copied. A request takes them from
            the study of the same request; if there is none, from the first tuning request, which
            itself takes them from the first of these folders.
        defaults: also run the default setting of each method on the closed requests, in a row
            beside that of the chosen one. It takes no part in the tests.

    Returns:
        The contents of both JSON files.

    Raises:
        ValueError: as `run_study`; a request is in `tuning` and in `closed`, or is a list of single
            images; a method has no space; the folder holds closed rows of settings that were chosen
            in another way.
        OSError: `out` cannot be written.

    Example:
        >>> from gsu_jax.data import load
        >>> from gsu_jax.models import MLPVAEConfig
        >>> from gsu_jax.study import StudyConfig
        >>> config = StudyConfig("arena", dataset="digits", forget="1", model=MLPVAEConfig())
        >>> found = run_arena(  # doctest: +SKIP
        ...     config,
        ...     load("digits"),
        ...     "runs/arena",
        ...     tuning=["0", "1"],
        ...     closed=["2", "8"],
        ...     methods=["gradient_surgery", "redirect_flow"],
        ... )
        >>> found.arena["winner"]  # doctest: +SKIP
        'redirect_flow'
    """
    at_least(1, trials=trials, tuning_seeds=tuning_seeds, seeds=seeds)
    aims = Aims() if aims is None else aims
    aims.check()
    for folder in models_from:
        check_lender(folder)
    tuned = replace(config if tuning_config is None else tuning_config, second_judge=None)
    if bool(tuned.phi_images) != bool(config.phi_images):
        raise ValueError(
            "tuning_config.phi_images and config.phi_images must both be 0, or both at least 1, "
            f"since rho is part of the objective, got {tuned.phi_images} and {config.phi_images}"
        )
    field = field_of(tuned, config, source, Path(out), tuning, closed, max(seeds, tuning_seeds))
    field = field._replace(lenders=[Path(folder) for folder in models_from])
    plan = Plan([*tuning], tuning_seeds, tuned.samples, tuned.phi_images, trials, aims)
    model = next(iter(field.setups.values())).model
    spaces = spaces_for(model) if spaces is None else spaces
    methods = tuple(spaces_for(model)) if methods is None else methods
    rivals = [_rival(method, spaces, trials, model) for method in methods]
    if not rivals or len({method.title for method, _ in rivals}) < len(rivals):
        named = ", ".join(method.title for method, _ in rivals) or "none"
        raise ValueError(f"methods must name at least one, each once, got {named}")
    with exclusive(out) as folder:
        chosen, settings = choose(field, plan, rivals)
        settings += _untuned(chosen) if defaults else []
        results = _run_closed(field, settings, seeds)
        return ArenaResults(chosen, on_first_process(write_arena_files)(folder, chosen, results))


def _rival(
    method: str | Method, spaces: Mapping[str, Space], count: int, model: GenerativeModel
) -> tuple[Method, Space]:
    """Returns a method with its space; refuses one that cannot be tried."""
    method = get_method(method)
    if method.role != "method":
        raise ValueError(
            f"methods must not name {method.title}, which every arena has as a {method.role}"
        )
    space = spaces.get(method.title) or spaces.get(method.name)
    if not space:
        raise ValueError(
            f"spaces must have the settings of {method.title!r} to tune: "
            f'spaces=SPACES | {{"{method.title}": {{"learning_rate": (1e-4, 1e-2, "log")}}}}'
        )
    for trial in draw_trials(method, space, count):
        check_method(trial, model)  # before hours are spent
    return method, space


def _untuned(chosen: Mapping) -> list[Method]:
    """The default settings of the methods whose chosen one is another."""
    return [
        method_from(title, entry["default"] | {"label": default_row(title)})
        for title, entry in chosen["methods"].items()
        if entry["trial"]
    ]


def _run_closed(field: Field, methods: Sequence[Method], seeds: int) -> dict[str, dict]:
    """Returns the results of every closed request."""
    results = {}
    for number, request in enumerate(field.closed, 1):
        announce(f"closed request {request} ({number} of {len(field.closed)})")
        results[request] = field.run_closed(request, methods, seeds)
    return results
