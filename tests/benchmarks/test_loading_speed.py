"""The benchmark of loading runs: a smoke test on small videos, with few clips."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from flow.extract import extract
from flow.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_each_way_is_measured_in_each_round(tmp_path: Path) -> None:
    videos, store, out = tmp_path / "videos", tmp_path / "store", tmp_path / "out.json"
    videos.mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("long", 20), ("short", 5)):
        codec = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(videos / f"{name}.avi"), codec, 25, (64, 48))
        for _ in range(count):
            writer.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        writer.release()
    extract(videos, store, Settings(algorithm="dis"), workers=1, progress=False)
    script = ROOT / "benchmarks/loading_speed.py"
    sizes = ("--rounds", "2", "--clips", "3", "--video-clips", "1")
    command = [sys.executable, script, videos, store, *sizes, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())
    names = ("decoding JPEG files alone", "store", "store, random box and colours", "videos")
    rates = results["clips_a_second"]
    assert set(rates) == {f"{stream}, {name}" for stream in ("rgb", "flow") for name in names}
    for name, values in rates.items():
        assert len(values) == 2
        assert min(values) > 0
        assert name in done.stdout
    assert len(results["seconds_to_count_frames"]) == 2
    configuration = results["configuration"]
    assert configuration["videos"] == ["long", "short"]
    assert configuration["settings"]["algorithm"] == "dis"
    assert configuration["geometry"] == {"resize": [182, 242], "crop": [160, 160]}
    assert results["machine"]["usable_processors"] >= 1
