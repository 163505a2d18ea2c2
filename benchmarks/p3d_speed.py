"""Speed of the networks, scored and trained, beside the same arithmetic in plain PyTorch.

    python benchmarks/p3d_speed.py [--models p3d63 p3d199] [--batches 1 4] [--out results.json]

Plain is what a port does: nn.Conv3d and nn.BatchNorm3d, contiguous, eager, float32, with the same
weights. All forms take turns in one run on the same random clips of 16 x 160 x 160, after one turn
that does not count; the peak beside them is a large matrix product in the same run. On a GPU there
are TF32, bfloat16 and torch.compile too, and the memory of each.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
from measured import machine, spread
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from twostream.models import MODELS, P3D
from twostream.models.inference import folded, for_inference, has_bfloat16
from twostream.models.layers import BatchNorm, FlatConv, space_and_time_mean
from twostream.models.network import POOLS

CLIP = 16, 160, 160
CLASSES = 400
PEAK_SIDE = 3072

Work = Callable[[], object]


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
    gmac = multiply_adds(model, shape) * (3 if training else 1)
    size = (8 if device.type == "cuda" else 1) * PEAK_SIDE
    matrix = torch.randn(size, size, device=device)
    works: dict[str, Work] = {**forms, "peak, float32": lambda: matrix @ matrix}
    seconds: dict[str, list[float]] = {form: [] for form in works}
    memory = {}
    for turn in range(rounds + 1):
        for form, work in list(works.items()):
            try:
                taken, used = timed(work, device)
            except torch.OutOfMemoryError:
                print(f"  {form} does not fit into the memory")
                del works[form], seconds[form]
                torch.cuda.empty_cache()
                continue
            if turn:  # the first warms up
                seconds[form].append(taken)
                memory[form] = used
    peak = np.array([2e-9 * size**3 / taken for taken in seconds.pop("peak, float32")])
    stage = "training step" if training else "inference"
    print(f"{name}, {stage}, {batch} clips of {'x'.join(map(str, shape))}, {gmac:.2f} GMAC a clip")
    print(f"  peak of a matrix product {spread(peak)} GFLOP/s")
    for form, values in seconds.items():
        each = np.array(values)
        share = np.median(2 * gmac * batch / each / peak)
        line = f"  {form:<24} {spread(1e3 * each / batch)} ms a clip, {share:.0%} of the peak"
        if "plain" in seconds:
            line += f", {spread(np.array(seconds['plain']) / each)} times plain"
        if memory[form]:
            line += f", {memory[form] / 2**30:.1f} GiB"
        print(line)
    return {
        "model": name,
        "stage": stage,
        "batch": batch,
        "clip": shape,
        "gmac_a_clip": gmac,
        "peak_gflops": peak.tolist(),
        "seconds_a_batch": seconds,
        "gpu_bytes": memory if device.type == "cuda" else None,
    }


def inference_forms(model: P3D, clips: Tensor, compiled: bool) -> dict[str, Work]:
    """One pass of the clips through each form of the network."""
    device = clips.device
    reference = plain(model).eval().to(device)

    forms = {"plain": _passes(reference, clips)}
    precisions = ["fp32", *(["bf16"] if has_bfloat16(device) else [])]
    for precision in precisions:
        for compile in (False, True) if compiled else (False,):
            ours: Any = for_inference(model, device, precision=precision, compile=compile)  # type: ignore[arg-type]
            form = f"ours, {precision}" + (", compiled" if compile else "")
            forms[form] = _passes(ours, clips)
    if device.type == "cuda":
        forms |= {f"{form}, TF32": in_tf32(forms[form]) for form in ("plain", "ours, fp32")}
    return forms


def _passes(network: nn.Module, clips: Tensor) -> Work:
    @torch.inference_mode()
    def work() -> object:
        return network(clips)

    return work


def steps_between(model: P3D, clips: Tensor) -> dict[str, Work]:
    """What `for_inference` does, step by step."""
    to_channels_last: Any = copy.deepcopy(model).eval().to
    channels_last = to_channels_last(clips.device, memory_format=torch.channels_last_3d)
    to_channels_last = folded(model).to
    without_norms = to_channels_last(clips.device, memory_format=torch.channels_last_3d)
    return {"channels last": _passes(channels_last, clips), "folded": _passes(without_norms, clips)}


def training_forms(model: P3D, clips: Tensor, _: bool) -> dict[str, Work]:
    """A step of each form: loss, gradients, SGD; every BatchNorm but the first frozen."""
    device = clips.device
    labels = torch.arange(len(clips), device=device) % CLASSES
    ours = copy.deepcopy(model).train()
    ours.freeze_batchnorm()
    reference = plain(model).train()
    for module in reference.modules():
        if isinstance(module, BatchNorm) and module is not reference.conv1.bn:
            module.eval().requires_grad_(False)

    def step(network: P3D, half: bool = False) -> Work:
        network.to(device)
        learned = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(learned, lr=1e-6, momentum=0.9)

        def work() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = F.cross_entropy(network(clips), labels)
            torch.autograd.backward(loss)
            optimizer.step()

        return work

    to_channels_last: Any = ours.to
    to_channels_last(memory_format=torch.channels_last_3d)
    recomputing = copy.deepcopy(ours)
    recomputing.checkpoint_activations = True
    forms = {
        "plain": step(reference),
        "ours, fp32": step(ours),
        "ours, fp32, recomputing": step(recomputing),
    }
    if has_bfloat16(device):
        forms["ours, bf16"] = step(copy.deepcopy(ours), half=True)
    if device.type == "cuda":
        forms |= {f"{form}, TF32": in_tf32(forms[form]) for form in ("plain", "ours, fp32")}
    return forms


def plain(model: P3D) -> P3D:
    """The same network of nn.Conv3d and nn.BatchNorm3d, on contiguous tensors."""
    made = copy.deepcopy(model)
    for name, conv in list(made.named_modules()):
        if isinstance(conv, FlatConv):
            sizes: Any = conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups
            replacement = nn.Conv3d(conv.in_channels, conv.out_channels, *sizes)
            replacement.bias = None
            replacement.weight = conv.weight
            made.set_submodule(name, replacement)

    def features(self: P3D, clip: Tensor) -> Tensor:
        return space_and_time_mean(self.body(POOLS[self.stem](self.conv1(clip).relu())))

    made.features = MethodType(features, made)  # type: ignore[method-assign]
    return made


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
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    taken = time.perf_counter() - started
    return taken, torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


if __name__ == "__main__":
    main()
