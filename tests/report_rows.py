"""Rows and results for the tests of reports."""

METRICS = {
    "fratio": 0.35,
    "fratio_upper95": 0.36,
    "inception_score": 2.8,
    "fid": 8.4,
    "fid_retain": 91.0,
    "nelbo_retain": 111.4,
    "nelbo_forget": 48.8,
    "coverage": 0.9,
    "steps": 52,
    "seconds": 0.7,
    "compile_seconds": 4.0,
}
RETRAINED_FID = [30.0, 31.0, 29.0, 30.5, 29.5, 31.5, 28.5, 30.0]


def row(method, seed=0, diverged=False, **changed):
    values = {**METRICS, **changed}
    if diverged:
        values = dict.fromkeys(values)
    return {"method": method, "seed": seed, **values, "diverged": diverged}


def study(rows, **changed):
    results = {
        "schema": 1,
        "experiment": "mnist138",
        "config": {"forget": "1", "dataset": "mnist", "model": {"widths": [400, 400]}},
        "environment": {
            "jax": "0.10.2",
            "devices": ["1 x H200"],
            "cpus": 16,
            "git": "6e9b7cf49fa1",
            "date": "2026-11-23T22:38:47+00:00",
            "versions": {"gsu-jax": "0.1.0", "jax": "0.10.2", "flax": "0.12.8", "optax": None},
        },
        "reference": {"samples": 10000, "feature_extractor": "AllCNN", "judge_accuracy": 0.997},
        "rows": rows,
    }
    return results | changed


def ensemble(*methods, seeds=5):
    """Rows of eight retrained models, and of methods at these multiples of their FID."""

    def one(method, seed, **changed):
        share = {"fratio": 0.006 + 0.001 * seed, "fratio_upper95": 0.01 + 0.001 * seed}
        return row(method, seed, **share, **changed)

    rows = [
        one("retrain", s, fid_retain=fid, nelbo_retain=109.0 + 0.1 * s, seconds=50.0, steps=100)
        for s, fid in enumerate(RETRAINED_FID)
    ]
    for method, times in methods:
        rows += [
            one(method, s, fid_retain=times * (30 + 0.1 * s), nelbo_retain=110.0 + s, seconds=1.0)
            for s in range(seeds)
        ]
    return rows
