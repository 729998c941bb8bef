"""The loop around the step: epochs, metrics, checkpoints, exact continuation, orderly stops."""

import signal
import time

import mindspore as ms
import numpy as np
from mindspore import Tensor

from lightclip_ms.config.schema import Config
from lightclip_ms.data.batch import INDEX, make_layout
from lightclip_ms.data.pipeline import TrainData
from lightclip_ms.data.tokenizer import Tokenizer
from lightclip_ms.model import factory
from lightclip_ms.model.weights import cell_arrays, write_checkpoint
from lightclip_ms.runtime import backend, folder_lock, lifeline, parallel, worker_logs
from lightclip_ms.runtime.exits import STOPPED_PREFIX
from lightclip_ms.runtime.share import share_from_first
from lightclip_ms.runtime.together import run_together
from lightclip_ms.train.accumulate import AccumulatedStep
from lightclip_ms.train.evaluation import Evaluation
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.packed_rows import PackedRows
from lightclip_ms.train.profiling import StepProfiler
from lightclip_ms.train.progress import Rate, memory, progress_line
from lightclip_ms.train.run_folder import RunFolder
from lightclip_ms.train.schedule import label_phase, learning_rate
from lightclip_ms.train.state import TrainState, make_header, refuse_other_run, require_resumable
from lightclip_ms.train.step import TrainStep
from lightclip_ms.train.step_records import StepRecords
from lightclip_ms.train.sync_batch_norm import synchronize_batch_norm
from lightclip_ms.train.terms.term import needed_parts
from lightclip_ms.train.transfer import freeze, load_pretrained
from lightclip_ms.train.upload import one_ahead, ready_to_upload


class Stopped(Exception):
    """Training ended early because a signal asked for it; a checkpoint was saved."""


class Trainer:
    """One run from its configuration to its last checkpoint.

    Raises:
        ValueError, OSError: a wrong configuration or data set, before anything is compiled.
    """

    def __init__(self, config: Config):
        self.config = config
        backend.prepare_device(config.device, config.train.deterministic)
        self.rank, self.world_size = parallel.init()
        self._lock = folder_lock.enter(config.output_dir, self.rank)
        ms.set_seed(config.train.seed)  # the same on all ranks: all start from the same weights
        model = config.model
        self.layout = make_layout(config, needed_parts(config.loss))
        tokenizer = Tokenizer(model.context_length, model.vocab_size)
        seed, ranks = config.train.seed, (self.rank, self.world_size)
        self.data = run_together(
            lambda peers: TrainData(config.data, tokenizer, self.layout, config.loss.mask_ratio, seed, *ranks, peers),
            *ranks,
        )
        self.total_steps = config.train.epochs * self.data.steps_per_epoch
        self.folder = RunFolder(config.output_dir, config, self.rank)
        self.evaluation = Evaluation(config)
        self.model = factory.create_model(model)
        self._pretrained = load_pretrained(self.model, model)
        freeze(self.model, config.train.freeze)
        if config.train.sync_batch_norm:
            synchronize_batch_norm(self.model, self.rank, self.world_size)
        self.objective = Objective(self.model, config.loss, self.rank, self.world_size, config.train.pack_captions)
        step = AccumulatedStep if config.train.accumulate > 1 else TrainStep
        self.step = step(self.objective, config.train, self.world_size)
        self.state = TrainState(self.objective, self.step.update)
        self.global_step = 0
        self.rate = Rate(config.train.batch_size * self.world_size, self.total_steps)
        self._profiler = StepProfiler(
            config.train.profile_steps, self.folder.path / "profile", self.rank == 0, self.folder.say
        )
        # A CPU's steps are long: looking at each keeps a stop request from waiting for ten of them.
        self._look_every = 1 if ms.get_context("device_target") == "CPU" else config.train.log_every
        self.packed = PackedRows(self.data, self.layout, self.folder.say)
        self._saved_rows = 0
        self._stop = self._evaluating = False
        terms, saved = self.objective.terms, self.folder.checkpoints.paths
        self._records = StepRecords(self.step.metrics, terms, self.data.key, saved)
        self._last_save = time.monotonic()

    def run(self) -> None:
        """Train to the end, from the last good checkpoint if there is one.

        Raises:
            Stopped: SIGTERM or SIGINT arrived; the state is saved.
            FloatingPointError: a loss is not finite.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._request_stop)
        self._restore()
        parallel.wait_for_all(self.world_size)
        worker_logs.mark_begun()  # every rank has checked everything: from here on the folder is this run's
        self.folder.open_metrics(self.global_step)
        if self.config.train.pack_captions:
            self._fix_packed_rows()
        self.folder.say(
            f"{self.data.num_samples} pairs, {self.world_size} x {self.config.train.batch_size} a step, "
            f"{self.data.steps_per_epoch} steps an epoch, {self.total_steps} in all; the first step compiles"
        )
        self._evaluate_if_due()  # a kill during the last evaluation left its checkpoint and no record
        for epoch in range(self.global_step // self.data.steps_per_epoch, self.config.train.epochs):
            self._run_epoch(epoch)
        self._export("model.safetensors", {})
        self.folder.draw_curves()
        self.folder.say(f"trained {self.global_step} steps; model in {self.folder.path / 'model.safetensors'}")
        if self._lock is not None:
            self._lock.release()

    def _fix_packed_rows(self) -> None:
        self.layout = self.packed.fix(self._saved_rows, self.total_steps, self.rank, self.world_size)
        if self.world_size > 1:
            # Otherwise all ranks would wait for every single one that meets its first batch that does not fit and
            # compiles the graph for it; on the CPU backend they give up after 30 s.
            self.folder.say("compiling the graph for batches that need more rows")
            arrays = self.packed.unpacked_arrays()
            lr = self.step.update.optimizer.rate(0.0)
            self.step.compile(Tensor(0, ms.int32), lr, Tensor(0.0, ms.float32), *map(Tensor, arrays))

    def _request_stop(self, number, frame) -> None:
        self._stop = True
        if self._evaluating:  # its checkpoint is saved, and the resumed run evaluates again
            raise self._stopped()

    def _stopped(self) -> Stopped:
        return Stopped(f"{STOPPED_PREFIX} after step {self.global_step}; the same command resumes from there")

    def _run_epoch(self, epoch: int) -> None:
        train = self.config.train
        phase = label_phase(self.config.loss, epoch, train.epochs)
        start = self.global_step % self.data.steps_per_epoch
        for batch, arrays in self.rate.timed(one_ahead(self.data.epoch(epoch, start), self._with_tensors)):
            lr = learning_rate(self.global_step, self.total_steps, train.lr, train.warmup)
            self.packed.check(batch, self.global_step + 1)
            self._profiler.before(self.global_step + 1)
            began = time.monotonic()
            numbers = (
                Tensor(phase, ms.int32),
                self.step.update.optimizer.rate(lr),
                Tensor(float(self._stop), ms.float32),
            )
            metrics = self.step(*ready_to_upload(numbers), *arrays)
            self.global_step += 1
            self._profiler.after(self.global_step, metrics)
            lifeline.note_step(time.monotonic() - began)
            record = {"step": self.global_step, "epoch": epoch, "phase": phase, "lr": lr}
            self._records.add(metrics, record, batch[INDEX])
            # Compilation is timed by itself: it would spoil rate and ETA.
            if not self.rate.started:
                metrics.asnumpy()
                self.folder.say(f"first step, with compilation: {time.monotonic() - began:.1f} s")
                self.rate.start(self.global_step)
            if self.global_step % self._look_every == 0 or self._is_save_step():
                self._read_metrics()
        self._read_metrics()
        self._save(epoch)
        self._evaluate_if_due()

    def _with_tensors(self, batch: dict) -> tuple:
        """A batch without its pictures, whose memory the pipeline uses again, and the tensors of all its parts."""
        tensors = ready_to_upload(Tensor(array) for array in self.layout.arrays(batch))
        return {name: array for name, array in batch.items() if array.dtype != np.uint8}, tensors

    def _evaluate_if_due(self) -> None:
        """Evaluate after the last step of an epoch, unless that is recorded."""
        every, (epochs, rest) = self.config.train.eval_epochs, divmod(self.global_step, self.data.steps_per_epoch)
        if not epochs or rest or not every or (epochs % every and epochs != self.config.train.epochs):
            return
        # Rank 0's view of the file counts. It answers after its checkpoint is written: from here on others may leave.
        if parallel.gather_number(float(self.folder.has_evaluation(self.global_step)), self.world_size)[0]:
            return
        self._evaluating = True
        if self._stop:
            self._request_stop(signal.SIGTERM, None)
        results = self.evaluation.run(self.model)
        self._evaluating = False
        if results:
            self._record_evaluation(epochs - 1, results)
        self.folder.draw_curves()

    def _record_evaluation(self, epoch: int, results: dict) -> None:
        self.folder.say(
            f"epoch {epoch + 1}/{self.config.train.epochs} evaluation: "
            + ", ".join(f"{name} {value:.2f}" for name, value in results.items())
        )
        metric = self.config.train.best_metric
        if metric in results and self.folder.is_best(metric, results[metric]):
            self._export("best.safetensors", {metric: results[metric]})
        self.folder.log_evaluation({"step": self.global_step, "epoch": epoch, **results})

    def _read_metrics(self) -> None:
        """Wait for the device, log the steps since the last read, and act on them."""
        records, stop = self._records.read()
        if not records:
            return
        train = self.config.train
        if self.global_step % train.log_every == 0 or self.global_step % self.data.steps_per_epoch == 0:
            records[-1].update(self.rate.measure(self.global_step), **memory())
            self.folder.say(
                progress_line(records[-1], self.objective.terms, train.epochs, self.total_steps, self._records.skipped)
            )
        self.folder.log(records)
        if stop:
            self._save(records[-1]["epoch"])
            parallel.wait_for_all(self.world_size)  # the launcher ends all ranks when the first one leaves
            raise self._stopped()
        if self._is_save_step() or time.monotonic() - self._last_save > 60 * train.save_minutes:
            self._save(records[-1]["epoch"])

    def _is_save_step(self) -> bool:
        every = self.config.train.save_steps
        return bool(every) and self.global_step % every == 0

    def _save(self, epoch: int) -> None:
        """Rank 0 writes; the others meet it again at the next step's collectives."""
        if self.folder.is_writer:
            header = make_header("training", self.config, self.global_step, self.world_size, self._pretrained)
            header |= {"epoch": epoch, "packed_rows": self.packed.rows}
            self.folder.checkpoints.write(self.global_step, self.state.arrays(), header)
        self._last_save = time.monotonic()

    def _restore(self) -> None:
        # Rank 0 reads and verifies; hundreds of ranks that read a file of gigabytes would be minutes apart.
        began = time.monotonic()
        found = self.folder.checkpoints.latest(self.folder.say, require_resumable) if self.rank == 0 else None
        path, arrays, header = found or ("", None, None)
        read = time.monotonic() - began
        arrays, (path, header) = share_from_first(arrays, (str(path), header), self.rank, self.world_size)
        if arrays is None:
            return
        if self.config.resume == "never":
            raise ValueError(f"resume: never, but {path} exists; use resume=auto or another output_dir")
        refuse_other_run(header, self.config, self.world_size, self._pretrained, path)
        self.state.load(arrays, path)
        self.global_step, self._saved_rows = header["global_step"], header.get("packed_rows", 0)
        size = sum(array.nbytes for array in arrays.values()) / 1e6
        self.folder.say(
            f"resuming from {path}, step {self.global_step}: {size:,.0f} MB read and verified in {read:.1f} s, on all "
            f"{self.world_size} ranks after {time.monotonic() - began:.1f} s"
        )

    def _export(self, name: str, metrics: dict) -> None:
        """The weights that inference needs, without moments and training-only parts."""
        if self.folder.is_writer:
            header = {
                **make_header("inference", self.config, self.global_step, self.world_size, self._pretrained),
                "metrics": metrics,
            }
            write_checkpoint(self.folder.path / name, cell_arrays(self.model, "model"), header)
