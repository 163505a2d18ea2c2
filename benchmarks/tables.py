"""The tables of both README files, made from ``results``.

    python benchmarks/tables.py

Writes what stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` anew; a test holds that
nothing changes by it.
"""

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ablation_page import markdown
from ablation_table import Result, lines, readable
from measured import peak_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGES = HERE.parent / "README.md", HERE / "README.md"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    for page in PAGES:
        page.write_text(filled(page.read_text()))


def filled(text: str) -> str:
    """The page with its tables as the results have them."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + "\n" + found[3], text)


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(re.sub(" +", " ", f"| {' | '.join(cells)} |") for cells in lines)


def tvl1_speed() -> str:
    rows = []
    for size in results("tvl1_speed_zen5_2cores")["sizes"]:
        for speed in size["speed"]:
            opencv, native = (1e3 * np.array(speed[f"{w}_s_a_pair"]) for w in ("opencv", "native"))
            rows.append(
                [
                    f"{size['width']}x{size['height']}",
                    str(speed["threads"]),
                    f"{np.median(opencv):.0f}",
                    f"{np.median(native):.3g}",
                    spread(opencv / native, ".1f"),
                    f"{speed['agreement']['median_px']:.4f}",
                ]
            )
    head = ["size", "threads", "OpenCV, ms a pair", "native, ms a pair", "times as fast"]
    return table([*head, "median difference, px"], rows)


def tvl1_in_words() -> str:
    """What another machine gave, and what threads bring."""
    ratios = [
        np.median(np.divide(speed["opencv_s_a_pair"], speed["native_s_a_pair"]))
        for size in results("tvl1_speed_zen3_2cores")["sizes"]
        for speed in size["speed"]
    ]
    threads = results("tvl1_speed_zen5_2cores")["scaling"]["ratio_median"]
    return (
        f"On an older machine (Zen 3, AVX2) it is {min(ratios):.0f} to {max(ratios):.0f} times as "
        f"fast as OpenCV. With two\nthreads the native solver is {threads:.1f} times as fast as "
        "with one."
    )


def tvl1_profile() -> str:
    sizes = results("tvl1_speed_zen5_2cores")["sizes"]
    profile = next(size["profile"] for size in sizes if size["width"] == 320)
    rows = [
        [
            part,
            f"{values['share']:.0%}",
            f"{values['ms_a_pair']:.1f}",
            f"{values['ns_a_pixel']:.2f}" if "ns_a_pixel" in values else "",
            str(values.get("operations_a_pixel", "")),
        ]
        for part, values in profile.items()
    ]
    return table(["part", "share", "ms a pair", "ns a pixel", "operations a pixel"], rows)


def extraction_speed() -> str:
    report = results("extraction_speed_zen5_2cores")
    groups, size = report["extraction"]["groups"], report["size"]
    share = 100 * np.array([group["share"] for group in groups])
    stages = [group["frames_a_second_of_a_processor"] for group in groups]
    names = {"decode": "decoding", "solve": "solving", "encode": "compressing", "write": "writing"}
    rates = ", ".join(
        f"{name} {np.median([each[stage] for each in stages]):,.0f}"
        for stage, name in names.items()
    )
    peak = max(group["peak_mb"] for group in groups)
    rows = [
        ["speed over that of the solver alone", spread(share, ".0f", "%")],
        ["one processor does, frames/s", rates],
        ["most memory of all processes together", f"{peak:.0f} MB"],
        [
            "size, bytes",
            f"{size['bytes_a_flow']:,.0f} a flow, {size['bytes_a_frame']:,.0f} a frame, "
            f"{size['bytes_a_frame_with_all']:,.0f} with everything",
        ],
    ]
    return table(["", ""], rows)


def reading_speed() -> str:
    rates = results("reading_speed_zen5_2cores")["clips_a_second"]
    told = {name: spread(np.array(values), ".0f") for name, values in rates.items()}
    rows = [
        [
            "frames and flow",
            told["both streams, store"],
            told["both streams, folder of JPEG files"]
            + " from single JPEG files, three for each frame",
        ],
        [
            "frames alone",
            told["frames alone, store"],
            told["frames alone, video"] + " from the video",
        ],
    ]
    return table(["", "from the store", "otherwise"], rows)


def loading_speed() -> str:
    rates = results("loading_speed_zen5_2cores")["clips_a_second"]
    names = {
        "from the store": "store",
        "a random box, and random colours of RGB": "store, random box and colours",
        "straight from the videos": "videos",
        "decoding as many JPEG files alone": "decoding JPEG files alone",
    }

    def cell(stream: str, name: str) -> str:
        values = np.array(rates[f"{stream}, {name}"])
        return spread(values, ".1f" if np.median(values) < 10 else ".0f")

    rows = [[title, *(cell(s, name) for s in ("rgb", "flow"))] for title, name in names.items()]
    return table(["", "RGB", "flow"], rows)


def p3d_speed() -> str:
    rows = []
    for result in results("p3d_speed_zen5_2cores")["results"]:
        seconds, batch = result["seconds_a_batch"], result["batch"]
        stage = "scored" if result["stage"] == "inference" else result["stage"]
        plain = np.array(seconds["plain"])
        for form, precision in (("ours, fp32", "float32"), ("ours, bf16", "bfloat16")):
            ours = np.array(seconds[form])
            done = 2 * result["gmac_a_clip"] * batch / ours
            share = np.median(done / peak_of(form, result["peak_gflops"]))
            rows.append(
                [
                    f"{result['model'].replace('p3d', 'P3D-')}, {stage}, {precision}",
                    str(batch),
                    f"{1e3 * np.median(plain) / batch:.0f}",
                    f"{1e3 * np.median(ours) / batch:.0f}",
                    spread(plain / ours, ".1f"),
                    f"{share:.0%}",
                ]
            )
    head = ["", "clips together", "plain, ms a clip", "ours, ms a clip", "times as fast"]
    return table([*head, "share of the peak"], rows)


def p3d_in_words() -> str:
    """What recomputing costs, and what another machine gave."""
    recomputing = [
        np.median(np.divide(seconds["ours, fp32, recomputing"], seconds["ours, fp32"]))
        for result in results("p3d_speed_zen5_2cores")["results"]
        if "ours, fp32, recomputing" in (seconds := result["seconds_a_batch"])
    ]
    times, shares = [], []
    for result in results("p3d_speed_zen3_2cores")["results"]:
        if (result["model"], result["stage"]) == ("p3d63", "inference"):
            seconds = result["seconds_a_batch"]
            ours = np.array(seconds["ours, fp32"])
            times.append(np.median(seconds["plain"] / ours))
            done = 2 * result["gmac_a_clip"] * result["batch"] / ours
            shares.append(np.median(done / peak_of("ours, fp32", result["peak_gflops"])))
    compiled = _compiled("p3d_speed_zen3_2cores")
    newer = _compiled("p3d_compile_zen5_2cores")
    return (
        "Recomputing activations instead of keeping them makes a training step "
        f"{np.median(recomputing):.1f} times as long. On Zen 3,\n"
        f"which has no bfloat16, P3D-63 is scored {times[0]:.1f} and {times[1]:.1f} times as fast "
        f"as plain ({shares[0]:.0%} and {shares[1]:.0%} of the\n"
        f"peak), and with `torch.compile` it takes {compiled[0]:.2f} and {compiled[1]:.2f} times "
        f"as long as without;\non Zen 5 {min(newer):.1f} to {max(newer):.1f} times."
    )


def _compiled(name: str) -> list[float]:
    """How many times as long P3D-63 takes with torch.compile, by batch and precision."""
    found = []
    for result in results(name)["results"]:
        if (result["model"], result["stage"]) == ("p3d63", "inference"):
            for form, seconds in (all_seconds := result["seconds_a_batch"]).items():
                if form.endswith(", compiled"):
                    without = all_seconds[form.removesuffix(", compiled")]
                    found.append(float(np.median(np.divide(seconds, without))))
    return found


def p3d_steps() -> str:
    report = results("p3d_steps_zen3_1thread")["results"][0]
    seconds = {form: 1e3 * np.array(taken) for form, taken in report["seconds_a_batch"].items()}
    names = {
        "plain": "plain: nn.Conv3d, nn.BatchNorm3d, contiguous",
        "channels last": "the layout channels_last_3d, convolutions as 2D ones",
        "folded": "BatchNorm folded into the kernels",
        "ours, fp32": "kernels laid out once for oneDNN, ReLU and sum within the convolution",
    }
    rows = [[title, spread(seconds[form], ".0f")] for form, title in names.items()]
    product = 2e3 * report["gmac_a_clip"] / peak_of("plain", report["peak_gflops"])
    rows.append(["a matrix product of as many operations", spread(product, ".0f")])
    return table(["form", "ms"], rows)


def predict_speed() -> str:
    report = results("predict_speed_zen5_2cores")
    rates = {name: np.array(values) for name, values in report["frames_a_second"].items()}
    whole = {
        "a video's answer, both processors": rates["whole"],
        "the same, and the annotated video": rates["whole, written"],
    }
    stages = [name for name in rates if not name.startswith("whole")]
    titles = whole | {f"{name}, one processor": rates[name] for name in stages}
    rows = [[title, spread(values, ",.0f")] for title, values in titles.items()]
    rows.append(["times real time", spread(np.array(report["times_real_time"]), ".1f")])
    return table(["", "frames/s"], rows)


def small_sets() -> str:
    rows = [
        [
            SMALL_SETS[each["folder"]],
            _clips(each),
            f"{each['videos']}, {each['groups']}",
            *(_top1(each["top1_by_video"][name]) for name in ("rgb", "flow", "fused")),
            f"{each['seconds_in_all'] / 60:.0f}",
        ]
        for each in results("small_sets")["results"]
    ]
    return table(["", "clips", "videos, groups", "RGB", "flow", "fused", "minutes"], rows)


SMALL_SETS = {
    "weizmann": "Weizmann, leave one subject out",
    "ut_interaction": "UT-Interaction set 1, leave one sequence out",
    "surveillance_fight": "Surveillance Fight, 5 grouped folds",
}


def small_sets_tried() -> str:
    """What inner folds of the training videos say of clips, in the mean over the splits."""
    rows = []
    for each in results("small_sets_tried")["results"]:
        cells = [
            f"{100 * np.mean([split['inner_accuracy'] for split in each['chosen'][stream]]):.1f}"
            for stream in ("rgb", "flow")
        ]
        rows.append([SMALL_SETS[each["folder"]], _clips(each), *cells])
    return table(["", "clips", "RGB", "flow"], rows)


def _clips(each: dict[str, Any]) -> str:
    height, width = each["resize"]
    return f"{each['clips']} of {each['length']} x {height} x {width}"


NAMES = {"rgb": "RGB", "flow": "flow"}


def trained() -> str:
    """What trainings reach on the test videos."""
    rows = []
    for each in results("trained")["results"]:
        recipes = {stream: _recipe(recipe) for stream, recipe in each["recipe"].items()}
        if len(set(recipes.values())) == 1:
            told = next(iter(recipes.values()))
        else:
            told = "; ".join(f"{NAMES[stream]}: {recipe}" for stream, recipe in recipes.items())
        names = "rgb", "flow", "equal", "chosen"
        cells = [_top1(each["top1_by_video"].get(name)) for name in names]
        rows.append([each["title"], told, *cells])
    head = ["", "recipe", "RGB", "flow", "fused, equal weights", "fused, chosen weights"]
    return table(head, rows)


def tried() -> str:
    """Trainings that were compared by videos of the training list, held out."""
    rows = []
    for each in results("tried")["results"]:
        for stream, found in each["held_out"].items():
            recipe, steps = each["recipe"][stream], found["steps"]
            cells = [_recipe(recipe, besides=VALIDATION), str(steps)]
            right = f"{found['right']} of {found['videos']}"
            rows.append([each["title"], stream, *cells, right, f"{found['loss']:.2f}"])
    head = ["", "stream", "recipe", "steps made", "held-out videos right", "their loss"]
    return table(head, rows)


# Fields by which a training is watched, and not what it learns.
VALIDATION = ("validate_on", "held_out", "validation_clips", "test_clips")


def _recipe(recipe: dict[str, Any], besides: tuple[str, ...] = ()) -> str:
    """Its name, and in what it is changed."""
    changed = {name: value for name, value in recipe["changes"].items() if name not in besides}
    changes = [f"{name} {_plain(value)}" for name, value in changed.items()]
    if before := recipe.get("weights_of_run"):
        changes.append(f"weights of {_recipe(before)} on {before['lists']}")
    return ", ".join([f"`{recipe['name']}`", *changes])


def _plain(value: object) -> str:
    """Lists without their brackets."""
    return " ".join(map(_plain, value)) if isinstance(value, list) else str(value)


def _top1(top1: dict[str, float] | None) -> str:
    """An accuracy in percent with its interval; none of a stream that was not trained."""
    if top1 is None:
        return ""
    mean, low, high = (100 * top1[name] for name in ("mean", "low", "high"))
    return f"{mean:.1f} " + ("(no spread)" if low == high else f"({low:.1f} to {high:.1f})")


def study(name: str) -> str:
    """The table of an ablation study."""
    report = results(f"ablation_{name}")
    cases = {
        case: Result({stream: np.array(right, bool) for stream, right in answers.items()})
        for case, answers in report["answers"].items()
    }
    stream = list(report["answers"][report["study"]["base"]])[-1]
    found = lines(report["study"]["base"], cases, np.array(report["groups"]), stream)
    return markdown(readable(found, stream))


def results(name: str) -> dict[str, Any]:
    """What a benchmark has written."""
    loaded: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return loaded


def spread(values: np.ndarray, form: str, unit: str = "") -> str:
    """Median and range."""
    median, low, high = (
        f"{value:{form}}{unit}" for value in (np.median(values), values.min(), values.max())
    )
    return f"{median} ({low} to {high})"


TABLES: dict[str, Callable[[], str]] = {
    make.__name__: make
    for make in (
        tvl1_speed,
        tvl1_in_words,
        tvl1_profile,
        extraction_speed,
        reading_speed,
        loading_speed,
        p3d_speed,
        p3d_in_words,
        p3d_steps,
        predict_speed,
        small_sets,
        small_sets_tried,
        trained,
        tried,
    )
}
STUDIES = (
    "ut_interaction_fusion",
    "surveillance_fight_fusion",
    "ut_interaction_flow_algorithm",
    "surveillance_fight_flow_algorithm",
    "ut_interaction_flow_size",
    "ut_interaction_bound",
    "surveillance_fight_bound",
    "ut_interaction_blocks",
    "surveillance_fight_blocks",
)
TABLES |= {name: partial(study, name) for name in STUDIES}


if __name__ == "__main__":
    main()
