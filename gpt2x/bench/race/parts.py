"""What an entrant's model has that GPT-2 has not. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a `model.RaceGPT` that differ from GPT-2's; without any it is GPT-2.

    A model with one of them is no GPT-2: Hugging Face's format and GGUF have no place for it, and nothing saves it.
    """

    rotary: bool = False
    """Positions are rotations of queries and keys, in the place of learned vectors."""
    qk_norm: bool = False
    """Queries and keys have a root mean square of 1."""
    relu_squared: bool = False
    """The MLP bends by max(0, x)² in the place of GELU."""
    value_embeddings: bool = False
    """The values of attention get a vector of the token itself, from a second table."""
