"""Step time and parameters of MindCV's networks as image encoders: python -m benchmarks.mindcv_towers [NETWORK ...]

Prints a Markdown table: one process per encoder, forward and backward of the tower alone, beside the product's
MobileNet-V2 in the same run. The first step contains the compilation. Gradients are compared with eager mode's.
"""

import argparse
import subprocess
import sys
import time

NETWORKS = (
    "mobilenet_v3_small_100 mobilenet_v3_large_100 mobilenet_v2_100 ghostnet_100 mixnet_s shufflenet_v2_x1_0 "
    "regnet_x_200mf mnasnet_100 efficientnet_b0 mobilevit_xx_small repvgg_a0 convnextv2_atto convnext_tiny resnet18"
).split()
REFERENCE = "mobilenet_v2"
EMBED = 512


def measure(encoder: str, batch: int, size: int, steps: int) -> str:
    """A line of the table, without the ratio."""
    import lightclip_ms  # noqa: F401  (prepares the process before MindSpore is loaded)
    from lightclip_ms.runtime import backend

    backend.prepare_device("cpu")
    import mindspore as ms
    import numpy as np

    from lightclip_ms.encoders import create_image_encoder

    ms.set_seed(0)
    net = create_image_encoder(encoder, size, EMBED).set_train(True)
    parameters = net.trainable_params()
    rng = np.random.default_rng(0)
    images = ms.Tensor(rng.standard_normal((batch, 3, size, size), np.float32))
    weights = ms.Tensor(rng.standard_normal((batch, EMBED), np.float32))

    def loss(images):
        return (net(images) * weights).mean()

    step = ms.value_and_grad(loss, None, parameters)
    compiled = ms.jit(step)

    def run():
        value, gradients = compiled(images)
        return value.asnumpy(), [gradient.asnumpy() for gradient in gradients]

    began = time.perf_counter()
    first, gradients = run()
    compile_seconds = time.perf_counter() - began
    times = []
    same = True
    for _ in range(steps):
        began = time.perf_counter()
        value, _ = run()
        times.append(time.perf_counter() - began)
        same = same and value == first
    finite = all(np.isfinite(gradient).all() for gradient in gradients)
    zero = sum(not gradient.any() for gradient in gradients)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    eager = np.concatenate([gradient.asnumpy().ravel() for gradient in step(images)[1]])
    graph = np.concatenate([gradient.ravel() for gradient in gradients])
    cosine = float(eager @ graph / np.linalg.norm(eager) / np.linalg.norm(graph))
    count = sum(parameter.size for parameter in parameters)
    channels = ", ".join(str(width) for width in net.stage_channels)
    return (
        f"{encoder} | {channels} | {count / 1e6:.2f} M | {compile_seconds:.1f} | {min(times):.3f} | "
        f"{'finite' if finite else 'NOT FINITE'}, {zero} all zero, cosine to eager {cosine:.6f}, "
        f"{'repeats' if same else 'DOES NOT REPEAT'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224, help="pixels (default %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="the fastest counts (default %(default)s)")
    parser.add_argument("--encoder", help=argparse.SUPPRESS)  # measure this one in this process
    args = parser.parse_args()
    if args.encoder:
        print(measure(args.encoder, args.batch, args.size, args.steps))
        return
    print(f"batch {args.batch}, {args.size} px, E {EMBED}\n")
    print("| encoder | stages | parameters | first step, s | step, s | to the first row | gradients |")
    print("|---|---|---|---|---|---|---|")
    reference = None
    for encoder in (REFERENCE, *(f"mindcv/{name}" for name in args.networks)):
        command = [sys.executable, "-m", "benchmarks.mindcv_towers", "--encoder", encoder]
        command += ["--batch", str(args.batch), "--size", str(args.size), "--steps", str(args.steps)]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if line.startswith(f"{encoder} | ")]
        if not lines:
            print(f"| {encoder} | failed: {(done.stderr.strip() or 'no output').splitlines()[-1]} |", flush=True)
            continue
        *cells, gradients = lines[0].split(" | ")
        seconds = float(cells[-1])
        reference = reference or seconds
        print(f"| {' | '.join(cells)} | {seconds / reference:.2f} | {gradients} |", flush=True)


if __name__ == "__main__":
    main()
