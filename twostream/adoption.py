"""Published weights as a run: scored, fused, asked and started from like one trained here."""

from collections.abc import Sequence
from pathlib import Path

import torch

from flow.errors import InputError
from flow.files import make_writable, write_atomically
from twostream.checkpoints import Checkpoints, to_test
from twostream.data.annotations import Annotations, some_of
from twostream.image_settings import describe
from twostream.initialisation import checkpoint_of_run
from twostream.models import LoadReport, load_weights
from twostream.runs import Checkpoint, Run, refuse_other, report_missing


def adopt(run: Run, folder: Path, names: Sequence[str] | None = None) -> LoadReport:
    """Write the checkpoint of a run that is not trained: its network is that of its weights.

    Args:
        run: The experiment names the network and its weights, a file; the data has the videos to
            test on.
        folder: The run's.
        names: The classes in the order of the network's outputs; the lists' own, which a CSV
            file's are in sorted order, where not given.

    Returns:
        What the weights gave.

    Raises:
        InputError: Weights without a last layer of the lists' classes, weights that one of our
            runs has learned, lists or store that do not fit, a folder with another network in it.
    """
    weights = run.experiment.weights
    if weights is None:
        raise InputError("There are no weights to adopt; give a file of them.")
    _refuse_trained(folder)
    refuse_other(folder, run)
    annotations, absent = run.data.annotations("test")
    order = _order(annotations, names)
    model = run.build(len(annotations.classes))
    report = load_weights(model, weights, lineage=run.experiment.lineage)
    if report.head_replaced:
        raise InputError(
            f"{weights} has no last layer of {len(annotations.classes)} classes, which "
            f"{run.data.lists} has; give lists of what it was trained on, or train its last layer."
        )
    if report.source == "checkpoint" and checkpoint_of_run(weights):
        raise InputError(f"{weights} is of a run, which knows what it has learned; score that run.")
    with torch.no_grad():
        for values in (model.fc.weight, model.fc.bias):
            values.copy_(values[order])
    make_writable(folder)
    write_atomically(folder / "run.json", run.to_json().encode())
    report_missing(absent, folder / "missing_test.txt")
    checkpoint = Checkpoint(
        run,
        annotations.name,
        annotations.classes,
        trained_on=(),
        held_out=(),
        list_sha256="",  # of no list
        step=0,
        model=model.state_dict(),
        training={},
        images=describe(run.data.store, annotations.test[0].id),
    )
    Checkpoints(folder).save(checkpoint)
    return report


def _refuse_trained(folder: Path) -> None:
    path = to_test(folder)
    if path.is_file() and Checkpoint.load(path).trained_on:
        raise InputError(f"{path} is of a network that was trained; give another folder.")


def _order(annotations: Annotations, names: Sequence[str] | None) -> list[int]:
    """Which of the network's outputs is each class of the lists."""
    if names is None:
        return list(range(len(annotations.classes)))
    if sorted(names) != sorted(annotations.classes):
        odd = sorted(set(names) ^ set(annotations.classes)) or ["one of them twice"]
        raise InputError(
            f"The {len(names)} names of the outputs are not the {len(annotations.classes)} classes "
            f"of {annotations.name}: {some_of(odd)}; give each class of the lists once."
        )
    places = {name: place for place, name in enumerate(names)}
    return [places[name] for name in annotations.classes]
