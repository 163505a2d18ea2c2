"""A prediction in words for people, and as JSON lines for programs."""

import json
from collections.abc import Iterator
from typing import Any

from twostream.prediction.result import Prediction, Probabilities, Window, top

TOP = 5
"""Classes that are told, at most."""


def clock(frame: int, fps: float) -> str:
    """When a frame is shown, as "1:02.5", or with hours "1:00:02.5"; its number without a rate."""
    if not fps:
        return f"frame {frame}"
    tenths = round(10 * frame / fps)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    time = f"{minutes:02}" if hours else f"{minutes}"
    return (f"{hours}:" if hours else "") + f"{time}:{rest / 10:04.1f}"


def in_words(prediction: Prediction) -> str:
    """The top classes of a video, and of a long one its time line."""
    fps = prediction.fps
    seconds = f", {prediction.frames / fps:.1f} s" if fps else ""
    lines = [f"{prediction.video}: {prediction.frames:,} frames{seconds}"]
    lines += [f"  {each.probability:6.1%}  {each.label}" for each in prediction.top(TOP)]
    if prediction.long:
        lines.append(f"  over time, in {len(prediction.windows):,} windows:")
        for span in prediction.timeline():
            when = f"{clock(span.start, fps)} to {clock(span.end, fps)}"
            lines.append(f"    {when}  {span.label} {span.probability:.1%}")
    return "\n".join(lines)


def window_in_words(window: Window, classes: tuple[str, ...]) -> str:
    """The top classes of one clip, in a line."""
    told = top(classes, window.probabilities, TOP)
    named = ", ".join(f"{each.label} {each.probability:.1%}" for each in told)
    return f"frames {window.start:,} to {window.end:,}: {named}"


def as_json(prediction: Prediction) -> Iterator[str]:
    """A line for each window, and then one for the video.

    Frames count from 0, ``end`` is the one behind the last, and seconds are null where the video
    states no rate.
    """
    for window in prediction.windows:
        yield window_as_json(prediction.video, window, prediction.classes, prediction.fps)
    spans = [
        _time(span.start, span.end, prediction.fps)
        | {"label": span.label, "probability": span.probability}
        for span in prediction.timeline()
    ]
    yield _line(
        {
            "kind": "video",
            "video": prediction.video,
            "frames": prediction.frames,
            "fps": prediction.fps or None,
            "top": _top(prediction.classes, prediction.probabilities),
            "streams": {
                stream: _top(prediction.classes, alone)
                for stream, alone in prediction.streams.items()
            },
            "probabilities": dict(
                zip(prediction.classes, prediction.probabilities.tolist(), strict=True)
            ),
            "timeline": spans,
        }
    )


def window_as_json(video: str, window: Window, classes: tuple[str, ...], fps: float) -> str:
    """The line of one window."""
    return _line(
        {"kind": "window", "video": video}
        | _time(window.start, window.end, fps)
        | {"top": _top(classes, window.probabilities)}
    )


def _time(start: int, end: int, fps: float) -> dict[str, Any]:
    return {
        "start": start,
        "end": end,
        "start_seconds": start / fps if fps else None,
        "end_seconds": end / fps if fps else None,
    }


def _top(classes: tuple[str, ...], probabilities: Probabilities) -> list[dict[str, Any]]:
    return [
        {"label": each.label, "probability": each.probability}
        for each in top(classes, probabilities, TOP)
    ]


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False)
