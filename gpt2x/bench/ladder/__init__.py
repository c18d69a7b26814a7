"""The training-optimisation ladder: rungs as data, and the climb that measures them."""
