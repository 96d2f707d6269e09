"""The training loop: train, validate, save, and evaluate the best checkpoint at the end."""

import contextlib
import logging
import pathlib
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.evaluation.run import evaluate
from dstadapter_jax.parallel.hosts import DelayedAllReduceMax, barrier, is_primary
from dstadapter_jax.parallel.signals import Interrupted, StopRequest
from dstadapter_jax.training.logging import RunLog
from dstadapter_jax.training.plots import draw_curves
from dstadapter_jax.training.resume import check_same_on_all_hosts, restore_latest
from dstadapter_jax.training.trainer import Trainer
from dstadapter_jax.training.workdir import lock_workdir, write_json

logger = logging.getLogger(__name__)


def train_and_evaluate(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
    """Train from the workdir's last checkpoint or from scratch, then evaluate the best checkpoint.

    Args:
        config: Config with the fields of `configs/common.py`.
        workdir: Folder for checkpoints, `metrics.jsonl`, pictures and results; created if missing.

    Returns:
        Results on the test split, the content of `DIR/eval_test.json`.

    Raises:
        UserError: Config, dataset, backbone file and workdir do not fit each other.
        Interrupted: A signal ended the run; its state is saved.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock_workdir(workdir))
        trainer = Trainer(config, workdir)
        stack.callback(trainer.close)
        barrier("trainers built")  # some processes have the backbone, others fetch it
        check_same_on_all_hosts(workdir, trainer.metadata())
        # Entered before the checkpoints, so that it is left after their last save is complete.
        stop = stack.enter_context(StopRequest(DelayedAllReduceMax()))
        checkpoints = stack.enter_context(Checkpointer(workdir))
        restore_latest(trainer, checkpoints)
        write_json(workdir / "config.json", config.to_dict())
        write_json(workdir / "trained_parameters.json", trainer.parameters)
        log = stack.enter_context(
            RunLog(workdir, config, trainer.step, validation_pending=trainer.validation_pending)
        )
        try:
            _train(trainer, checkpoints, log, stop)
        except Interrupted as interrupted:
            trainer.save(checkpoints)
            raise Interrupted(interrupted.signum, trainer.step) from None
        checkpoints.wait()
        if is_primary():
            draw_curves(workdir / "curves.png", workdir / "metrics.jsonl")
        trainer.step = checkpoints.find_step("best")
        best = checkpoints.restore_trainable(trainer.step, trainer.state.trainable)
        trainer.state = trainer.state._replace(trainable=best)
        return evaluate(trainer.recognizer(stop.check), workdir, "test")


def _train(trainer: Trainer, checkpoints: Checkpointer, log: RunLog, stop: StopRequest) -> None:
    hidden = None if is_primary() else True  # None: hidden without a terminal
    progress = tqdm(
        total=trainer.total_steps, initial=trainer.step, desc="train", unit="step", disable=hidden
    )
    with progress, logging_redirect_tqdm():
        while trainer.step < trainer.total_steps or trainer.validation_pending:
            stop.check()
            if trainer.validation_pending:
                _validate(trainer, checkpoints, log, stop)
                continue
            trainer.update()
            progress.update()
            if (
                trainer.step % trainer.config.log_every_steps == 0
                or trainer.step == trainer.total_steps
            ):
                metrics = trainer.training_metrics()
                log.write(step=trainer.step, epoch=trainer.epoch, **metrics)
                loss, rate = metrics["loss"], metrics["clips_per_second"]
                progress.set_postfix_str(f"loss {loss:.4f}, {rate:.1f} clips/s")
            if not trainer.validation_pending and trainer.step % trainer.steps_per_epoch == 0:
                trainer.save(checkpoints)


def _validate(trainer: Trainer, checkpoints: Checkpointer, log: RunLog, stop: StopRequest) -> None:
    metrics = trainer.validate(stop.check)
    log.write(step=trainer.step, epoch=trainer.epoch, **metrics)
    trainer.save(checkpoints, metrics)
    logger.info("epoch %g: validation top-1 %.4f", trainer.epoch, metrics["val_top1"])
