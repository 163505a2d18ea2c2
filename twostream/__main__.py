"""The command line: python -m twostream train | score | fuse | evaluate | predict | svm ..."""

import sys
from typing import Annotated, Any

import tyro

from flow.errors import InputError
from twostream.commands.adopt import Adopt
from twostream.commands.doctor import Doctor
from twostream.commands.evaluate import Evaluate
from twostream.commands.export import Export
from twostream.commands.features import Features
from twostream.commands.fuse import Fuse
from twostream.commands.predict import Predict
from twostream.commands.score import Score
from twostream.commands.svm import SVM
from twostream.commands.train import Train
from twostream.experiments import EXPERIMENTS
from twostream.interruption import Interrupted
from twostream.runs import Data

TRAIN = "Train the RGB and the flow stream by a named experiment; goes on where it was interrupted."


def _experiments() -> Any:
    """``train NAME``: each named experiment, of which any value can be given another."""
    unset = Data(lists=tyro.MISSING, store=tyro.MISSING)
    return tyro.extras.subcommand_type_from_defaults(
        {name: Train(make(), unset, tyro.MISSING) for name, make in EXPERIMENTS.items()},
        {name: (make.__doc__ or "").splitlines()[0] for name, make in EXPERIMENTS.items()},
        prefix_names=False,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 2 with a sentence on what to mend.

    Ctrl-C gives 130 and, in training, SIGTERM 143.
    """
    commands: Any = (
        Annotated[Doctor, tyro.conf.subcommand("doctor")]
        | Annotated[_experiments(), tyro.conf.subcommand("train", description=TRAIN)]
        | Annotated[Adopt, tyro.conf.subcommand("adopt")]
        | Annotated[Score, tyro.conf.subcommand("score")]
        | Annotated[Fuse, tyro.conf.subcommand("fuse")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Predict, tyro.conf.subcommand("predict")]
        | Annotated[Features, tyro.conf.subcommand("features")]
        | Annotated[SVM, tyro.conf.subcommand("svm")]
        | Annotated[Export, tyro.conf.subcommand("export")]
    )
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    try:
        command = tyro.cli(commands, prog="python -m twostream", args=arguments, config=config)
        return int(command())
    except InputError as problem:
        print(problem, file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print("interrupted; the same command goes on, or starts again", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
