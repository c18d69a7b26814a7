"""How gpt2x starts another Python: it never imports from the folder that the user happens to be in.

``python -m`` and ``python -c`` put the current folder first where modules are looked for, so that a ``json.py`` or
``signal.py`` that lies there takes the place of Python's own. A child started with `module_command` or `code_command`
takes that entry away before it imports anything (all that it uses until then is built in), on every Python: ``-P``
came with 3.11 only, and ``-I`` would ignore ``PYTHONPATH``. Programs that the child starts in turn, such as torch's
compile workers, are kept from it by `environment`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import gpt2x

# The folder above the package is first only while the package itself is found, which imports nothing but its own files:
# for a checkout that is the checkout's root, where anything may lie. At the end it is for children of the child.
_OWN_GPT2X = """
import sys
sys.path[:] = [{home!r}, *(entry for entry in sys.path if entry)]
import gpt2x
sys.path.append(sys.path.pop(0))
"""
_SAFE = "import sys; sys.path[:] = [entry for entry in sys.path if entry]\n"
_MODULE = "import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"


def module_command(module: str, arguments: Sequence[str] = ()) -> list[str]:
    """The command that is ``python -m module``, with the same gpt2x as here, but without the current folder."""
    return [sys.executable, "-c", _own_gpt2x() + _MODULE.format(module=module), *arguments]


def code_command(code: str, arguments: Sequence[str] = (), *, with_gpt2x: bool = False) -> list[str]:
    """The command that is ``python -c code``, without the current folder.

    Args:
        code: the program.
        arguments: what it finds in ``sys.argv[1:]``.
        with_gpt2x: whether it is to find the same gpt2x as here.

    """
    return [sys.executable, "-c", (_own_gpt2x() if with_gpt2x else _SAFE) + code, *arguments]


def environment() -> dict[str, str]:
    """This process's environment, for a child that neither it nor its own children import from the current folder.

    An empty entry in ``PYTHONPATH`` (as after a colon at its end) means the current folder and is left out; a relative
    one is made absolute, so that it means the same in another folder. ``PYTHONSAFEPATH`` is for children of the child
    (Python 3.11 and later).
    """
    variables = dict(os.environ)
    entries = [entry for entry in variables.pop("PYTHONPATH", "").split(os.pathsep) if entry]
    if entries:
        variables["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, entries))
    variables["PYTHONSAFEPATH"] = "1"
    return variables


def protect_children() -> None:
    """Give every process that is started from now on, by whatever library, the environment of `environment`."""
    variables = environment()
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
        os.environ.pop(name, None)
        if name in variables:
            os.environ[name] = variables[name]


def _own_gpt2x() -> str:
    home = os.path.dirname(os.path.dirname(os.path.abspath(gpt2x.__file__)))
    return _OWN_GPT2X.format(home=home)
