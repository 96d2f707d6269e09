"""Several adapter files, e.g. of sign languages, over one frozen backbone."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import unflatten_dict
from jax.sharding import Mesh

from dstadapter_jax.adapters.file import Adapter, AdapterError, read_adapter
from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.errors import UserError
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.parallel.mesh import make_mesh, put_batch, replicated, traced_under
from dstadapter_jax.pretrained.backbone import FrozenBackbone, resolve_backbone
from dstadapter_jax.pretrained.weight_table import to_params

ADVICE = "Load it into another MultiAdapterRecognizer."


class MultiAdapterRecognizer:
    """Adapters by name over one backbone; the rows of a batch may use different adapters.

    A row's result is bit-identical whatever the other rows and the other adapters are: each row's
    adapter is an argument of the program, which stacks them. The program is compiled once, and each
    adapter takes the memory of its own weights. Calls from several threads are safe.

    Attributes:
        adapters: Metadata of the adapter files by name.
        recognizers: Recognizers by name, which share the compiled program.
        batch_size: Number of clips per forward pass.
    """

    def __init__(
        self, files: Mapping[str, str | pathlib.Path], backbone: str = "", batch_size: int = 1
    ):
        """Load adapter files and their backbone onto all devices.

        Args:
            files: Paths or `hf:OWNER/REPO/FILE` by name; at least one.
            backbone: Path of the backbone's file, if it is not at its recorded source.
            batch_size: Number of clips per forward pass; smaller batches are padded. Values above
                1 pay off on accelerators only.

        Raises:
            AdapterError: A file is not a valid adapter file, or needs another backbone or other
                sizes than the first.
            WeightsError: A file can't be fetched, or the backbone is another file.
            UserError: There are no files, or the batch size is not positive.
        """
        if not files or batch_size < 1:
            found = f"{len(files)} files and batch_size={batch_size}"
            expected = "at least one adapter file and a batch_size of at least 1"
            raise UserError("MultiAdapterRecognizer", expected=expected, found=found)
        self.batch_size = batch_size
        self.adapters: dict[str, Adapter] = {}
        self._weights: dict[str, dict] = {}
        self._heads: dict[str, dict] = {}
        self._mesh = make_mesh()
        for name, file in files.items():
            adapter, weights = read_adapter(file)
            if not self.adapters:
                self._load_backbone(adapter, backbone)
            self._check_compatible(name, adapter)
            self.adapters[name] = adapter
            self._put_adapter(name, weights)
        self.recognizers = {
            name: Recognizer.from_adapter(
                adapter, functools.partial(self._single_adapter, name), self._model(name)
            )
            for name, adapter in self.adapters.items()
        }

    def _load_backbone(self, adapter: Adapter, override: str) -> None:
        self._cfg = _shared_sizes(adapter.model)
        tower = FrozenBackbone.load(
            self._cfg,
            resolve_backbone(adapter.backbone, override),
            resize_positions=adapter.config["resize_positions"],
        )
        self._graphdef, self._identity = tower.graphdef, tower.identity_adapter
        # The model has a head, which the program for features does not use.
        head = {name: tower.identity_adapter[f"head/{name}"] for name in ("kernel", "bias")}
        self._frozen = self._put({**tower.frozen, "head": head})
        self._features = _make_features(tower.graphdef, self._mesh)
        self._classify = jax.jit(traced_under(self._mesh, _classify))

    @functools.cached_property
    def _identity_adapter(self) -> dict:
        """Identity adapter on the devices, shared by all files with a linear probe."""
        return self._put(self._identity)

    def _put(self, tree: Mapping) -> dict:
        return jax.device_put(dict(tree), replicated(self._mesh))

    def _put_adapter(self, name: str, weights: Mapping[str, np.ndarray]) -> None:
        identity = self._identity_adapter if self.adapters[name].config["tune"] == "head" else {}
        own = self._put(to_params(weights, self._cfg))
        self._weights[name] = unflatten_dict(identity | own, sep="/")
        self._heads[name] = self._weights[name].pop("head")

    def _model(self, name: str) -> DSTAdapter:
        own = self._weights[name] | {"head": self._heads[name]}
        frozen = {part: weights for part, weights in self._frozen.items() if part != "head"}
        model = nnx.merge(self._graphdef, own, frozen)
        model.cfg = self.adapters[name].model  # with the number of classes of its own head
        return model

    def _check_compatible(self, name: str, adapter: Adapter) -> None:
        first, expected = next(iter(self.adapters.items()), (name, adapter))
        if adapter.backbone.sha256 != expected.backbone.sha256:
            raise AdapterError(
                f"{name}: backbone",
                expected=f"SHA-256 {expected.backbone.sha256}, as in {first}",
                found=f"{adapter.backbone.sha256} ({adapter.backbone.source})",
                advice=ADVICE,
            )
        sizes = (dataclasses.asdict(_shared_sizes(a.model)) for a in (expected, adapter))
        for (field, wanted), (_, found) in zip(*(size.items() for size in sizes), strict=True):
            if found != wanted:
                raise AdapterError(
                    f"{name}: model.{field}",
                    expected=f"{wanted!r}, as in {first}",
                    found=repr(found),
                    advice=ADVICE,
                )

    def warm_up(self) -> None:
        """Compile all programs, so that no call has to wait for it."""
        side = self._cfg.input_resolution
        clip = np.zeros((1, self._cfg.num_frames, side, side, 3), np.uint8)
        for name in self.adapters:
            self.probabilities(clip, [name])

    def probabilities(self, clips: np.ndarray, adapter_names: Sequence[str]) -> list[np.ndarray]:
        """Class probabilities of each clip by its adapter.

        Args:
            clips: Views `(B, T, R, R, 3)` uint8 from `preprocess`.
            adapter_names: B names.

        Returns:
            B arrays `(classes of the adapter,)` float32.

        Raises:
            UserError: A name is unknown, or the numbers of clips and names differ.
        """
        for name in adapter_names:
            if name not in self.adapters:
                expected = f"one of {', '.join(self.adapters)}"
                raise UserError("adapter_names", expected=expected, found=repr(name))
        if len(clips) != len(adapter_names) or clips.dtype != np.uint8:
            raise UserError(
                "clips",
                expected=f"uint8 clips, one for each of {len(adapter_names)} names",
                found=f"{clips.dtype} of shape {clips.shape}",
            )
        rows = []
        for start in range(0, len(clips), self.batch_size):
            batch = slice(start, start + self.batch_size)
            rows += self._run_batch(clips[batch], adapter_names[batch])
        return rows

    def _run_batch(self, clips: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
        padding = self.batch_size - len(clips)
        padded = np.concatenate([clips, np.zeros((padding, *clips.shape[1:]), np.uint8)])
        adapters = tuple(self._weights[name] for name in (*names, *[names[0]] * padding))
        features = self._features(adapters, self._frozen, put_batch(self._mesh, padded))
        # Heads differ in their number of classes. Each is applied to the whole batch, at little
        # cost, so that its program does not depend on the number of its rows.
        scores = {
            name: np.asarray(self._classify(self._heads[name], features)) for name in set(names)
        }
        return [scores[name][row] for row, name in enumerate(names)]

    def _single_adapter(self, name: str, clips: np.ndarray) -> np.ndarray:
        return np.stack(self.probabilities(clips, [name] * len(clips)))


def _shared_sizes(cfg: ModelConfig) -> ModelConfig:
    """Sizes that all adapters share: without the classes and the settings of training."""
    return dataclasses.replace(cfg, num_classes=1, dropout=0.0, remat="none")


def _make_features(
    graphdef: nnx.GraphDef, mesh: Mesh
) -> Callable[[tuple[dict, ...], dict, jax.Array], jax.Array]:
    """Compile `(B adapters, frozen, (B, T, R, R, 3) uint8) -> (B, d)` features."""

    def with_adapter(adapter: dict, frozen: dict, clips: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, adapter, frozen).features(normalize(clips))

    def features(adapters: tuple[dict, ...], frozen: dict, clips: jax.Array) -> jax.Array:
        if len(adapters) == 1:  # without vmap: bit-identical to a `Recognizer`
            return with_adapter(adapters[0], frozen, clips)
        stacked = jax.tree.map(lambda *weights: jnp.stack(weights), *adapters)
        rows = jax.vmap(lambda adapter, clip: with_adapter(adapter, frozen, clip[None])[0])
        return rows(stacked, clips)

    return jax.jit(traced_under(mesh, features))


def _classify(head: dict, features: jax.Array) -> jax.Array:
    """Probabilities of the model's head: `(B, d)` -> `(B, classes)`."""
    return jax.nn.softmax(features @ head["kernel"] + head["bias"])
