"""Make a trained generative model forget, by gradient surgery, in JAX."""
