"""State of a training run, and the operations on it: update, validate, save."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import train_batches, train_clips
from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.data.preprocess import preprocess_config
from dstadapter_jax.evaluation.results import MissingClips
from dstadapter_jax.evaluation.scores import score_split
from dstadapter_jax.inference.recognizer import Recognizer, make_predict
from dstadapter_jax.models.partition import describe_parameters, partition
from dstadapter_jax.parallel.mesh import (
    addressable_rows,
    make_mesh,
    parameter_sharding,
    process_rows,
    put_global,
    shard_batch,
)
from dstadapter_jax.pretrained.activation import resolve_activation
from dstadapter_jax.pretrained.initialization import build_model
from dstadapter_jax.training.config_checks import check_dataset, check_fields, check_steps
from dstadapter_jax.training.diagnostics import finite_losses
from dstadapter_jax.training.optimizer import check_learning_rate, cosine_by_epoch, make_optimizer
from dstadapter_jax.training.step import (
    TrainState,
    jit_train_step,
    make_train_step,
    split_microbatches,
)
from dstadapter_jax.training.timing import DeviceHours, StepTimer, log_memory

logger = logging.getLogger(__name__)


class Trainer:
    """A training run: its components and its state.

    Attributes:
        step: Number of updates done; an epoch has `steps_per_epoch`.
        state: Step, trainable weights and optimizer state on the devices.
        losses: Losses since the last row of the metrics log.
        timer: Timing since then.
        compute: Devices and device-hours of the run.
        parameters: Counts of parameters and the trained ones by group, for JSON.
        validation_pending: Whether the validation at `step` still has to be done.
    """

    def __init__(self, config: ConfigDict, workdir: pathlib.Path):
        """Build a run's components; raises UserError if config, dataset or backbone do not fit."""
        resolve_activation(config)
        check_fields(config)
        self.config, self.workdir = config, workdir
        self.dataset = open_dataset(config.data.name, config.data.dir, config.data.test_signer)
        check_dataset(config, self.dataset)
        self.preprocess = preprocess_config(config)
        self.mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
        self._open_batches()
        self._build_model()
        self._key = jax.random.key(config.seed)
        self.step, self.losses, self.validation_pending = 0, list[Any](), False
        self.timer, self.compute = StepTimer(), DeviceHours()

    def _open_batches(self) -> None:
        config = self.config
        microbatch = config.batch_size * self.mesh.size
        self.batch_size = microbatch * config.gradient_accumulation_steps
        self.steps_per_epoch = self.dataset.num_clips["train"] // self.batch_size
        check_steps(self.steps_per_epoch, config.num_epochs)
        self.total_steps = self.steps_per_epoch * config.num_epochs
        clips = train_clips(
            self.dataset,
            self.preprocess,
            batch_size=self.batch_size,
            num_epochs=config.num_epochs,
            seed=config.seed,
            decoder=config.data.decoder,
        )
        starts = np.arange(0, self.batch_size, microbatch)
        self.batches = train_batches(
            clips,
            batch_size=self.batch_size,
            num_threads=config.data.num_threads,
            rows=np.add.outer(starts, process_rows(self.mesh, microbatch)).ravel(),
        )

    def _build_model(self) -> None:
        config, mesh = self.config, self.mesh
        model, self.backbone = build_model(config)
        graphdef, trainable, frozen = partition(model, config.tune)
        self.parameters = describe_parameters(trainable, frozen)
        total, trained = self.parameters["parameters"], self.parameters["trained"]
        logger.info(
            "%s parameters, %s trainable (%.3f %%), tune=%s; %d devices; %d steps of %d clips",
            *(f"{total:,}", f"{trained:,}", 100 * trained / total),
            *(config.tune, mesh.size, self.total_steps, self.batch_size),
        )
        check_learning_rate(config.optimizer, self.batch_size)
        self._schedule = cosine_by_epoch(
            config.optimizer.learning_rate, config.num_epochs, self.steps_per_epoch
        )
        optimizer = make_optimizer(self._schedule, config.optimizer.weight_decay, config.tune)
        state = TrainState(jnp.int32(0), trainable, optimizer.init(trainable))
        self.state = put_global(state, parameter_sharding(mesh, state))
        self.frozen = put_global(frozen, parameter_sharding(mesh, frozen))
        self._graphdef, self._predict = graphdef, make_predict(graphdef, mesh)
        update = make_train_step(graphdef, optimizer, normalize)
        self._train_step = jit_train_step(update, mesh, state)
        self._compiled_step: jax.stages.Compiled | None = None

    @property
    def epoch(self) -> float:
        """Number of epochs done, as a fraction."""
        return self.step / self.steps_per_epoch

    def metadata(self) -> dict[str, Any]:
        """Metadata of a checkpoint: config and inputs of the run, and progress besides weights."""
        return {
            "config": self.config.to_dict(),
            "label_names": list(self.dataset.label_names),
            "num_clips": self.dataset.num_clips,
            "dataset_sha256": self.dataset.content_sha256,
            "backbone": dataclasses.asdict(self.backbone),
            "global_batch_size": self.batch_size,
            "losses": [float(loss) for loss in self.losses],
            "validation_pending": self.validation_pending,
            "compute": self.compute.summary(),
        }

    def restore(self, checkpoints: Checkpointer, step: int) -> None:
        """Restore the state from the checkpoint of a step."""
        trainable, optimizer, position = checkpoints.restore_training(
            step, self.state.trainable, self.state.optimizer
        )
        done = put_global(np.int32(step), self.state.step.sharding)
        self.state = TrainState(done, trainable, optimizer)
        self.batches.set_state(position)
        saved = checkpoints.metadata(step)
        self.step, self.losses = step, saved["losses"]
        self.compute.resume(saved["compute"]["device_hours"])
        # Metrics of a validation that an interrupt delayed are added to the saved checkpoint.
        validated = checkpoints.metrics(step) is not None
        self.validation_pending = saved["validation_pending"] and not validated
        logger.info("resuming at step %d of %d in %s", step, self.total_steps, self.workdir)

    def save(self, checkpoints: Checkpointer, metrics: dict[str, float] | None = None) -> None:
        """Start an asynchronous save; raises NonFiniteError if the state is not finite."""
        with finite_losses(self), self.timer.saving():
            checkpoints.save(
                self.step,
                trainable=self.state.trainable,
                optimizer=self.state.optimizer,
                iterator=self.batches.get_state(),
                metadata=self.metadata(),
                metrics=metrics,
            )

    def update(self) -> None:
        """Run one training step; its loss stays on the device until it is needed."""
        with self.timer.waiting_for_data():
            rows = next(self.batches)
        microbatches = split_microbatches(rows, self.config.gradient_accumulation_steps)
        batch = shard_batch(self.mesh, microbatches, axis=1)
        arguments = self.state, self.frozen, batch["clip"], batch["label"], self._key
        if self._compiled_step is None:
            self._compiled_step = self._train_step.lower(*arguments).compile()
            log_memory(self._compiled_step)
        self.state, loss = self._compiled_step(*arguments)
        self.timer.step(loss)
        self.losses.append(loss)
        self.step += 1
        self.validation_pending = self._is_validation_step()

    def _is_validation_step(self) -> bool:
        """Whether the recipe validates after this step, the last of an epoch."""
        epoch, remainder = divmod(self.step, self.steps_per_epoch)
        if remainder or not epoch:
            return False
        every, last = self.config.validate_every_epochs, self.config.validate_last_epochs
        left = self.config.num_epochs - epoch
        return left == 0 or left < last or epoch % every == 0

    def training_metrics(self) -> dict[str, float]:
        """Mean loss and timing since the last call, and the last step's learning rate."""
        with finite_losses(self):
            mean = float(np.mean([float(loss) for loss in self.losses]))
        self.losses = []
        rate = float(self._schedule(jnp.int32(self.step - 1)))
        timing = self.timer.metrics(self.batch_size)
        self.timer.restart()
        hours = {"device_hours": self.compute.summary()["device_hours"]}
        return {"loss": mean, "learning_rate": rate, **timing, **hours}

    def recognizer(self, check: Callable[[], None] = lambda: None) -> Recognizer:
        """The model in its current state; `check` is called before each batch."""

        def probabilities(clips: np.ndarray) -> np.ndarray:
            check()
            views = shard_batch(self.mesh, {"clip": clips})["clip"]
            scores = self._predict(self.state.trainable, self.frozen, views)
            return addressable_rows(self.mesh, scores)

        return Recognizer(
            probabilities=probabilities,
            model=nnx.merge(self._graphdef, self.state.trainable, self.frozen),
            label_names=self.dataset.label_names,
            preprocess=self.preprocess,
            config=self.config.to_dict(),
            step=self.step,
            backbone=self.backbone,
            compute=self.compute.summary(),
        )

    def validate(self, check: Callable[[], None]) -> dict[str, float]:
        """Metrics on the validation split; clips that it lacks count as wrong."""
        with finite_losses(self):
            recognizer = self.recognizer(check)
            scores = score_split(recognizer, self.dataset, "validation", mode="validation")
        self.validation_pending = False
        self.timer.restart()
        missing = MissingClips.from_dataset(self.dataset, "validation")
        metrics = scores.metrics(missing.labels, missing.num_unlisted)
        return {f"val_{name}": value for name, value in metrics.items()}

    def close(self) -> None:
        """Stop the threads that load clips and measure."""
        self.batches.close()
        self.timer.close()
