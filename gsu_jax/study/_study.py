"""The paper's protocol: train a judge, pretrain, retrain, unlearn, evaluate, report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

from gsu_jax.checks import at_least
from gsu_jax.data import Source
from gsu_jax.methods import Method, get_method
from gsu_jax.report import write_report
from gsu_jax.runtime import check_processes, on_first_process, stage
from gsu_jax.storage import check_lender, exclusive
from gsu_jax.study._checkpointed_runs import named_key
from gsu_jax.study._config import StudyConfig
from gsu_jax.study._evidence import add_evidence, measure_evidence
from gsu_jax.study._given import check_given
from gsu_jax.study._judge import SECOND, Judge, train_judge
from gsu_jax.study._judged import add_judged
from gsu_jax.study._logger import Logger, check_loggers, send
from gsu_jax.study._models import (
    GENERATORS,
    Unlearn,
    generator,
    model_of_row,
    train_generators,
    unlearned,
)
from gsu_jax.study._own_metrics import Metric, check_metrics, measure
from gsu_jax.study._pictures import has_picture, picture_path, save_picture
from gsu_jax.study._residuals import add_residuals
from gsu_jax.study._setup import check_batches, resolve
from gsu_jax.study._state import Study, open_study
from gsu_jax.unlearning import UnlearningResult, unlearn


def run_study(
    config: StudyConfig,
    source: Source,
    out: str | Path,
    *,
    methods: Sequence[str | Method],
    seeds: int,
    models_from: str | Path | None = None,
    mesh: jax.sharding.Mesh | None = None,
    before: Mapping[int, Any] | None = None,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
    loggers: Sequence[Logger] = (),
) -> dict:
    """Runs what is missing of a study in the folder `out` and returns its results.

    Every model is kept as a checkpoint. A run that was killed resumes when it is started again,
    with the results of a run that never stopped; a finished study returns at once. More seeds or
    methods, or a larger ensemble of retrained models, extend a study. Rows of an earlier release
    get phi where their checkpoint is there, and those of a study that had one judge get what a
    second one sees.

    Args:
        config: what the study is.
        source: the images, from `gsu_jax.data.load`.
        out: the study's folder; made if it is missing.
        methods: names, or methods with their own settings; each row label once.
        seeds: how many: 0 to seeds - 1; `retrain` has at least `config.ensemble` of them.
        models_from: the folder of another study. Generators and the judge that are missing in `out`
            are copied from there, with their times, if they were made with the same settings.
        mesh: devices to share each batch of training and unlearning over, along the mesh's first
            axis; samples are drawn and judged on one device. A study may be resumed on another
            mesh: figures agree to rounding, and times are those of the devices that took them.
        before: parameters of the model for every seed, which take the place of its pre-training:
            the study unlearns from them. `retrain` is trained from scratch all the same. A study
            that began with given parameters goes on with the same ones alone.
        metrics: of your own, by name: `f(model, params, key) -> float`, for every row, also of a
            model that diverged. A value that is not finite becomes None. Finished rows that lack a
            metric are measured for it alone. The name stands for the function: change it when the
            function changes.
        loggers: which get the rows of this run, and the steps of each after it is finished.

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: the config cannot be run, or differs from that of the study in `out`; `before`
            lacks a seed or is of another model; a metric has the name of another; a batch does not
            divide over the mesh; the judge stays below its gate; a checkpoint is damaged;
            `models_from` holds nothing.
        TypeError: a metric is no function or returns no number; a logger lacks a function.
        OSError: `out` cannot be written.

    Example:
        >>> from gsu_jax.models import MLPVAEConfig
        >>> from gsu_jax.study import StudyConfig
        >>> model = MLPVAEConfig(widths=(256, 256), latent_size=16)
        >>> config = StudyConfig("digits", dataset="digits", forget="1", model=model)

        The study itself takes minutes:

        >>> from gsu_jax.data import load
        >>> methods = ["before", "retrain", "gradient_surgery"]
        >>> results = run_study(  # doctest: +SKIP
        ...     config, load("digits"), "runs/digits", methods=methods, seeds=3
        ... )
        >>> results["rows"][0]["fratio"]  # doctest: +SKIP
        0.0911
    """
    at_least(1, seeds=seeds)
    methods = _check_methods(methods)
    check_metrics(metrics)
    check_loggers(loggers)
    if models_from is not None:
        check_lender(models_from)
    check_processes(mesh)
    setup = resolve(config, source)
    check_batches(setup, methods, mesh)
    if before is not None:
        before = check_given(before, setup.model, seeds)
    with exclusive(out) as folder:
        study = open_study(
            setup, folder, methods, seeds, models_from, mesh, before, metrics, loggers
        )
        complete(study, lambda method, seed: unlearn_one(study, method, seed))
    return study.results.content


def complete(study: Study, unlearn_row: Unlearn, *, page: bool = True) -> None:
    """Makes every missing row of a study, then its report.

    Args:
        study: the study.
        unlearn_row: gives the run of a method and a seed.
        page: whether to draw the samples of each row and to write report.html.
    """
    if missing := study.missing():
        study.store.log("start", missing=len(missing), split=study.setup.split.describe())
        judge = train_judge(study)
        second = None if study.setup.second_judge is None else train_judge(study, SECOND)
        train_generators(study, "baseline")
        if any(method.role == "yardstick" for method, _ in missing):
            train_generators(study, "yardstick")
        with stage("unlearn, evaluate", len(missing)) as advance:
            for method, seed in missing:
                advance(0, f"{method.title}, seed {seed}")
                _add_row(study, judge, second, method, seed, unlearn_row, page)
                advance(1)
    if lacking := study.unmeasured():
        with stage("measure", len(lacking)) as advance:
            for method, seed, metrics in lacking:
                advance(0, f"{method.title}, seed {seed}: {', '.join(metrics)}")
                params = model_of_row(study, method, seed, unlearn_row).trained.params
                values = measure(metrics, study.setup.model, params, seed)
                study.results.add_to_row(method.title, seed, values)
                advance(1)
    add_evidence(study, unlearn_row)
    add_judged(study, unlearn_row)
    add_residuals(study)
    report = study.store.folder / "report.html"
    if page and study.results.is_newer_than(report):
        _write_report(report, study, unlearn_row)


def unlearn_one(study: Study, method: Method, seed: int) -> UnlearningResult:
    """Runs one method from the pretrained generator of a seed."""
    setup = study.setup
    return unlearn(
        setup.model,
        generator(study, "baseline", seed).params,
        setup.split.forget.images,
        setup.split.retain.images,
        method=method,
        key=named_key(method.name, seed),
        epochs=setup.config.epochs,
        mesh=study.mesh,
    )


def _check_methods(methods: Sequence[str | Method]) -> list[Method]:
    chosen = [get_method(method) for method in methods]
    rows = [method.title for method in chosen]
    if not rows or len(set(rows)) < len(rows):
        raise ValueError(
            f"methods must name at least one, each once, got {', '.join(rows) or 'none'}; a "
            "second setting of a method needs a label of its own"
        )
    return chosen


def _add_row(
    study: Study,
    judge: Judge,
    second: Judge | None,
    method: Method,
    seed: int,
    unlearn_row: Unlearn,
    picture: bool,
) -> None:
    """Adds one row to the results: the model, its metrics, and maybe a picture of its samples."""
    model, samples = study.setup.model, study.setup.config.samples
    done, history = model_of_row(study, method, seed, unlearn_row)
    key = named_key("evaluate", seed)
    metrics = judge.evaluate(model, done.params, key, samples, second)
    if metrics["fid"] is not None:
        metrics |= measure_evidence(study, done.params, method.title, seed)
    metrics |= measure(study.metrics, model, done.params, seed)
    times = {name: getattr(done, name) for name in ("steps", "seconds", "compile_seconds")}
    row = {"method": method.title, "seed": seed} | metrics | times
    if picture:
        save_picture(picture_path(study.store.folder, method.title, seed), model, done.params)
    study.store.log("row", **row)
    study.results.add_row(row)
    send(study.loggers, study.store, row, history)


def _write_report(path: Path, study: Study, unlearn_row: Unlearn) -> None:
    """Writes report.html from the results, the pictures and the histories."""
    pictures = {m.title: picture_path(study.store.folder, m.title, 0) for m in study.methods}
    for method in study.methods:
        if not has_picture(pictures[method.title]):
            params = model_of_row(study, method, 0, unlearn_row).trained.params
            save_picture(pictures[method.title], study.setup.model, params)
    histories = {
        method.title: [unlearned(study, method, seed, unlearn_row).history for seed in study.seeds]
        for method in study.methods
        if method.role not in GENERATORS
    }
    on_first_process(write_report)(
        path,
        study.results.content,
        grids=pictures,
        histories=histories,
        published=study.setup.config.published,
    )
