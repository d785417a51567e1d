"""How to take the parameters out of a module of Flax NNX or Equinox, for error messages."""

from typing import Any

NNX_RECIPE = (
    " (Flax NNX: graphdef, params, rest = nnx.split(model, nnx.Param, ...), and in the loss "
    "model = nnx.merge(graphdef, params, rest, copy=True))"
)
EQUINOX_RECIPE = (
    " (Equinox: filter with eqx.partition, params, static = eqx.partition(model, "
    "eqx.is_inexact_array), and in the loss model = eqx.combine(params, static))"
)
RECIPES = {"flax.nnx": NNX_RECIPE, "equinox": EQUINOX_RECIPE}


def module_recipe(tree: Any) -> str:
    """A remark for the end of an error about `tree`; empty if it is no module.

    The names of its classes tell, so that neither library is imported.
    """
    modules = [base.__module__ for base in type(tree).__mro__]
    for library, recipe in RECIPES.items():
        if any(f"{module}.".startswith(f"{library}.") for module in modules):
            return recipe
    return ""
