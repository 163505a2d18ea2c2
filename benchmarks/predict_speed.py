"""Speed of prediction from a video file to its answer, whole and stage by stage, against real time.

    python benchmarks/predict_speed.py VIDEOS [--run RUN] [--out results.json]

Without a run it is P3D-63 as the paper tests it, both streams, with weights at random, which cost
the same. Whole means by the clock, with all stages at a time, without and with the annotated video;
a stage alone is told by the time of one processor, however many it uses. A stage's frames are those
of the videos: a network answers one clip for each 16 of them, in long videos, and as many clips as
it is tested with in short ones. All videos take turns, after a round that does not count.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import twostream  # noqa: F401 - before torch, so that its threads wait as those of the command do

# isort: split
import numpy as np
import torch
from measured import machine, spread

from flow.meta import SETTINGS
from flow.progress import progress_bar
from flow.settings import Settings
from flow.show import spread as evenly
from flow.side_by_side import write_video
from flow.sources import find_videos, open_video
from twostream.experiments import EXPERIMENTS
from twostream.prediction import Predictor
from twostream.prediction.drawing import Painter
from twostream.prediction.encoding import annotate, choose_codec
from twostream.prediction.parts import Part, flow_images, in_parts
from twostream.runs import Checkpoint, Data, Run
from twostream.streams import STREAMS

CLASSES = 101
WAITING = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("videos", type=Path, help="folder of videos, searched at every depth")
    parser.add_argument("--run", type=Path, help="folder of a trained run")
    parser.add_argument("--experiment", default="paper", choices=list(EXPERIMENTS))
    parser.add_argument("--count", type=int, default=2, help="videos, evenly spread over all")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count")
    parser.add_argument("--threads", type=int, help="of the networks; all processors if not given")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    found = find_videos(arguments.videos)
    videos = [found[number - 1] for number in evenly(len(found), arguments.count)]
    with TemporaryDirectory() as folder:
        run = arguments.run or random_run(Path(folder), arguments.experiment)
        results = measure(Predictor(run), videos, arguments.rounds, Path(folder) / "out.mp4")
    results["configuration"] |= {"run": str(arguments.run or arguments.experiment)}
    for name, values in results["frames_a_second"].items():
        print(f"  {name:<28} {spread(np.array(values))} frames/s")
    for name in ("times_real_time", "processors_busy"):
        print(f"  {name.replace('_', ' '):<28} {spread(np.array(results[name]))}")
    if arguments.out:
        about = {"machine": {**machine(), "torch": torch.__version__}}
        arguments.out.write_text(json.dumps(about | results, indent=2) + "\n")


def random_run(folder: Path, experiment: str) -> Path:
    """A run of both streams, never trained."""
    recorded = Settings().recorded()
    for stream in STREAMS:
        run = Run(EXPERIMENTS[experiment](), Data(folder, folder), stream)
        network = run.build(CLASSES).state_dict()
        names = tuple(f"class {k}" for k in range(CLASSES))
        images = {
            name: recorded[name] for name in SETTINGS if name not in ("codec", "quality", "rgb")
        }
        (folder / stream).mkdir()
        Checkpoint(run, "none", names, (), (), "", 0, network, {}, images).save(
            folder / stream / "checkpoint.pt"
        )
    return folder


@dataclass
class Clock:
    """Seconds of each stage in one round."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str, clock: Callable[[], float]) -> Iterator[None]:
        started = clock()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + clock() - started


def measure(predictor: Predictor, videos: list[Path], rounds: int, out: Path) -> dict[str, Any]:
    """Frames a second, round by round, of all videos together."""
    sizes = [(open_video(video).size, open_video(video).fps) for video in videos]
    rates: dict[str, list[float]] = {}
    real, busy = [], []
    frames: list[int] = []
    bar = progress_bar((rounds + 1) * len(videos), " videos", shown=True)
    for turn in range(rounds + 1):
        clock = Clock()
        frames.clear()
        for video in videos:
            frames.append(go_through(predictor, video, out, clock))
            bar.update(1)
        seconds = clock.seconds.copy()
        processors = seconds.pop("processors")
        if turn:  # the first round warms up
            for stage, taken in seconds.items():
                rates.setdefault(stage, []).append(sum(frames) / taken)
            length = sum(count / (fps or 25) for count, (_, fps) in zip(frames, sizes, strict=True))
            real.append(length / seconds["whole"])
            busy.append(processors / seconds["whole"])
    bar.close()
    experiment = predictor.networks[0].experiment
    return {
        "configuration": {
            "videos": [
                {
                    "name": video.name,
                    "frames": count,
                    "height": size[0],
                    "width": size[1],
                    "fps": fps,
                }
                for video, count, (size, fps) in zip(videos, frames, sizes, strict=True)
            ],
            "model": experiment.model,
            "clip_length": experiment.clip_length,
            "test_clips": experiment.test_clips,
            "geometry": asdict(experiment.geometry()),
            "settings": predictor.settings.recorded(),
            "streams": predictor.streams,
            "network_threads": torch.get_num_threads(),
            "waiting": {name: os.environ.get(name) for name in WAITING},
            "dtype": str(predictor.networks[0].model.dtype),
            "encoder": choose_codec(),
            "rounds": rounds,
        },
        "frames_a_second": rates,
        "times_real_time": real,
        "processors_busy": busy,
    }


def go_through(predictor: Predictor, video: Path, out: Path, clock: Clock) -> int:
    """Predict a video, whole and by stages; gives its number of frames."""
    settings, one = predictor.settings, time.process_time
    with clock.timed("whole", time.perf_counter), clock.timed("processors", one):
        prediction = predictor(video)
    with clock.timed("whole, written", time.perf_counter):
        annotate(predictor, video, out)
    with clock.timed("decoding", one):
        for _ in in_parts(open_video(video), settings, prediction.frames):
            pass
    parts = []
    for part in in_parts(open_video(video), settings, prediction.frames):
        with clock.timed("flow", one):
            flow = flow_images(part.frames, settings)
        parts.append(Part(part.first, part.frames, flow))
    images = {
        "rgb": np.concatenate([part.frames[:-1] for part in parts]),
        "flow": np.concatenate([part.flow for part in parts if part.flow is not None]),
    }
    following = predictor.follow(video)
    runs = following.clips.distinct().values()
    for network in predictor.networks:
        with clock.timed(f"{network.stream} network", one):
            views = network.views(images[network.stream])
            for run in runs:
                network.logits(views[:, torch.from_numpy(run)])
    encoding = settings.bound, settings.encoding
    painter = Painter(predictor.classes, prediction.frames, prediction.fps, *encoding, True)
    shown = list(following)
    with clock.timed("drawing", one):
        pictures = [painter.picture(each) for each in shown]
    with clock.timed("encoding", one):
        write_video(out, "mp4", pictures, prediction.fps)
    return prediction.frames


if __name__ == "__main__":
    main()
