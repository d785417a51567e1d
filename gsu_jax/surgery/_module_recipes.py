"""How to take the parameters out of a module of Flax NNX or Equinox, for error messages."""

from typing import Any

# Told from the names of the classes, so that neither library is imported.
RECIPES = {
    "flax.nnx": (
        ". Of a Flax NNX module, differentiate the parameters alone: "
        "graphdef, params, rest = nnx.split(model, nnx.Param, ...), and in the loss "
        "model = nnx.merge(graphdef, params, rest, copy=True)"
    ),
    "equinox": (
        ". Of an Equinox module, differentiate the arrays alone, filter with eqx.partition: "
        "params, static = eqx.partition(model, eqx.is_inexact_array), and in the loss "
        "model = eqx.combine(params, static)"
    ),
}


def module_recipe(tree: Any) -> str:
    """A sentence for the end of an error about `tree`; empty if it is no module."""
    modules = [base.__module__ for base in type(tree).__mro__]
    for library, recipe in RECIPES.items():
        if any(f"{module}.".startswith(f"{library}.") for module in modules):
            return recipe
    return ""
