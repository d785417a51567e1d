"""Methods as `results.json` and the checkpoints keep them."""

from dataclasses import asdict, fields
from typing import Any

from gsu_jax.methods import METHODS, Method

Record = dict[str, Any]


def method_record(method: Method) -> Record:
    """Returns a method's name and settings."""
    return {"name": method.name} | settings_of(method)


def settings_of(method: Method) -> Record:
    """Returns a method's settings, without those of `Method.added` that have their defaults."""
    defaults = {field.name: field.default for field in fields(method)}
    return {
        setting: value
        for setting, value in asdict(method).items()
        if setting not in method.added or value != defaults[setting]
    }


def without_retired(record: Record) -> Record:
    """Returns a record of an earlier release without its retired settings.

    A retired setting is left out only at the value that `Method.retired` gives. With any other
    value the method did something else, and the record will not pass for one of this release.
    """
    name = record.get("name")
    if name not in METHODS:
        return record
    known, retired = {field.name for field in fields(METHODS[name])}, METHODS[name].retired
    return {
        setting: value
        for setting, value in record.items()
        if setting in known or setting not in retired or value != retired[setting]
    }


def upgrade_made_with(made_with: Record) -> Record:
    """Returns what an artifact was made with, as this release writes it."""
    if "method" not in made_with:
        return made_with
    return made_with | {"method": without_retired(made_with["method"])}


def method_from(row: str, record: Record) -> Method:
    """Builds the method of an earlier run, if this run does not name it.

    Raises:
        ValueError: this release does not know the method or one of its settings.
    """
    settings = dict(record)
    try:
        return METHODS[settings.pop("name")](**settings)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the study has rows {row!r}, whose method or settings this gsu_jax does not know "
            f"({error}); continue with the release that made them, or give another --out"
        ) from error
