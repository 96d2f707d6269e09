"""Diagnosis of losses, weights and probabilities that are not finite."""

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dstadapter_jax.data.loader import batch_ids
from dstadapter_jax.errors import UserError

if TYPE_CHECKING:
    from dstadapter_jax.training.trainer import Trainer


class NonFiniteError(UserError):
    """A loss, weight or probability that is not finite; the run can't continue.

    Attributes:
        step: Step in which it was found.
        clips: Ids of the step's training clips.
        previous_clips: Ids of the clips of the previous step, whose update may be the cause; empty
            if that step is not suspect.
    """

    def __init__(self, step: int, problem: str, clips: list[str], previous_clips: list[str]):
        self.step, self.clips, self.previous_clips = step, clips, previous_clips
        suspects = f"Clips of this step: {', '.join(clips)}."
        if previous_clips:
            suspects += " Clips of the previous step, whose update may be the cause: "
            suspects += f"{', '.join(previous_clips)}."
        super().__init__(
            f"step {step}",
            problem=f"training can't continue: {problem}",
            advice=f"{suspects} Inspect these clips, lower config.optimizer.learning_rate, or set"
            " config.model.dtype to float32; --config.allow_changed permits such a change on"
            " resume. If the run ends here again, the newest checkpoint is already affected: move"
            " it elsewhere.",
        )


@contextlib.contextmanager
def finite_losses(trainer: "Trainer") -> Iterator[None]:
    """Check the losses since the last log row, and explain a FloatingPointError of the body.

    The check waits for the device, so it runs only where the loop waits for results anyway.

    Raises:
        NonFiniteError: A loss, weight or probability is not finite.
    """
    for step, loss in enumerate(trainer.losses, start=trainer.step - len(trainer.losses) + 1):
        if not math.isfinite(float(loss)):
            raise _error(trainer, step, f"the loss is {float(loss)}", after_update=step > 1)
    try:
        yield
    except FloatingPointError as error:
        raise _error(trainer, trainer.step, str(error)) from error


def _error(
    trainer: "Trainer", step: int, problem: str, *, after_update: bool = False
) -> NonFiniteError:
    def ids(step: int) -> list[str]:
        size, seed = trainer.batch_size, trainer.config.seed
        return list(batch_ids(trainer.dataset, step, batch_size=size, seed=seed))

    return NonFiniteError(step, problem, ids(step), ids(step - 1) if after_update else [])
