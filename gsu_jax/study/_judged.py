"""What the judges say of rows that an earlier run wrote without it."""

from gsu_jax.methods import Method
from gsu_jax.metrics import CORRECTED_METRICS, SECOND_METRICS
from gsu_jax.runtime import stage
from gsu_jax.study._checkpointed_runs import named_key
from gsu_jax.study._judge import FIRST, SECOND, train_judge
from gsu_jax.study._models import Unlearn, has_checkpoint, model_of_row
from gsu_jax.study._state import Study


def add_judged(study: Study, unlearn_row: Unlearn) -> None:
    """Adds the corrected share and the second judge's metrics to the rows that lack them.

    No generator is trained and nothing unlearned again. Rows whose checkpoint is lost stay as they
    are.
    """
    _correct(study)
    if study.setup.second_judge is not None:
        _judge_again(study, unlearn_row)


def _correct(study: Study) -> None:
    lacking = [
        row for row in study.results.content["rows"] if not row.keys() >= {*CORRECTED_METRICS}
    ]
    if not lacking or not study.store.has(f"{FIRST}-0"):
        return
    judge = train_judge(study)
    for row in lacking:
        row |= judge.correct(row.get("fratio"), study.setup.config.samples)
    study.results.save()


def _judge_again(study: Study, unlearn_row: Unlearn) -> None:
    lacking = _not_judged_again(study)
    if not lacking:
        return
    judge, setup = train_judge(study, SECOND), study.setup
    diverged = {
        (row["method"], row["seed"]) for row in study.results.content["rows"] if row.get("diverged")
    }
    with stage("ask the second judge", len(lacking)) as advance:
        for method, seed in lacking:
            advance(0, f"{method.title}, seed {seed}")
            params = model_of_row(study, method, seed, unlearn_row).trained.params
            key, samples = named_key("evaluate", seed), setup.config.samples
            gone = (method.title, seed) in diverged
            seen = judge.judge_again(setup.model, params, key, samples, gone)
            study.results.add_to_row(method.title, seed, seen)
            advance(1)


def _not_judged_again(study: Study) -> list[tuple[Method, int]]:
    by_label = {method.title: method for method in study.methods}
    lacking = [
        (by_label[row["method"]], row["seed"])
        for row in study.results.content["rows"]
        if not row.keys() >= {*SECOND_METRICS}
    ]
    return [(method, seed) for method, seed in lacking if has_checkpoint(study, method, seed)]
