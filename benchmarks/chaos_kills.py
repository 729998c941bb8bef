"""A run that is killed again and again, compared with one nobody touched."""

import math
import random
from pathlib import Path

import numpy as np

from benchmarks.chaos_run import BATCH, PAIRS, Run

STEPS_PER_KILL = 24  # so that a run is never over before its last kill
REACTION = 4  # steps that may pass between a decision and the kill


def compare(folder: Path, workers: int, kills: int, overrides: list[str], rng: random.Random) -> bool:
    """Kill one run `kills` times and print a table; whether it became, bit for bit, what the untouched one did.

    Every third kill comes while a checkpoint is being written, and every fourth start is first killed while it loads.
    """
    steps_per_epoch = PAIRS // (BATCH * workers)
    epochs = math.ceil(kills * STEPS_PER_KILL / steps_per_epoch)
    total = epochs * steps_per_epoch
    overrides = [*overrides, f"train.epochs={epochs}"]
    untouched, killed = (Run(folder / f"{name}_{workers}", workers, overrides) for name in ("untouched", "killed"))
    untouched.start()
    untouched.finish()
    expected = untouched.records()
    assert [record["step"] for record in expected] == list(range(1, total + 1))
    print(f"{workers} worker(s), {total} steps\n")
    print("| kill | while | resumed from step | to | loss terms |\n|---|---|---|---|---|")
    same, moment = True, ""
    for number in range(kills + 1):
        if number % 4 == 3:
            killed.start()
            moment += f", again while {killed.kill_at_start(rng.uniform(2, 15))}"
        killed.start()
        previous, moment = moment, ""
        if number == kills:
            killed.finish()
        else:
            moment = _kill_once(
                killed, killed.resumed_at, (total - killed.resumed_at) // (kills - number + 1), number, rng
            )
        made = killed.records()
        identical = made == expected[: len(made)]
        same = same and identical
        if number:
            verdict = "identical" if identical else "DIFFERENT"
            print(f"| {number} | {previous} | {killed.resumed_at} | {made[-1]['step']} | {verdict} |", flush=True)
    (_, ours, _), (_, theirs, _) = killed.checkpoints.latest(), untouched.checkpoints.latest()
    wrong = [name for name in theirs if not np.array_equal(ours[name], theirs[name])]
    evaluations = untouched.evaluations()
    evaluated = killed.evaluations() == evaluations
    print(f"\nLast checkpoint: {len(theirs) - len(wrong)} of {len(theirs)} arrays identical.", flush=True)
    print(f"Evaluations: {len(evaluations)}, {'identical' if evaluated else 'DIFFERENT'}.\n", flush=True)
    return same and len(made) == total and not wrong and evaluated


def _kill_once(run: Run, first: int, steps: int, number: int, rng: random.Random) -> str:
    """Kill at a random one of `steps` steps after `first`; what the run was doing then."""
    latest = first + steps - REACTION
    step = rng.randint(first + 1, latest)
    return run.kill_while_saving(step, latest) if number % 3 == 2 else run.kill_at(step, rng.uniform(0, 0.2))
