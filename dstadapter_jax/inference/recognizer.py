"""From a workdir or an adapter file to a recognizer: weights, label names and preprocessing."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from dstadapter_jax.adapters.file import Adapter, read_adapter
from dstadapter_jax.adapters.spotting_settings import SpottingSettings
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.data.preprocess import PreprocessConfig, normalize, preprocess_config
from dstadapter_jax.data.video.reader import check_decoder
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.models.partition import partition
from dstadapter_jax.parallel.mesh import make_mesh, put_batch, replicated, traced_under
from dstadapter_jax.pretrained.backbone import BackboneRef, FrozenBackbone, resolve_backbone
from dstadapter_jax.pretrained.formats import WeightsError
from dstadapter_jax.pretrained.initialization import build_model

logger = logging.getLogger(__name__)


class NonFiniteOutputError(ValueError):
    """What a model says isn't finite."""

    def __init__(self) -> None:
        super().__init__(
            "the model's probabilities aren't finite: its weights are those of a training that"
            " diverged. Take another checkpoint, --step=N, or another adapter file."
        )


def view_probabilities(model: DSTAdapter, views: jax.Array) -> jax.Array:
    """What `predict` and exports compute: `(B, T, R, R, 3)` uint8 -> `(B, classes)` float32."""
    return jax.nn.softmax(model(normalize(views)))


def make_predict(
    graphdef: nnx.GraphDef, mesh: Mesh
) -> Callable[[dict, dict, jax.Array], jax.Array]:
    """The compiled `(trainable, frozen, (B, T, R, R, 3) uint8) -> (B, classes)` probabilities."""

    def predict(trainable: dict, frozen: dict, clips: jax.Array) -> jax.Array:
        return view_probabilities(nnx.merge(graphdef, trainable, frozen), clips)

    return jax.jit(traced_under(mesh, predict))


@dataclasses.dataclass(frozen=True)
class Recognizer:
    """A trained model with what belongs to it.

    Attributes:
        probabilities: Maps views `(B, T, R, R, 3)` uint8 to `(B, classes)` float32.
        model: What computes them, on the same arrays, for `attribution.explain`.
        label_names: By label id.
        preprocess: From videos to views, as in training.
        config: Of the run.
        step: Of the checkpoint.
        backbone: What was trained on.
        stream: What tells signs from what is between them, if an adapter file says so.
    """

    probabilities: Callable[[np.ndarray], np.ndarray]
    model: DSTAdapter
    label_names: tuple[str, ...]
    preprocess: PreprocessConfig
    config: Mapping[str, Any]
    step: int
    backbone: BackboneRef
    stream: SpottingSettings | None = None

    @classmethod
    def load(cls, workdir: pathlib.Path, which: str = "best", backbone: str = "") -> Self:
        """Loads a checkpoint of a run onto all devices.

        Args:
            workdir: The run's.
            which: `best` by validation top-1, `last`, or a step.
            backbone: Where the backbone's file is now, if not where training found it.

        Raises:
            CheckpointError: No such checkpoint.
            WeightsError: Not the backbone that it was trained on.
        """
        with Checkpointer(workdir, read_only=True) as checkpoints:
            step = checkpoints.find_step(which)
            metadata = checkpoints.metadata(step)
            config = metadata["config"]
            source = _backbone_source(BackboneRef(**metadata["backbone"]), backbone)
            model, _ = build_model(config | {"pretrained": source})
            graphdef, *weights = partition(model, config["tune"])
            mesh = make_mesh()
            trainable, frozen = jax.device_put(weights, replicated(mesh))
            trainable = checkpoints.restore_trainable(step, trainable)
        return cls(
            probabilities=_bound(make_predict(graphdef, mesh), mesh, trainable, frozen),
            model=nnx.merge(graphdef, trainable, frozen),
            label_names=tuple(metadata["label_names"]),
            preprocess=preprocess_config(config),
            config=config,
            step=step,
            backbone=BackboneRef(**metadata["backbone"]),
        )

    @classmethod
    def load_adapter(cls, source: str | pathlib.Path, backbone: str = "") -> Self:
        """Loads an adapter file and its backbone onto all devices.

        Args:
            source: A path, or `hf:OWNER/REPO/FILE`.
            backbone: Where the backbone's file is, if not where the adapter says.

        Raises:
            AdapterError: It is no whole adapter file of this format.
            WeightsError: A file can't be fetched, or isn't the backbone that it was trained on.
        """
        adapter, weights = read_adapter(source)
        path = resolve_backbone(adapter.backbone, backbone)
        tower = FrozenBackbone.load(
            adapter.model, path, resize_positions=adapter.config["resize_positions"]
        )
        mesh = make_mesh()
        parts = jax.device_put((tower.trainable(weights), tower.frozen), replicated(mesh))
        probabilities = _bound(make_predict(tower.graphdef, mesh), mesh, *parts)
        return cls.of_adapter(adapter, probabilities, nnx.merge(tower.graphdef, *parts))

    @classmethod
    def of_adapter(
        cls,
        adapter: Adapter,
        probabilities: Callable[[np.ndarray], np.ndarray],
        model: DSTAdapter,
    ) -> Self:
        """What an adapter file says of itself, beside what its weights compute."""
        return cls(
            probabilities=probabilities,
            model=model,
            label_names=adapter.label_names,
            preprocess=preprocess_config(adapter.config),
            config=_config_here(adapter),
            step=adapter.step,
            backbone=adapter.backbone,
            stream=(
                SpottingSettings.of_json(adapter.stream, adapter.model.width)
                if adapter.stream
                else None
            ),
        )


def _bound(
    predict: Callable[[dict, dict, jax.Array], jax.Array], mesh: Mesh, trainable: dict, frozen: dict
) -> Callable[[np.ndarray], np.ndarray]:
    """`Recognizer.probabilities` of these weights."""

    def probabilities(clips: np.ndarray) -> np.ndarray:
        return np.asarray(predict(trainable, frozen, put_batch(mesh, clips)))

    return probabilities


def _backbone_source(trained_on: BackboneRef, elsewhere: str) -> str:
    """The backbone of a checkpoint as `build_model` takes it: its file, or none."""
    if trained_on.source:
        return str(resolve_backbone(trained_on, elsewhere))
    if elsewhere:
        raise WeightsError("--backbone: this run used no backbone file; leave it out.")
    return ""


def _config_here(adapter: Adapter) -> dict[str, Any]:
    """An adapter's config with the fields that belong to the machine that uses it."""
    decoder = adapter.config["data"]["decoder"]
    try:
        check_decoder(decoder)
    except ValueError as error:
        logger.warning("%s; pyav decodes in its place", error)
        decoder = "pyav"
    data = adapter.config["data"] | {"dir": "", "num_threads": 16, "decoder": decoder}
    return {**adapter.config, "batch_size": 8, "data": data}
