"""Speed of the networks, scored and trained, beside the same arithmetic in plain PyTorch.

    python benchmarks/p3d_speed.py [--models p3d63 p3d199] [--batches 1 4] [--out results.json]

Plain is what a port does: nn.Conv3d and nn.BatchNorm3d, contiguous, eager, float32, on a CPU in a
process of its own with PyTorch's settings (`plain_p3d.py`). All forms take turns in one run on
random clips of 16 x 160 x 160, after one turn that does not count; the peak beside them is a large
matrix product in the same run. On a GPU there are TF32, bfloat16 and torch.compile too, and the
memory of each.
"""

import argparse
import copy
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import twostream  # noqa: F401 - before torch, so that its threads wait as those of a command do

# isort: split
import numpy as np
import torch
from measured import machine, peak_of, spread
from plain_p3d import CLASSES, OwnProcess, Stage, Work, passes, reference, step
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from twostream.memory import keep_freed
from twostream.models import MODELS, P3D
from twostream.models.inference import folded, for_inference, has_bfloat16

CLIP = 16, 160, 160
PEAK_SIDE = 3072
SETTLED = 0.05  # seconds after which the threads of the form before have gone to sleep


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["p3d63", "p3d199"], choices=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--train-batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clip", nargs=3, type=int, default=CLIP, metavar=("T", "H", "W"))
    parser.add_argument("--channels", type=int, default=3, choices=[2, 3], help="RGB or flow")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--steps", action="store_true", help="also the forms between the two")
    parser.add_argument("--threads", type=int, help="of the processor; all where not given")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    results = [
        measure(
            name,
            batch,
            training,
            (arguments.channels, *arguments.clip),
            torch.device(arguments.device),
            arguments.rounds,
            arguments.compile,
            arguments.steps,
        )
        for name in arguments.models
        for training, batches in ((False, arguments.batches), (True, [arguments.train_batch]))
        for batch in batches
    ]
    if arguments.out:
        configuration = {**vars(arguments), "out": None, "torch": torch.__version__}
        report = {"machine": machine(), "configuration": configuration, "results": results}
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")


def measure(
    name: str,
    batch: int,
    training: bool,
    shape: tuple[int, ...],
    device: torch.device,
    rounds: int,
    compiled: bool = False,
    steps: bool = False,
) -> dict[str, Any]:
    """Seconds a clip of every form of one network, round by round, and of the peak beside them."""
    torch.manual_seed(0)
    model = MODELS[name](CLASSES, shape[0])
    clips = torch.randn(batch, *shape, device=device)
    make = training_forms if training else inference_forms
    forms = make(model, clips, compiled)
    if steps and not training:
        forms |= steps_between(model, clips)
    with ExitStack() as stack:
        if device.type == "cpu":
            stage: Stage = "training" if training else "inference"
            alone = stack.enter_context(OwnProcess(name, stage, (batch, *shape)))
            forms = {"plain": alone, **forms}
        seconds, memory = in_turns(forms | peaks(device), device, rounds)
    gmac = multiply_adds(model, shape) * (3 if training else 1)
    operations = 2e-9 * peak_side(device) ** 3
    peak = {
        kind: (operations / np.array(seconds.pop(f"peak, {kind}"))).tolist()
        for kind in ("float32", "bfloat16")
        if f"peak, {kind}" in seconds
    }
    result = {
        "model": name,
        "stage": "training step" if training else "inference",
        "batch": batch,
        "clip": shape,
        "gmac_a_clip": gmac,
        "peak_gflops": peak,
        "seconds_a_batch": seconds,
        "gpu_bytes": memory if device.type == "cuda" else None,
    }
    show(result)
    return result


def in_turns(
    works: dict[str, Work], device: torch.device, rounds: int
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each round, and the bytes that each work needs; without what does not fit."""
    seconds: dict[str, list[float]] = {form: [] for form in works}
    memory = {}
    for turn in range(rounds + 1):
        for form in list(seconds):
            try:
                taken, used = timed(works[form], device)
            except torch.OutOfMemoryError:
                print(f"  {form} does not fit into the memory")
                del seconds[form]
                torch.cuda.empty_cache()
                continue
            if turn:  # the first warms up
                seconds[form].append(taken)
                memory[form] = used
    return seconds, memory


def show(result: dict[str, Any]) -> None:
    """A line a form."""
    gmac, batch, seconds = result["gmac_a_clip"], result["batch"], result["seconds_a_batch"]
    shape = "x".join(map(str, result["clip"]))
    print(f"{result['model']}, {result['stage']}, {batch} clips of {shape}, {gmac:.2f} GMAC a clip")
    for kind, values in result["peak_gflops"].items():
        print(f"  peak of a matrix product, {kind}: {spread(np.array(values))} GFLOP/s")
    for form, values in seconds.items():
        each = np.array(values)
        share = np.median(2 * gmac * batch / each / peak_of(form, result["peak_gflops"]))
        line = f"  {form:<24} {spread(1e3 * each / batch)} ms a clip, {share:.0%} of the peak"
        if "plain" in seconds:
            line += f", {spread(np.array(seconds['plain']) / each)} times plain"
        if result["gpu_bytes"]:
            line += f", {result['gpu_bytes'][form] / 2**30:.1f} GiB"
        print(line)


def peak_side(device: torch.device) -> int:
    """Of the matrices whose product is the peak."""
    return (8 if device.type == "cuda" else 1) * PEAK_SIDE


def peaks(device: torch.device) -> dict[str, Work]:
    """A product of large matrices, in float32 and where it has instructions in bfloat16."""
    side = peak_side(device)
    kinds = {"float32": torch.float32}
    if has_bfloat16(device):
        kinds["bfloat16"] = torch.bfloat16
    return {f"peak, {name}": product(side, device, kind) for name, kind in kinds.items()}


def product(side: int, device: torch.device, kind: torch.dtype) -> Work:
    """One product; on a CPU oneDNN's, as MKL's leaves half of some processors unused."""
    matrix = torch.randn(side, side, device=device).to(kind)
    if device.type == "cuda" or not torch._C._has_mkldnn:
        return lambda: matrix @ matrix
    ops: Any = torch.ops.mkldnn
    laid_out = ops._reorder_linear_weight(matrix, side)
    return lambda: ops._linear_pointwise(matrix, laid_out, None, "none", [], "")


def inference_forms(model: P3D, clips: Tensor, compiled: bool) -> dict[str, Work]:
    """One pass of the clips through each form of the network."""
    device = clips.device
    forms: dict[str, Work] = {}
    precisions = ["fp32", *(["bf16"] if has_bfloat16(device) else [])]
    for precision in precisions:
        for compile in (False, True) if compiled else (False,):
            ours: Any = for_inference(model, device, precision=precision, compile=compile)  # type: ignore[arg-type]
            form = f"ours, {precision}" + (", compiled" if compile else "")
            forms[form] = passes(ours, clips)
    if device.type == "cuda":
        forms |= {"plain": reference(model, clips, training=False)}
        forms |= {f"{form}, TF32": in_tf32(forms[form]) for form in ("plain", "ours, fp32")}
    return forms


def steps_between(model: P3D, clips: Tensor) -> dict[str, Work]:
    """What `for_inference` does, step by step."""
    to_channels_last: Any = copy.deepcopy(model).eval().to
    channels_last = to_channels_last(clips.device, memory_format=torch.channels_last_3d)
    to_channels_last = folded(model).to
    without_norms = to_channels_last(clips.device, memory_format=torch.channels_last_3d)
    return {"channels last": passes(channels_last, clips), "folded": passes(without_norms, clips)}


def training_forms(model: P3D, clips: Tensor, _: bool) -> dict[str, Work]:
    """A step of each form: loss, gradients, SGD; every BatchNorm but the first frozen."""
    if clips.device.type == "cpu":
        keep_freed()
    ours = copy.deepcopy(model).train().to(clips.device)
    ours.freeze_batchnorm()
    to_channels_last: Any = ours.to
    to_channels_last(memory_format=torch.channels_last_3d)
    recomputing = copy.deepcopy(ours)
    recomputing.checkpoint_activations = True
    forms = {
        "ours, fp32": step(ours, clips),
        "ours, fp32, recomputing": step(recomputing, clips),
    }
    if has_bfloat16(clips.device):
        forms["ours, bf16"] = step(copy.deepcopy(ours), clips, half=True)
    if clips.device.type == "cuda":
        forms |= {"plain": reference(model, clips, training=True)}
        forms |= {f"{form}, TF32": in_tf32(forms[form]) for form in ("plain", "ours, fp32")}
    return forms


def multiply_adds(model: P3D, shape: tuple[int, ...]) -> float:
    """Of one clip, in thousands of millions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(model).to("meta").eval()(torch.empty(1, *shape, device="meta"))
    return float(counter.get_total_flops() / 2e9)


def in_tf32(work: Work) -> Work:
    def faster() -> object:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        try:
            return work()
        finally:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    return faster


def timed(work: Work, device: torch.device) -> tuple[float, int]:
    """Seconds, and on a GPU the most bytes in use."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    else:
        time.sleep(SETTLED)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    taken = time.perf_counter() - started
    return taken, torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


if __name__ == "__main__":
    main()
