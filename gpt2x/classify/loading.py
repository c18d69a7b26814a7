"""From the name of a classifier, or a folder that holds one, to its class; each is imported when it is needed."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, cast

from gpt2x.classify.kinds import KINDS, Kind, read_header

if TYPE_CHECKING:
    from gpt2x.classify.base import TextClassifier
    from gpt2x.classify.peers import Peer


def load_class(kind: Kind) -> type[TextClassifier]:
    """Import and return the class of a kind."""
    return cast("type[TextClassifier]", _import(kind))


def load_peer_class(kind: Kind) -> type[Peer]:
    """Import and return the class of a peer."""
    return cast("type[Peer]", _import(kind))


def _import(kind: Kind) -> Any:
    return getattr(importlib.import_module(f"gpt2x.classify.{kind.module}"), kind.class_name)


def load(folder: str | os.PathLike[str]) -> TextClassifier:
    """Read a saved classifier of any kind.

    Raises:
        InputDataError: the folder is missing, holds no classifier, or is damaged.

    """
    return load_class(KINDS[read_header(folder)["kind"]]).load(folder)
