"""Trains, saves, validates, and at the end evaluates the best checkpoint."""

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
from dstadapter_jax.training.resume import check_same_on_all_hosts
from dstadapter_jax.training.trainer import Trainer
from dstadapter_jax.training.workdir import lock_workdir, write_config

logger = logging.getLogger(__name__)


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
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock_workdir(workdir))
        run = Trainer(config, workdir)
        stack.callback(run.close)
        barrier("runs built")  # some have their backbone at once, others fetch it
        check_same_on_all_hosts(workdir, config.to_dict(), run.identity())
        # Before the checkpoints, so that it is left when the last of them is whole.
        stop = stack.enter_context(StopRequest(DelayedAllReduceMax()))
        checkpoints = stack.enter_context(Checkpointer(workdir))
        run.restore(checkpoints)
        write_config(workdir, config.to_dict())
        log = stack.enter_context(RunLog(workdir, config, run.step, run.validated))
        try:
            _train(run, checkpoints, log, stop)
        except Interrupted as interrupted:
            run.save(checkpoints)
            raise Interrupted(interrupted.signum, f"after step {run.step}") from None
        checkpoints.wait()
        if is_primary():
            draw_curves(workdir / "curves.png", workdir / "metrics.jsonl")
        run.step = checkpoints.find_step("best")
        best = checkpoints.restore_trainable(run.step, run.state.trainable)
        run.state = run.state._replace(trainable=best)
        return evaluate(run.recognizer(stop.check), workdir, "test")


def _train(run: Trainer, checkpoints: Checkpointer, log: RunLog, stop: StopRequest) -> None:
    hidden = None if is_primary() else True  # None: where there is no terminal
    progress = tqdm(
        total=run.total_steps, initial=run.step, desc="train", unit="step", disable=hidden
    )
    with progress, logging_redirect_tqdm():
        while run.step < run.total_steps or not run.validated:
            stop.check()
            if not run.validated:
                metrics = run.validate(stop.check)
                log.write(step=run.step, epoch=run.epoch, **metrics)
                run.save(checkpoints, metrics)
                logger.info("epoch %g: validation top-1 %.4f", run.epoch, metrics["val_top1"])
                continue
            run.update()
            progress.update()
            if run.step % run.config.log_every_steps == 0 or run.step == run.total_steps:
                metrics = run.training_metrics()
                log.write(step=run.step, epoch=run.epoch, **metrics)
                loss, speed = metrics["loss"], metrics["clips_per_second"]
                progress.set_postfix_str(f"loss {loss:.4f}, {speed:.1f} clips/s")
            if run.validated and run.step % run.steps_per_epoch == 0:
                run.save(checkpoints)
