"""A trained model ready for use, loaded from a run's workdir or an adapter file."""

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
from dstadapter_jax.adapters.schema import SpottingSettings, parse_spotting
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.data.preprocess import PreprocessConfig, preprocess_config
from dstadapter_jax.data.video.reader import check_decoder
from dstadapter_jax.errors import UserError
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.models.partition import partition
from dstadapter_jax.parallel.mesh import make_mesh, put_batch, replicated, traced_under
from dstadapter_jax.pretrained.backbone import BackboneRef, FrozenBackbone, resolve_backbone
from dstadapter_jax.pretrained.initialization import build_model
from dstadapter_jax.pretrained.sources import WeightsError

logger = logging.getLogger(__name__)

Probabilities = Callable[[np.ndarray], np.ndarray]  # (B, T, R, R, 3) uint8 -> (B, classes) float32


class NonFiniteOutputError(UserError):
    """Probabilities of a model that are not finite."""

    def __init__(self) -> None:
        super().__init__(
            "model",
            problem="its probabilities are not finite: its training diverged",
            advice="Use another checkpoint, --step=N, or another adapter file.",
        )


def view_probabilities(model: DSTAdapter, views: jax.Array) -> jax.Array:
    """Class probabilities of views: `(B, T, R, R, 3)` uint8 -> `(B, classes)` float32."""
    return jax.nn.softmax(model(normalize(views)))


def make_predict(
    graphdef: nnx.GraphDef, mesh: Mesh
) -> Callable[[dict, dict, jax.Array], jax.Array]:
    """Compile `(trainable, frozen, (B, T, R, R, 3) uint8) -> (B, classes)` probabilities."""

    def predict(trainable: dict, frozen: dict, clips: jax.Array) -> jax.Array:
        return view_probabilities(nnx.merge(graphdef, trainable, frozen), clips)

    return jax.jit(traced_under(mesh, predict))


@dataclasses.dataclass(frozen=True)
class Recognizer:
    """A trained model with its labels and preprocessing.

    Attributes:
        probabilities: Maps views `(B, T, R, R, 3)` uint8 to `(B, classes)` float32.
        model: The same weights as a module, for `attribution.explain`.
        label_names: Label names by id.
        preprocess: Preprocessing from videos to views, as in training.
        config: Config of the run.
        step: Step of the checkpoint.
        backbone: Backbone of the run.
        spotting: Settings of sign spotting, if an adapter file has them.
        compute: Devices of the training, their kind and device-hours; empty for adapter files.
    """

    probabilities: Probabilities
    model: DSTAdapter
    label_names: tuple[str, ...]
    preprocess: PreprocessConfig
    config: Mapping[str, Any]
    step: int
    backbone: BackboneRef
    spotting: SpottingSettings | None = None
    compute: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, workdir: pathlib.Path, selector: str = "best", backbone: str = "") -> Self:
        """Load a checkpoint of a run onto all devices.

        Args:
            workdir: Workdir of the run.
            selector: `best` by validation top-1, `last`, or a step number.
            backbone: Path of the backbone's file, if it has moved since training.

        Raises:
            CheckpointError: There is no such checkpoint.
            WeightsError: The backbone is missing or another file.
        """
        with Checkpointer(workdir, read_only=True) as checkpoints:
            step = checkpoints.find_step(selector)
            metadata = checkpoints.metadata(step)
            config, trained_on = metadata["config"], BackboneRef(**metadata["backbone"])
            source = _backbone_source(trained_on, backbone)
            model, _ = build_model(config | {"pretrained": source})
            graphdef, *weights = partition(model, config["tune"])
            mesh = make_mesh()
            trainable, frozen = jax.device_put(weights, replicated(mesh))
            trainable = checkpoints.restore_trainable(step, trainable)
        return cls(
            probabilities=_bind(make_predict(graphdef, mesh), mesh, trainable, frozen),
            model=nnx.merge(graphdef, trainable, frozen),
            label_names=tuple(metadata["label_names"]),
            preprocess=preprocess_config(config),
            config=config,
            step=step,
            backbone=trained_on,
            compute=metadata["compute"],
        )

    @classmethod
    def load_adapter(cls, source: str | pathlib.Path, backbone: str = "") -> Self:
        """Load an adapter file and its backbone onto all devices.

        Args:
            source: Path, or `hf:OWNER/REPO/FILE`.
            backbone: Path of the backbone's file, if it is not at its recorded source.

        Raises:
            AdapterError: The file is not a valid adapter file.
            WeightsError: A file can't be fetched, or the backbone is another file.
        """
        adapter, weights = read_adapter(source)
        path = resolve_backbone(adapter.backbone, backbone, pathlib.Path(source).parent)
        tower = FrozenBackbone.load(
            adapter.model, path, resize_positions=adapter.config["resize_positions"]
        )
        mesh = make_mesh()
        parts = jax.device_put((tower.trainable(weights), tower.frozen), replicated(mesh))
        probabilities = _bind(make_predict(tower.graphdef, mesh), mesh, *parts)
        return cls.from_adapter(adapter, probabilities, nnx.merge(tower.graphdef, *parts))

    @classmethod
    def from_adapter(
        cls, adapter: Adapter, probabilities: Probabilities, model: DSTAdapter
    ) -> Self:
        """Combine an adapter file's metadata with a model that has its weights."""
        spotting = adapter.spotting and parse_spotting(adapter.spotting, adapter.model.width)
        return cls(
            probabilities=probabilities,
            model=model,
            label_names=adapter.label_names,
            preprocess=preprocess_config(adapter.config),
            config=_local_config(adapter),
            step=adapter.step,
            backbone=adapter.backbone,
            spotting=spotting or None,
        )


def _bind(
    predict: Callable[[dict, dict, jax.Array], jax.Array], mesh: Mesh, trainable: dict, frozen: dict
) -> Probabilities:
    """Bind weights to a compiled `predict`."""

    def probabilities(clips: np.ndarray) -> np.ndarray:
        return np.asarray(predict(trainable, frozen, put_batch(mesh, clips)))

    return probabilities


def _backbone_source(backbone: BackboneRef, override: str) -> str:
    """Path of a checkpoint's backbone for `build_model`; empty for random weights."""
    if backbone.source:
        return str(resolve_backbone(backbone, override))
    if override:
        raise WeightsError("--backbone", expected="none: the run has no backbone", found=override)
    return ""


def _local_config(adapter: Adapter) -> dict[str, Any]:
    """An adapter's config, completed by fields that depend on this machine."""
    decoder = adapter.config["data"]["decoder"]
    try:
        check_decoder(decoder)
    except ValueError as error:
        logger.warning("%s Using pyav instead.", error)
        decoder = "pyav"
    data = adapter.config["data"] | {"dir": "", "num_threads": 16, "decoder": decoder}
    return {**adapter.config, "batch_size": 8, "data": data}
