"""From a workdir to a recogniser: checkpoint, backbone, label names and preprocessing."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from dstadapter_jax.checkpoint import Checkpointer
from dstadapter_jax.damage import CheckpointError
from dstadapter_jax.model import DSTAdapter
from dstadapter_jax.model_config import ModelConfig
from dstadapter_jax.optimizer import partition
from dstadapter_jax.preprocess import PreprocessConfig, normalize
from dstadapter_jax.pretrained import load_weights
from dstadapter_jax.sharding import batch_sharding, make_mesh, on_mesh, replicated
from dstadapter_jax.weight_files import file_sha256, resolve_source

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Backbone:
    """Which file the frozen weights came from, so that the very same is used ever after.

    Attributes:
        source: As the config has it; empty for random weights, which the seed gives again.
        revision: Of a Hugging Face repository.
        sha256: Of the file.
    """

    source: str = ""
    revision: str = ""
    sha256: str = ""


def preprocess_config(config: Mapping[str, Any]) -> PreprocessConfig:
    """The preprocessing of a run's config; frames and resolution are the model's."""
    model = config["model"]
    return PreprocessConfig(
        num_frames=model["num_frames"],
        resolution=model["input_resolution"],
        **config["preprocess"],
    )


def draw_model(cfg: ModelConfig, seed: int) -> DSTAdapter:
    """A model with random weights, drawn by one program: a hundred small ones take longer."""

    def draw() -> DSTAdapter:
        return DSTAdapter(cfg, rngs=nnx.Rngs(seed))

    graphdef = nnx.graphdef(nnx.eval_shape(draw))
    return nnx.merge(graphdef, jax.jit(lambda: nnx.state(draw()))())


def build_model(config: Mapping[str, Any]) -> tuple[DSTAdapter, Backbone]:
    """A model as training starts from: drawn from the seed, its backbone loaded."""
    source, revision = config["pretrained"], config["pretrained_revision"]
    # Before the model is drawn: a path that is wrong is said at once.
    path = resolve_source(source, revision or None) if source else None
    model = draw_model(ModelConfig(**config["model"]), config["seed"])
    if path is None:
        return model, Backbone()
    loaded = load_weights(model, path, resize_positions=config["resize_positions"])
    logger.info("backbone %s: %s", source, loaded)
    if not source.startswith("hf:"):
        source = str(path.absolute())
    return model, Backbone(source, revision, file_sha256(path))


def view_probabilities(model: DSTAdapter, views: jax.Array) -> jax.Array:
    """What `predict` and exports compute: `(B, T, R, R, 3)` uint8 -> `(B, classes)` float32."""
    return jax.nn.softmax(model(normalize(views)))


def make_predict(
    graphdef: nnx.GraphDef, mesh: Mesh
) -> Callable[[dict, dict, jax.Array], jax.Array]:
    """The compiled `(trainable, frozen, (B, T, R, R, 3) uint8) -> (B, classes)` probabilities."""

    def predict(trainable: dict, frozen: dict, clips: jax.Array) -> jax.Array:
        return view_probabilities(nnx.merge(graphdef, trainable, frozen), clips)

    return jax.jit(on_mesh(mesh, predict))


@dataclasses.dataclass(frozen=True)
class Recogniser:
    """A trained model with what belongs to it.

    Attributes:
        probabilities: Maps views `(B, T, R, R, 3)` uint8 to `(B, classes)` float32.
        label_names: By label id.
        preprocess: From videos to views, as in training.
        config: Of the run.
        step: Of the checkpoint.
    """

    probabilities: Callable[[np.ndarray], np.ndarray]
    label_names: tuple[str, ...]
    preprocess: PreprocessConfig
    config: Mapping[str, Any]
    step: int

    @classmethod
    def load(cls, workdir: pathlib.Path, which: str = "best", backbone: str = "") -> Self:
        """Loads a checkpoint of a run onto all devices.

        Args:
            workdir: The run's.
            which: `best` by validation top-1, `last`, or a step.
            backbone: Where the backbone's file is now, if not where training found it.

        Raises:
            CheckpointError: No such checkpoint, or not the backbone that it was trained on.
        """
        mesh = make_mesh()
        model, step, metadata = load_trained(workdir, which, backbone, mesh)
        config = metadata["config"]
        graphdef, trainable, frozen = partition(model, config["tune"])
        predict = make_predict(graphdef, mesh)

        def probabilities(clips: np.ndarray) -> np.ndarray:
            whole = len(clips) % mesh.size == 0
            sharding = batch_sharding(mesh) if whole else replicated(mesh)
            return np.asarray(predict(trainable, frozen, jax.device_put(clips, sharding)))

        return cls(
            probabilities=probabilities,
            label_names=tuple(metadata["label_names"]),
            preprocess=preprocess_config(config),
            config=config,
            step=step,
        )


def load_trained(
    workdir: pathlib.Path, which: str, backbone: str, mesh: Mesh, **sizes: Any
) -> tuple[DSTAdapter, int, dict[str, Any]]:
    """Loads a checkpoint's model onto all devices of a mesh; arguments and errors as of `load`.

    `sizes` are fields of the model's config that are to be other than in training.

    Returns:
        The model, the checkpoint's step, and its metadata: `config`, `label_names`, `backbone`, ….
    """
    with Checkpointer(workdir, read_only=True) as checkpoints:
        step = checkpoints.find_step(which)
        metadata = checkpoints.metadata(step)
        config = metadata["config"]
        source = _same_backbone(Backbone(**metadata["backbone"]), backbone)
        built = config | {"pretrained": source, "model": config["model"] | sizes}
        graphdef, *weights = partition(build_model(built)[0], config["tune"])
        trainable, frozen = jax.device_put(weights, replicated(mesh))
        trainable = checkpoints.restore_trainable(step, trainable)
    return nnx.merge(graphdef, trainable, frozen), step, metadata


def _same_backbone(trained_on: Backbone, elsewhere: str) -> str:
    """The backbone's source, once its hash is the one that training recorded."""
    if not trained_on.source:
        if elsewhere:
            raise CheckpointError("--backbone: this run used no backbone file; leave it out.")
        return ""
    source = elsewhere or trained_on.source
    expected = f"the backbone that the run was trained on, with SHA-256 {trained_on.sha256}"
    try:
        path = resolve_source(source, None if elsewhere else trained_on.revision or None)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{source}: expected {expected}; {error} Pass its place as --backbone FILE."
        ) from error
    found = file_sha256(path)
    if found != trained_on.sha256:
        raise CheckpointError(
            f"{path}: expected {expected}, found {found}. Pass its place as --backbone FILE."
        )
    return str(path)
