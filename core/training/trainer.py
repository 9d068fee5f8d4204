"""The trainer: a trial's configuration and an attempt's context in, published weights and final metrics out.

One optimiser step is one effective batch. It is divided among the trial's ranks and cut into micro batches only to fit into memory:
the order of the data and the mean over the batch know nothing of the cut. Each rank runs this file; rank 0's context records.
Everything that a step draws at random comes from a stream that is indexed by the step, so that a run resumed from a checkpoint
continues as if it had never stopped.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from core.data import TrainingData, load_data
from core.data.annotations import FILE
from core.data.streams import reseed
from core.definition.trial import TrialConfig
from core.errors import TrialFailed
from core.models.reward_model import RewardModel, build
from core.training.context import Interrupted, RunContext
from core.training.engine import Engine, start
from core.training.loader import MicroBatch, Part, divide, prepare, read_ahead
from core.training.losses import RewardBatch, total_loss
from core.training.ranks import Ranks
from core.training.schedule import Budget, lr_factor
from core.training.state import Progress, read_progress, write_progress


def train(config: TrialConfig, context: RunContext) -> dict[str, float]:
    """Train one trial to its end and publish it; other tasks write texts or publish a public model (see `task`).

    Args:
        config: the trial as planned (the rehearsal's changes are applied here).
        context: the attempt: where to write, what to resume from, what is asked from outside.

    Returns:
        The final metrics, as they are published: ``train/...`` of the last step, ``validation/...`` of the published weights.

    Raises:
        TrialFailed: ``nan_loss``, ``cuda_oom`` or ``data_error``, with the step or the row.
        Interrupted: asked to leave; a checkpoint was saved.
        EnvironmentFault: weights or data are missing.
        DefinitionError: a data row is refused.
    """
    with named_failures():
        if config.task == "annotate":
            from core.training.annotate import annotate

            return annotate(config, context)
        if config.task == "external":
            from core.training.external import publish

            return publish(config, context)
        return Trainer(config.effective(), context).run()


class Trainer:
    """One run of training.

    Args:
        config: the effective configuration.
        context: the attempt.
    """

    def __init__(self, config: TrialConfig, context: RunContext) -> None:
        prepare_torch(context)
        self.config = config
        self.context = context
        written = config.paradigm.annotations()
        self.data: TrainingData = load_data(config, None if written is None else context.need(written) / FILE)
        context.note(data=self.data.fingerprint, counts=self.data.counts)
        self.order = self.data.order(config.seed)
        self.ranks = Ranks.join(context.seat, context.device)
        divided = context.seat.layout.stage is not None
        self.model: RewardModel = build(config, device="cpu" if divided else context.device)
        if config.train.steps != 0:
            self.model.paradigm.check(self.data.train)
        self.engine: Engine = start(self.model, config, context, self.ranks)
        self.budget = Budget.of(config.train, self.data.epoch_size)
        self.micro_batch = config.micro_batch_of(self.ranks.count)
        self.loaders = max(1, min(4, context.threads))
        self.progress = Progress()
        self.best_weights: dict[str, Tensor] | None = None
        if context.resume is not None:
            self.progress, self.best_weights = read_progress(context.resume, self.ranks.first)
        self.saved_at = time.monotonic()
        self.saved_step = self.progress.step
        self.wanted = False  # a checkpoint, asked for amid a validation

    def run(self) -> dict[str, float]:
        """Steps until the budget is used or training stops early; then publish."""
        progress, budget = self.progress, self.budget
        with ThreadPoolExecutor(self.loaders, thread_name_prefix="loader") as self.pool:
            self.ready = read_ahead(self.pool, self.training_work())
            if budget.pairs == 0 and not progress.finished:  # an untrained model: validated once, and published as it is
                progress.finished = True
                if self.validation_is_due(1.0):
                    self.validate()
            unfinished = self.validation_was_left()
            while not progress.finished:
                if not unfinished:
                    self.step()
                unfinished = False
                done = budget.progress(progress.pairs, progress.tokens)
                progress.finished = done >= 1.0
                if self.validation_is_due(done):
                    progress.finished = self.validate() or progress.finished
                self.context.progress(progress.step, budget.total_steps(progress.step, done), **self.live())
                self.obey()
        if self.config.execution.checkpoint_after == "resume" and self.saved_step < progress.step:
            self.save()
        return self.publish()

    # -- one step ---------------------------------------------------------------------------------------------------------

    def training_work(self) -> Iterator[Callable[[], MicroBatch]]:
        """What the loaders prepare: every micro batch from here on (endless where the budget is in tokens)."""
        pairs = self.progress.pairs
        while (size := self.budget.next_batch(pairs)) > 0:
            examples = [self.data.train[index] for index in self.order.slice(pairs, size)]
            yield from map(self.preparing, divide(self.ranks, examples, self.micro_batch))
            pairs += size

    def preparing(self, part: Part) -> Callable[[], MicroBatch]:
        """The work that a loader thread does for one micro batch."""
        pin = self.context.device == "cuda"
        return lambda: prepare(self.model, part, pin)

    def step(self) -> None:
        """One optimiser step over one effective batch."""
        progress, config = self.progress, self.config
        began = time.monotonic()
        size = self.budget.next_batch(progress.pairs)
        lr = config.optim.lr * lr_factor(self.budget.step_progress(progress.pairs, progress.tokens, progress.step), config.optim)
        reseed(config.seed, "step", progress.step, *(("rank", self.ranks.rank) if not self.ranks.first else ()))
        self.engine.train(True)
        losses: list[Tensor] = []
        rewards: list[RewardBatch] = []
        tokens = 0
        turns = math.ceil(math.ceil(size / self.ranks.count) / self.micro_batch)
        for turn in range(turns):
            micro = next(self.ready)
            output, pair_losses = self.forward(micro)
            loss = pair_losses[: micro.count].sum() / size
            self.engine.backward(loss, last=turn == turns - 1)
            losses.append(loss.detach())
            rewards.append(output.detached())
            tokens += micro.tokens
        loss_value = self.ranks.sum(float(torch.stack(losses).sum()))
        if not math.isfinite(loss_value):
            raise TrialFailed("nan_loss", f"the loss is {loss_value} at step {progress.step + 1} (learning rate {lr:.3g})")
        grad_norm = self.engine.step(lr)
        if not math.isfinite(grad_norm):
            raise TrialFailed("nan_loss", f"the gradient norm is {grad_norm} at step {progress.step + 1} (learning rate {lr:.3g})")
        tokens = round(self.ranks.sum(tokens))
        progress.step += 1
        progress.pairs += size
        progress.tokens += tokens
        seconds = time.monotonic() - began
        progress.last_train = {
            "loss": loss_value,
            **self.summary(rewards, size),
            "grad_norm": grad_norm,
            "lr": lr,
            "tokens_per_second": tokens / seconds,
            "pairs_per_second": size / seconds,
            "memory_gib": memory_gib(self.context.device),
            "step_seconds": seconds,
            "epoch": progress.pairs / self.data.epoch_size,
        }
        if progress.step % config.execution.log_every == 0:
            self.context.metrics("train", progress.step, progress.last_train)

    def forward(self, micro: MicroBatch) -> tuple[RewardBatch, Tensor]:
        """Rewards of one micro batch and the loss of each of its pairs, ``[pairs]``: the terms of `loss` and the paradigm's own."""
        readout = self.engine.readout(micro.batch.to(self.context.device))
        rewards = RewardBatch.of(readout.rewards, readout.tokens, micro.examples)
        loss = total_loss(rewards, self.config.loss)
        return rewards, loss if readout.own is None else loss + readout.own

    def summary(self, outputs: Sequence[RewardBatch], count: int) -> dict[str, float]:
        """What :func:`summarise` says of the first ``count`` pairs of all ranks, in the order of the batch."""
        return summarise([RewardBatch.concatenated(outputs).mapped(lambda values: self.ranks.rows(values, count))])

    def live(self) -> dict[str, float]:
        """What a live display shows."""
        shown = {name: self.progress.last_train[name] for name in ("loss", "pairs_per_second")}
        if "accuracy" in self.progress.last_validation:
            shown["validation_accuracy"] = self.progress.last_validation["accuracy"]
        return shown

    # -- validation -------------------------------------------------------------------------------------------------------

    def validation_is_due(self, done: float) -> bool:
        """Whether another fraction `validate_every` of training has passed, or training ends."""
        if not self.data.held_out:
            return False
        every = self.config.train.validate_every or self.config.execution.validate_every
        return self.progress.finished or math.floor(done / every + 1e-9) > self.progress.validations

    def validation_was_left(self) -> bool:
        """Whether the checkpoint that training goes on from was made amid the validation after its step: that comes first, then."""
        done = self.budget.progress(self.progress.pairs, self.progress.tokens)
        return self.progress.step > 0 and not self.progress.finished and (done >= 1.0 or self.validation_is_due(done))

    @torch.no_grad()
    def validate(self) -> bool:
        """Loss, accuracy and margin on the validation split; returns whether training stops early.

        Told to leave, it leaves amid it: a whole validation may take longer than the warning leaves. The next attempt does it again.

        Raises:
            Interrupted: after saving.
        """
        progress, config = self.progress, self.config
        self.engine.train(False)
        count = len(self.data.held_out)
        outputs: list[RewardBatch] = []
        losses: list[Tensor] = []
        for micro in read_ahead(self.pool, map(self.preparing, divide(self.ranks, self.data.held_out, self.micro_batch))):
            output, pair_losses = self.forward(micro)
            outputs.append(output)
            losses.append(pair_losses)
            self.leave_validation()
        metrics = {"loss": float(self.ranks.rows(torch.cat(losses), count).mean()), **self.summary(outputs, count)}
        every = config.train.validate_every or config.execution.validate_every
        progress.validations = math.floor(self.budget.progress(progress.pairs, progress.tokens) / every + 1e-9)
        progress.last_validation, progress.last_validation_step = metrics, progress.step
        self.context.metrics("validation", progress.step, metrics)
        stop = config.train.early_stop
        watched = stop.metric if stop else "accuracy"
        if progress.improves(watched, metrics.get(watched, math.nan), stop.min_delta if stop else 0.0):
            progress.best, progress.best_validation, progress.best_step = metrics[watched], metrics, progress.step
            progress.stale = 0
            if config.train.select == "best":
                self.best_weights = self.engine.trained()
        else:
            progress.stale += 1
        return stop is not None and progress.stale >= stop.patience

    def leave_validation(self) -> None:
        """Save and leave where that is asked for; a checkpoint alone has time until the validation has ended."""
        ask = self.ranks.agree(self.context.asked())
        if ask == "checkpoint":
            self.wanted = True
        elif ask is not None and self.progress.step > 0:
            self.progress.finished = False
            self.save()
            raise Interrupted(ask, self.progress.step)

    # -- checkpoints and the end --------------------------------------------------------------------------------------------

    def obey(self) -> None:
        """Save where a checkpoint is due or asked for; leave where that is asked for.

        Raises:
            Interrupted: after saving.
        """
        ask = self.ranks.agree(self.context.asked())
        if self.progress.finished:
            return
        ask, self.wanted = ask or ("checkpoint" if self.wanted else None), False
        steps = self.config.execution.checkpoint_steps
        if steps is not None:
            due = self.progress.step % steps == 0
        else:
            due = self.ranks.tell(time.monotonic() - self.saved_at >= self.config.execution.checkpoint_every)
        if ask is not None or due:
            self.save()
        if ask is not None and ask != "checkpoint":
            raise Interrupted(ask, self.progress.step)

    def save(self) -> None:
        """Make a checkpoint."""

        def write(folder: Path) -> None:
            self.engine.save(folder)
            if self.ranks.first:
                write_progress(folder, self.progress, self.best_weights)

        self.context.save(self.progress.step, write)
        self.saved_at, self.saved_step = time.monotonic(), self.progress.step

    def publish(self) -> dict[str, float]:
        """Publish the weights that `train.select` names, with the final metrics."""
        progress = self.progress
        validation = progress.last_validation
        state = self.engine.everything(self.model.published_names())
        if self.config.train.select == "best" and progress.best is not None:
            state |= self.best_weights or {}
            validation = progress.best_validation
        metrics = {f"train/{name}": value for name, value in progress.last_train.items()}
        metrics |= {f"validation/{name}": value for name, value in validation.items()}
        metrics |= {"train/steps": progress.step, "train/pairs": progress.pairs, "train/tokens": progress.tokens}
        self.context.publish(lambda folder: self.model.save(folder, state), metrics)
        self.ranks.leave()
        return metrics


def summarise(outputs: Sequence[RewardBatch]) -> dict[str, float]:
    """Accuracy and mean margin over pairs that are no ties, and mean rewards, as fractions and in the reward's own unit.

    Equal rewards count as wrong. Where all pairs are ties there is neither accuracy nor margin.
    """
    chosen = torch.cat([output.chosen for output in outputs])
    rejected = torch.cat([output.rejected for output in outputs])
    difference = (chosen - rejected)[~torch.cat([output.tie for output in outputs])]
    values = {"chosen_reward": float(chosen.mean()), "rejected_reward": float(rejected.mean())}
    if len(difference):
        values |= {"accuracy": float((difference > 0).float().mean()), "margin": float(difference.mean())}
    return values


def memory_gib(device: str) -> float:
    """Peak memory in GiB: of the GPU's allocator, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def prepare_torch(context: RunContext) -> None:
    """Threads, and on a GPU the deterministic kernels without which a resumed run would differ."""
    torch.set_num_threads(context.threads)
    if context.device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.cuda.reset_peak_memory_stats()


@contextmanager
def named_failures() -> Iterator[None]:
    """Give running out of GPU memory its cause."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise TrialFailed("cuda_oom", f"{error} (a smaller execution.micro_batch needs less)") from error
