"""A training run as an object: built from a config, restored, advanced and saved."""

import dataclasses
import logging
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from dstadapter_jax.checkpoints.integrity import CorruptCheckpointError
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import batch_ids, train_batches
from dstadapter_jax.data.preprocess import normalize, preprocess_config
from dstadapter_jax.evaluation.results import MissingClips
from dstadapter_jax.evaluation.scores import score_split
from dstadapter_jax.inference.recognizer import Recognizer, make_predict
from dstadapter_jax.models.partition import count_parameters, partition
from dstadapter_jax.parallel.mesh import (
    addressable_rows,
    make_mesh,
    parameter_sharding,
    process_rows,
    put_global,
    shard_batch,
)
from dstadapter_jax.pretrained.initialization import build_model
from dstadapter_jax.training.config_checks import check_dataset, check_fields, check_steps
from dstadapter_jax.training.optimizer import cosine_by_epoch, make_optimizer
from dstadapter_jax.training.resume import (
    allowed_changes,
    check_epochs,
    check_resumable,
    check_same_run,
)
from dstadapter_jax.training.step import TrainState, jit_train_step, make_train_step
from dstadapter_jax.training.timing import StepTimer

logger = logging.getLogger(__name__)


class Trainer:
    """One training run: what it is made of, and where it stands.

    Attributes:
        step: Updates done; an epoch has `steps_per_epoch` of them.
        losses: Of the steps since the last line of the metrics log.
        speed: Since then, too.
        validated: Whether the validation that is due at `step` was done.
    """

    def __init__(self, config: ConfigDict, workdir: pathlib.Path):
        check_fields(config)
        self.config, self.workdir = config, workdir
        self.dataset = open_dataset(config.data.name, config.data.dir, config.data.test_signer)
        check_dataset(config, self.dataset)
        self.preprocess = preprocess_config(config)
        self.mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
        microbatch = config.batch_size * self.mesh.size
        self.batch_size = microbatch * config.gradient_accumulation_steps
        self.steps_per_epoch = self.dataset.num_clips["train"] // self.batch_size
        check_steps(self.steps_per_epoch, config.num_epochs)
        self.total_steps = self.steps_per_epoch * config.num_epochs
        starts = np.arange(0, self.batch_size, microbatch)
        self.batches = train_batches(
            self.dataset,
            self.preprocess,
            batch_size=self.batch_size,
            num_epochs=config.num_epochs,
            seed=config.seed,
            decoder=config.data.decoder,
            num_threads=config.data.num_threads,
            rows=np.add.outer(starts, process_rows(self.mesh, microbatch)).ravel(),
        )
        self._build_model()
        self._key = jax.random.key(config.seed)
        self.step, self.losses, self.validated = 0, list[Any](), True
        self.speed = StepTimer()

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
        """Goes to the newest checkpoint that isn't damaged, if there are any.

        Of many processes one alone may fail to read: then none goes on, as they would part.

        Raises:
            DamagedCheckpointError: All are: the newest's error; or all were moved aside before.
        """
        damaged: dict[int, CorruptCheckpointError] = {}
        steps, aside = checkpoints.steps(), self.workdir / "corrupt_checkpoints"
        if not steps and aside.exists():
            raise CorruptCheckpointError(
                f"{self.workdir}: no checkpoints but damaged ones, in {aside}. To begin anew choose"
                " another --workdir, or move that folder elsewhere."
            )
        for step in steps:
            try:
                self._restore(checkpoints, step)
                break
            except CorruptCheckpointError as error:
                if jax.process_count() > 1:
                    raise
                damaged[step] = error
        else:
            if damaged:
                raise damaged[max(damaged)]
        # Only now: had nothing been readable, the cause might have been another.
        for step, reason in damaged.items():
            checkpoints.quarantine(step, reason)

    def _restore(self, checkpoints: Checkpointer, step: int) -> None:
        saved = checkpoints.metadata(step)
        asked = self.config.to_dict()
        check_same_run(self.workdir, saved["config"], asked)
        check_resumable(self.workdir, saved, self.identity(), allowed_changes(asked))
        check_epochs(self.workdir, step / self.steps_per_epoch, self.config.num_epochs)
        trainable, optimizer, position = checkpoints.restore_training(
            step, self.state.trainable, self.state.optimizer
        )
        done = put_global(np.int32(step), self.state.step.sharding)
        self.state = TrainState(done, trainable, optimizer)
        self.batches.set_state(position)
        self.step, self.losses, self.validated = step, saved["losses"], saved["validated"]
        logger.info("going on from step %d of %d in %s", step, self.total_steps, self.workdir)

    def identity(self) -> dict[str, Any]:
        """What, besides the config, makes it this run and no other."""
        return {
            "label_names": list(self.dataset.label_names),
            "num_clips": self.dataset.num_clips,
            "dataset_sha256": self.dataset.content_sha256,
            "backbone": dataclasses.asdict(self.backbone),
            "global_batch_size": self.batch_size,
        }

    def save(self, checkpoints: Checkpointer, metrics: dict[str, float] | None = None) -> None:
        """Begins to save where the run stands, unless that is no good."""
        self._check_finite()
        try:
            with self.speed.saving():
                self._save(checkpoints, metrics)
        except FloatingPointError as error:
            raise self._not_finite(self.step, str(error)) from error

    def _save(self, checkpoints: Checkpointer, metrics: dict[str, float] | None) -> None:
        checkpoints.save(
            self.step,
            trainable=self.state.trainable,
            optimizer=self.state.optimizer,
            iterator=self.batches.get_state(),
            metadata=self.identity()
            | {
                "config": self.config.to_dict(),
                "losses": [float(loss) for loss in self.losses],
                "validated": self.validated,
            },
            metrics=metrics,
        )

    def update(self) -> None:
        """One step; its loss is fetched only when somebody needs it."""
        with self.speed.waiting_for_data():
            rows = next(self.batches).items()
        microbatches = self.config.gradient_accumulation_steps
        split = {name: row.reshape(microbatches, -1, *row.shape[1:]) for name, row in rows}
        batch = shard_batch(self.mesh, split, axis=1)
        self.state, loss = self._train_step(
            self.state, self.frozen, batch["clip"], batch["label"], self._key
        )
        self.speed.step(loss)
        self.losses.append(loss)
        self.step += 1
        self.validated = not self.validation_due()

    def training_metrics(self) -> dict[str, float]:
        """The mean loss since the last call, the last step's learning rate, and the speed."""
        self._check_finite()
        mean = float(np.mean([float(loss) for loss in self.losses]))
        self.losses = []
        rate = float(self._schedule(jnp.int32(self.step - 1)))
        speed = self.speed.metrics(self.batch_size)
        self.speed.restart()
        return {"loss": mean, "learning_rate": rate, **speed}

    def _check_finite(self) -> None:
        """Looks at the losses that nobody has fetched yet, so that no step waits for its own."""
        for step, loss in enumerate(self.losses, start=self.step - len(self.losses) + 1):
            if not math.isfinite(float(loss)):
                what = f"the loss is {float(loss)}"
                raise self._not_finite(step, what, after_update=step > 1)

    def _not_finite(self, step: int, what: str, *, after_update: bool = False) -> ValueError:
        before = ""
        if after_update:
            before = (
                f" Those of the step before, whose update may be the cause: {self._ids(step - 1)}."
            )
        return ValueError(
            f"step {step}, in epoch {math.ceil(step / self.steps_per_epoch)}: {what}: the run can't"
            f" go on. The step's clips: {self._ids(step)}.{before} Checkpoints in {self.workdir}"
            " are from before. Look at these clips, lower config.optimizer.learning_rate, or set"
            " config.model.dtype to float32; --config.allow_changed lets a run go on with another."
            " Should it end here again, the newest checkpoint is from too late: move it elsewhere."
        )

    def _ids(self, step: int) -> str:
        size, seed = self.batch_size, self.config.seed
        return ", ".join(batch_ids(self.dataset, step, batch_size=size, seed=seed))

    def recognizer(self, check: Callable[[], None] = lambda: None) -> Recognizer:
        """The model as it stands; `check` is called before each batch."""

        def probabilities(clips: np.ndarray) -> np.ndarray:
            check()
            views = shard_batch(self.mesh, {"clip": clips})["clip"]
            return addressable_rows(
                self.mesh, self._predict(self.state.trainable, self.frozen, views)
            )

        return Recognizer(
            probabilities=probabilities,
            model=nnx.merge(self._graphdef, self.state.trainable, self.frozen),
            label_names=self.dataset.label_names,
            preprocess=self.preprocess,
            config=self.config.to_dict(),
            step=self.step,
            backbone=self.backbone,
        )

    def close(self) -> None:
        """Ends the threads that load clips and measure."""
        self.batches.close()
        self.speed.close()

    def validate(self, check: Callable[[], None]) -> dict[str, float]:
        """Metrics on the validation split; clips that it lacks count as wrong, as in `evaluate`."""
        self._check_finite()
        recognizer = self.recognizer(check)
        try:
            scores = score_split(recognizer, self.dataset, "validation", mode="validation")
        except FloatingPointError as error:
            raise self._not_finite(self.step, str(error)) from error
        self.validated = True
        self.speed.restart()
        left_out = MissingClips.of(self.dataset, "validation")
        metrics = scores.metrics(left_out.labels, left_out.num_unlisted)
        return {f"val_{name}": value for name, value in metrics.items()}
