"""Train the demo's backbone on still images: `python -m dstadapter_jax.demo.stills`.

The backbone stands in for CLIP's image tower, which was trained on single images. It learns to
locate the hands relative to the body and to classify their shape, from random poses of signers that
do not appear in the demo. The result is shipped as `backbone.safetensors`; this script reproduces
it in minutes on two cores.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from safetensors.numpy import save_file
from tqdm import tqdm

from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.data.preprocess import PreprocessConfig, make_views
from dstadapter_jax.demo.signer import Painter, Signer
from dstadapter_jax.demo.signs import REST
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.pretrained.loading import dump_weights
from dstadapter_jax.pretrained.weight_table import is_adapter_weight

PATH = Path(__file__).with_name("backbone.safetensors")
SEED = 1_000_000  # differs from the seeds of the demo's signers and clips
SIGNERS = 600
STILLS_PER_SIGNER = 60
EPOCHS = 20
BATCH_SIZE = 256
LEARNING_RATE = 2e-3
WARMUP_STEPS = 100

# Targets of a still: the grid cell of each hand, and the shape of both.
CORNERS = np.array([(-2.4, -2.0), (2.4, 2.4)])  # corners of the grid, in body units
CELLS = np.array([8, 7])  # columns, rows
SHAPES = ("flat", "fist")

MODEL = ModelConfig(  # the backbone has the sizes of configs/demo.py
    num_classes=2 * int(CELLS.prod()) + len(SHAPES),
    num_frames=1,
    input_resolution=64,
    patch_size=16,
    width=96,
    layers=4,
    heads=6,
    dropout=0,
)
PREPROCESS = PreprocessConfig(
    num_frames=1,
    resolution=MODEL.input_resolution,
    randaugment_layers=2,
    randaugment_magnitude=5,
    crop_area=(0.6, 1.0),
    flip_probability=0,  # would swap the hands; signers of both handedness are drawn anyway
)


def draw_pose(rng: np.random.Generator) -> np.ndarray:
    """Random positions of both hands within reach, each at rest with probability 0.2: `(2, 2)`."""
    radius, angle = rng.uniform(0.3, 2.3, 2), rng.uniform(-np.pi, np.pi, 2)
    hands = np.stack([1 + radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    hands = np.clip(hands, (-0.3, -1.9), (2.3, 2.3))
    return np.where(rng.random((2, 1)) < 0.2, REST, hands)


def hand_cells(hands: np.ndarray, side: int) -> np.ndarray:
    """Grid cells of the hands at the right and at the left of the picture, `(2,)`."""
    right_then_left = (hands * [(side, 1), (-side, 1)])[::side]
    share = (right_then_left - CORNERS[0]) / (CORNERS[1] - CORNERS[0])
    column, row = np.clip(share * CELLS, 0, CELLS - 1).astype(int).T
    return row * CELLS[0] + column


def draw_stills(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Augmented stills of one signer, `(n, R, R, 3)` uint8, and their targets, `(n, 3)`."""
    rng = np.random.default_rng((SEED, number))
    signer = Signer.draw(rng)
    images, targets = [], []
    for index in range(STILLS_PER_SIGNER):
        if index % 10 == 0:
            painter = Painter(signer, rng)
        hands, shape = draw_pose(rng), int(rng.integers(len(SHAPES)))
        frame = painter.frame(hands, SHAPES[shape], rng)
        images.append(make_views(frame[None], PREPROCESS, "train", rng)[0][0, 0])
        targets.append((*hand_cells(hands, signer.side), shape))
    return np.stack(images), np.array(targets)


def loss_and_accuracy(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy summed over the three targets, and the accuracy of each."""
    cells = int(CELLS.prod())
    heads = jnp.split(logits, [cells, 2 * cells], axis=-1)
    losses = [
        optax.softmax_cross_entropy_with_integer_labels(head, targets[:, i]).mean()
        for i, head in enumerate(heads)
    ]
    accuracies = [(head.argmax(-1) == targets[:, i]).mean() for i, head in enumerate(heads)]
    return sum(losses), jnp.stack(accuracies)


def batches(num_stills: int) -> Iterator[np.ndarray]:
    """Yield the indices of each step's stills, reshuffled every epoch."""
    rng = np.random.default_rng(SEED)
    for _ in range(EPOCHS):
        order = rng.permutation(num_stills)
        yield from order[: num_stills // BATCH_SIZE * BATCH_SIZE].reshape(-1, BATCH_SIZE)


def train(images: np.ndarray, targets: np.ndarray) -> DSTAdapter:
    """Train the weights that CLIP has; adapters keep their initial values, the identity.

    Images are `(stills, R, R, 3)` uint8, targets `(stills, 3)` int. The model takes clips of one
    frame.
    """
    model = DSTAdapter(MODEL, rngs=nnx.Rngs(0))
    graphdef, *states = nnx.split(model, is_added, ...)
    added, backbone = states
    steps = len(images) // BATCH_SIZE * EPOCHS
    schedule = optax.warmup_cosine_decay_schedule(0, LEARNING_RATE, WARMUP_STEPS, steps)
    optimizer = optax.adamw(schedule, weight_decay=0.01)

    @jax.jit
    def step(
        backbone: nnx.State, state: optax.OptState, images: jax.Array, targets: jax.Array
    ) -> tuple[nnx.State, optax.OptState, jax.Array]:
        def loss(backbone: nnx.State) -> tuple[jax.Array, jax.Array]:
            logits = nnx.merge(graphdef, added, backbone)(normalize(images)[:, None])
            return loss_and_accuracy(logits, targets)

        gradients, accuracy = jax.grad(loss, has_aux=True)(backbone)
        updates, state = optimizer.update(gradients, state, backbone)
        return optax.apply_updates(backbone, updates), state, accuracy

    state = optimizer.init(backbone)
    progress = tqdm(batches(len(images)), "training", steps, unit="step", disable=None)
    for index, batch in enumerate(progress):
        backbone, state, accuracy = step(backbone, state, images[batch], targets[batch])
        if index % 100 == 99:
            progress.set_postfix(accuracy=np.round(accuracy, 2))
    return nnx.merge(graphdef, added, backbone)


def is_added(path: tuple[Any, ...], _: object) -> bool:
    """Whether a parameter is one that DSTAdapter adds to CLIP's image tower, except the head."""
    return not {"t_adapter", "s_adapter", "temporal_embedding"}.isdisjoint(path)


def main() -> None:
    """Draw the stills, train on them and write `PATH` as float16."""
    with ThreadPoolExecutor() as pool:
        drawn = pool.map(draw_stills, range(SIGNERS))
        parts = list(tqdm(drawn, "drawing", SIGNERS, unit="signer", disable=None))
    images, targets = map(np.concatenate, zip(*parts, strict=True))
    weights = dump_weights(train(images, targets))
    backbone = {
        name: array.astype(np.float16)
        for name, array in weights.items()
        if not is_adapter_weight(name)
    }
    save_file(backbone, PATH)
    print(f"{PATH}: {PATH.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
