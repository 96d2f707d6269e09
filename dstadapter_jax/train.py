"""The training run: batches in, checkpoints and metrics out, from any step on."""

import dataclasses
import functools
import logging
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from dstadapter_jax.checkpoint import Checkpointer
from dstadapter_jax.evaluate import evaluate, score_split
from dstadapter_jax.input_pipeline import SPLITS, ClipDataset, open_dataset, train_batches
from dstadapter_jax.interruption import Interrupted, StopRequest
from dstadapter_jax.model import ModelConfig
from dstadapter_jax.optimizer import (
    TUNES,
    cosine_by_epoch,
    count_parameters,
    make_optimizer,
    partition,
)
from dstadapter_jax.plots import draw_curves
from dstadapter_jax.preprocess import normalize
from dstadapter_jax.recogniser import Recogniser, build_model, make_predict, preprocess_config
from dstadapter_jax.sharding import make_mesh, parameter_sharding, replicated, shard_batch
from dstadapter_jax.video import DECODERS
from dstadapter_jax.workdir import MetricsLog, claim_workdir

logger = logging.getLogger(__name__)


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array
    trainable: dict
    optimizer: optax.OptState


def make_train_step(
    graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[TrainState, jax.Array]]:
    """The update for one batch.

    Returns:
        `(state, frozen, clips, labels, key) -> (state, loss)` with `clips` `(B, T, H, W, 3)`
        normalised, `labels` `(B,)`; the dropout mask follows from the key and the step.
    """

    def train_step(
        state: TrainState, frozen: dict, clips: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def loss_of(trainable: dict) -> jax.Array:
            # Gradients are taken over the trainable part alone, so that none of the frozen weights'
            # is ever computed.
            model = nnx.merge(graphdef, trainable, frozen)
            logits = model(clips, train=True, key=jax.random.fold_in(key, state.step))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        loss, gradients = jax.value_and_grad(loss_of)(state.trainable)
        updates, moments = optimizer.update(gradients, state.optimizer, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)
        return TrainState(state.step + 1, trainable, moments), loss

    return train_step


class Run:
    """One training run: what it is made of, and where it stands.

    Attributes:
        step: Updates done; an epoch has `steps_per_epoch` of them.
        losses: Of the steps since the last line of the metrics log.
        validated: Whether the validation that is due at `step` was done.
    """

    def __init__(self, config: ConfigDict, workdir: pathlib.Path):
        _check_fields(config)
        self.config, self.workdir = config, workdir
        self.dataset = open_dataset(config.data.name, config.data.dir)
        _check_dataset(config, self.dataset)
        self.preprocess = preprocess_config(config)
        self.mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
        self.batch_size = config.batch_size * self.mesh.size
        self.batches = train_batches(
            self.dataset,
            self.preprocess,
            batch_size=self.batch_size,
            num_epochs=config.num_epochs,
            seed=config.seed,
            decoder=config.data.decoder,
            num_threads=config.data.num_threads,
        )
        self.steps_per_epoch = self.dataset.num_clips["train"] // self.batch_size
        self.total_steps = self.steps_per_epoch * config.num_epochs
        claim_workdir(workdir, config.to_dict())
        self._build_model()
        self.step, self.losses, self.validated = 0, list[Any](), True

    def _build_model(self) -> None:
        config, mesh = self.config, self.mesh
        model, self.backbone = build_model(config)
        graphdef, trainable, frozen = partition(model, config.tune)
        trained, fixed = count_parameters(trainable), count_parameters(frozen)
        logger.info(
            "%s parameters, %s trained (%.3f %%), tune=%s; %d devices; %d steps of %d clips",
            *(f"{trained + fixed:,}", f"{trained:,}", 100 * trained / (trained + fixed)),
            *(config.tune, mesh.size, self.total_steps, self.batch_size),
        )
        self.schedule = cosine_by_epoch(
            config.optimizer.learning_rate, config.num_epochs, self.steps_per_epoch
        )
        optimizer = make_optimizer(self.schedule, config.optimizer.weight_decay, config.tune)
        state = TrainState(jnp.int32(0), trainable, optimizer.init(trainable))
        shardings = parameter_sharding(mesh, state)
        self.state = jax.device_put(state, shardings)
        self.frozen = jax.device_put(frozen, parameter_sharding(mesh, frozen))
        self._predict = make_predict(graphdef)
        update = make_train_step(graphdef, optimizer)

        @functools.partial(jax.jit, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))
        def train_step(
            state: TrainState, frozen: dict, batch: dict[str, jax.Array], key: jax.Array
        ) -> tuple[TrainState, jax.Array]:
            return update(state, frozen, normalize(batch["clip"]), batch["label"], key)

        self._train_step = train_step

    @property
    def epoch(self) -> float:
        """Epochs done, as a fraction."""
        return self.step / self.steps_per_epoch

    def validation_due(self) -> bool:
        """Whether an epoch ends here after which the recipe validates."""
        epoch, rest = divmod(self.step, self.steps_per_epoch)
        if rest or not epoch:
            return False
        every, last = self.config.validate_every_epochs, self.config.validate_last_epochs
        left = self.config.num_epochs - epoch
        return left == 0 or left < last or epoch % every == 0

    def restore(self, checkpoints: Checkpointer) -> None:
        """Goes to the newest checkpoint, if there is one."""
        latest = checkpoints.latest_step()
        if latest is None:
            return
        saved = checkpoints.metadata(latest)
        self._check_resumable(saved)
        trainable, optimizer, position = checkpoints.restore_training(
            latest, self.state.trainable, self.state.optimizer
        )
        step = jax.device_put(np.int32(latest), self.state.step.sharding)
        self.state = TrainState(step, trainable, optimizer)
        self.batches.set_state(position)
        self.step, self.losses, self.validated = latest, saved["losses"], saved["validated"]
        logger.info("going on from step %d of %d in %s", latest, self.total_steps, self.workdir)

    def _check_resumable(self, saved: dict[str, Any]) -> None:
        asked = {
            "global_batch_size": self.batch_size,
            "backbone": dataclasses.asdict(self.backbone),
        }
        for name, value in asked.items():
            if saved[name] != value:
                raise ValueError(
                    f"{self.workdir}: the run there has {name} = {saved[name]}, found {value}."
                    " Use as many devices and the same backbone file, or another --workdir."
                )

    def save(self, checkpoints: Checkpointer, metrics: dict[str, float] | None = None) -> None:
        """Begins to save where the run stands."""
        self._check_finite()
        checkpoints.save(
            self.step,
            trainable=self.state.trainable,
            optimizer=self.state.optimizer,
            iterator=self.batches.get_state(),
            metadata={
                "config": self.config.to_dict(),
                "label_names": self.dataset.label_names,
                "backbone": dataclasses.asdict(self.backbone),
                "global_batch_size": self.batch_size,
                "losses": [float(loss) for loss in self.losses],
                "validated": self.validated,
            },
            metrics=metrics,
        )

    def update(self, key: jax.Array) -> None:
        """One step; its loss is fetched only when somebody needs it."""
        batch = shard_batch(self.mesh, next(self.batches))
        self.state, loss = self._train_step(self.state, self.frozen, batch, key)
        self.losses.append(loss)
        self.step += 1
        self.validated = not self.validation_due()

    def mean_loss(self) -> float:
        """Since the last call."""
        self._check_finite()
        mean = float(np.mean([float(loss) for loss in self.losses]))
        self.losses = []
        return mean

    def _check_finite(self) -> None:
        for place, loss in enumerate(reversed(self.losses)):
            if not math.isfinite(float(loss)):
                raise ValueError(
                    f"the loss of step {self.step - place} is {float(loss)}: the run can't go on."
                    f" Checkpoints in {self.workdir} are from before. Lower"
                    " config.optimizer.learning_rate, or set config.model.dtype to float32."
                )

    def recogniser(self, check: Callable[[], None] = lambda: None) -> Recogniser:
        """The model as it stands; `check` is called before each batch."""

        def probabilities(clips: np.ndarray) -> np.ndarray:
            check()
            views = shard_batch(self.mesh, {"clip": clips})["clip"]
            return np.asarray(self._predict(self.state.trainable, self.frozen, views))

        return Recogniser(
            probabilities, self.dataset.label_names, self.preprocess, self.config, self.step
        )

    def validate(self, check: Callable[[], None]) -> dict[str, float]:
        """Metrics on the validation split."""
        scores = score_split(self.recogniser(check), self.dataset, "validation", mode="validation")
        self.validated = True
        return {f"val_{name}": value for name, value in scores.metrics().items()}


def train_and_evaluate(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
    """Trains from the workdir's last checkpoint or from the start, then evaluates the best one.

    Args:
        config: As `configs/common.py` describes it.
        workdir: For checkpoints, `metrics.jsonl`, pictures and results; made if it isn't there.

    Returns:
        The results on the test split, as `DIR/eval_test.json` holds them.

    Raises:
        ValueError: Config, dataset, backbone file and workdir don't fit each other.
        Interrupted: A signal ended the run; where it stands is saved.
    """
    run = Run(config, workdir)
    with Checkpointer(workdir) as checkpoints, StopRequest() as stop:
        run.restore(checkpoints)
        log = MetricsLog(workdir / "metrics.jsonl", run.step)
        try:
            _train(run, checkpoints, log, stop)
        except Interrupted as interrupted:
            run.save(checkpoints)
            raise Interrupted(interrupted.signum, f"after step {run.step}") from None
        finally:
            run.batches.close()
        checkpoints.wait()
        draw_curves(workdir / "curves.png", workdir / "metrics.jsonl")
        run.step = checkpoints.find_step("best")
        best = checkpoints.restore_trainable(run.step, run.state.trainable)
        run.state = run.state._replace(trainable=best)
        return evaluate(run.recogniser(stop.check), workdir, "test")


def _train(run: Run, checkpoints: Checkpointer, log: MetricsLog, stop: StopRequest) -> None:
    key = jax.random.key(run.config.seed)
    progress = tqdm(
        total=run.total_steps, initial=run.step, desc="train", unit="step", disable=None
    )
    started, since = time.monotonic(), run.step
    with progress, logging_redirect_tqdm():
        while run.step < run.total_steps or not run.validated:
            stop.check()
            if not run.validated:
                metrics = run.validate(stop.check)
                run.save(checkpoints, metrics)
                log.write(step=run.step, epoch=run.epoch, **metrics)
                logger.info("epoch %g: validation top-1 %.4f", run.epoch, metrics["val_top1"])
                started, since = time.monotonic(), run.step
                continue
            rate = float(run.schedule(jnp.int32(run.step)))
            run.update(key)
            progress.update()
            if run.step % run.config.log_every_steps == 0 or run.step == run.total_steps:
                loss = run.mean_loss()
                speed = (run.step - since) * run.batch_size / (time.monotonic() - started)
                log.write(
                    step=run.step,
                    epoch=run.epoch,
                    loss=loss,
                    learning_rate=rate,
                    clips_per_second=speed,
                )
                progress.set_postfix(loss=f"{loss:.4f}", clips_per_second=f"{speed:.1f}")
                started, since = time.monotonic(), run.step
            if run.validated and run.step % run.steps_per_epoch == 0:
                run.save(checkpoints)


def _check_fields(config: ConfigDict) -> None:
    """Checks, before anything is opened, what nothing else would notice in time."""
    counts = ("num_epochs", "batch_size", "validate_every_epochs", "log_every_steps")
    for name, value in [(name, config[name]) for name in counts] + [
        ("data.num_threads", config.data.num_threads)
    ]:
        if value < 1:
            raise ValueError(f"config.{name}: expected at least 1, found {value}.")
    for name, value, valid in (
        ("tune", config.tune, TUNES),
        ("data.decoder", config.data.decoder, DECODERS),
    ):
        if value not in valid:
            raise ValueError(f"config.{name}: expected one of {valid}, found {value!r}.")
    ModelConfig(**config.model)


def _check_dataset(config: ConfigDict, dataset: ClipDataset) -> None:
    found = len(dataset.label_names)
    if config.model.num_classes != found:
        raise ValueError(
            f"config.model.num_classes: expected {found}, the labels of"
            f" {dataset.builder.data_dir}, found {config.model.num_classes}."
            f" Pass --config.model.num_classes={found}."
        )
    for split in SPLITS:
        dataset.source(split)
