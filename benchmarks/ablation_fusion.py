"""The fusion of the streams of one case of an ablation study, split by split."""

from collections.abc import Mapping, Sequence

from ablation_streams import HELD_OUT, SCORES, StreamTask, fold_folder
from studies import Case

from flow.errors import InputError
from twostream.data.annotations import Video
from twostream.fusion import fuse
from twostream.fusion_choice import Split, choose
from twostream.runs import Data
from twostream.scores import Scores, join


def fused(case: Case, streams: Sequence[StreamTask], videos: Mapping[str, Video]) -> Scores:
    """The scores of all test videos, weighed as the case says.

    Raises:
        InputError: A share that is to be chosen, where no training videos are held out.
    """
    splits = zip(*(task.data.splits() for task in streams), strict=True)
    scores = [_of_split(case, streams, split, videos) for split in splits]
    return scores[0] if len(scores) == 1 else join(scores, streams[0].data.split)


def _of_split(
    case: Case,
    streams: Sequence[StreamTask],
    data: Sequence[Data],
    videos: Mapping[str, Video],
) -> Scores:
    folders = [fold_folder(task, each) for task, each in zip(streams, data, strict=True)]
    test = [Scores.load(folder / SCORES) for folder in folders]
    if case.share is not None:
        return fuse(test, (1 - case.share, case.share), case.rule)
    files = [folder / HELD_OUT for folder in folders]
    if not all(file.is_file() for file in files):
        raise InputError(
            f"{folders[0]} has no {HELD_OUT} to choose the share on; give the study's case a share."
        )
    held_out = [Scores.load(file) for file in files]
    labels = Split(tuple(test), videos, tuple(held_out)).labels(held_out[0])
    chosen = choose(held_out, labels, case.rule)
    return fuse(test, chosen.weights, chosen.rule, chosen.temperatures)
