"""One rank of one leg of a run that `--verify-resume` tries: ``python -m gpt2x.train.trial SPECIFICATION``.

The specification is a JSON file: ``{config, recipe, stop_after}``, all settings, the recipe's name, and the step after
which the leg stops as a signal would stop it, or null.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gpt2x.boundary import run
from gpt2x.console import set_quiet
from gpt2x.train.config import TrainConfig
from gpt2x.train.waiting import let_waiting_threads_sleep


def main() -> None:
    """Train up to where the leg ends.

    Raises:
        Gpt2xError: one sentence for whatever a user can change.

    """
    let_waiting_threads_sleep()
    from gpt2x.train.distributed import all_ranks
    from gpt2x.train.loop import train
    from gpt2x.train.recipe import RECIPES
    from gpt2x.train.setup import prepare

    set_quiet(True)
    specification = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    config, stop_after = TrainConfig(**specification["config"]), specification["stop_after"]
    with all_ranks(config.device) as ranks:
        setup = prepare(config, RECIPES[specification["recipe"]], ranks)
        setup.stop_after = stop_after
        try:
            train(setup)
        except KeyboardInterrupt:
            newest = setup.folder.newest_whole()
            if newest is None or newest.step != stop_after:
                raise  # somebody else's signal
        finally:
            if setup.lock is not None:
                setup.lock.release()


if __name__ == "__main__":
    run(main)
