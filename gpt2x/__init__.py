"""gpt2x: the GPT-2 workbench.

Importing this package loads neither torch nor the native modules; each part is imported by name:
``gpt2x.tokenizer`` (no torch), ``gpt2x.ops``, ``gpt2x.model``, ``gpt2x.data``, ``gpt2x.generate``,
``gpt2x.train``, ``gpt2x.classify`` and ``gpt2x.bench``.
"""

from gpt2x._version import __version__

__all__ = ["__version__"]
