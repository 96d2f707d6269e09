"""Many sign languages over one frozen backbone: adapter files by name, one compiled program."""

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
from dstadapter_jax.data.preprocess import normalize
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.parallel.mesh import make_mesh, put_batch, replicated, traced_under
from dstadapter_jax.pretrained.backbone import FrozenBackbone, resolve_backbone
from dstadapter_jax.pretrained.names import to_params


class MultiAdapterRecognizer:
    """Adapters by name over one backbone; rows of a batch may differ in their language.

    A row's result is the same to the last bit whatever the other rows are and whichever other
    languages there are: each row's adapter is an argument of the program, which stacks them. (A
    stack of all languages to choose from would make another program for each number of languages,
    which may round otherwise.) The program is compiled once; a language takes the memory of its own
    weights. Requests may come from many threads.

    Attributes:
        adapters: By name, what the files say of themselves.
        recognizers: By name; each answers by this predictor's one program.
        batch_size: Clips that are computed at once.
    """

    def __init__(
        self, files: Mapping[str, str | pathlib.Path], backbone: str = "", batch_size: int = 1
    ):
        """Loads adapter files and their backbone onto all devices.

        Args:
            files: By name, paths or `hf:OWNER/REPO/FILE`; at least one.
            backbone: Where the backbone's file is, if not where the first adapter says.
            batch_size: Clips that are computed at once; fewer are filled up to it. More than one
                pay on accelerators only.

        Raises:
            AdapterError: A file isn't a whole adapter file, or is for another backbone or of other
                sizes than the first.
            WeightsError: A file can't be fetched, or isn't the backbone.
            ValueError: There is no file, or a batch of none.
        """
        if not files or batch_size < 1:
            raise ValueError(
                "expected at least one adapter file and a batch_size of at least 1, found"
                f" {len(files)} files and {batch_size}."
            )
        self.batch_size = batch_size
        self.adapters: dict[str, Adapter] = {}
        self._weights: dict[str, dict] = {}
        self._heads: dict[str, dict] = {}
        self._mesh = make_mesh()
        for name, file in files.items():
            adapter, weights = read_adapter(file)
            if not self.adapters:
                self._load_tower(adapter, backbone)
            self._check_fits(name, adapter)
            self.adapters[name] = adapter
            self._place(name, weights)
        self.recognizers = {
            name: Recognizer.from_adapter(
                adapter, functools.partial(self._of_one_language, name), self._model(name)
            )
            for name, adapter in self.adapters.items()
        }

    def _load_tower(self, adapter: Adapter, backbone: str) -> None:
        self._cfg = _sizes(adapter.model)
        tower = FrozenBackbone.load(
            self._cfg,
            resolve_backbone(adapter.backbone, backbone),
            resize_positions=adapter.config["resize_positions"],
        )
        self._graphdef, self._identity = tower.graphdef, tower.identity_adapter
        # The features' program has a head, as every model, and never uses it.
        head = {name: tower.identity_adapter[f"head/{name}"] for name in ("kernel", "bias")}
        self._frozen = self._put({**tower.frozen, "head": head})
        self._features = _make_features(tower.graphdef, self._mesh)
        self._classify = jax.jit(traced_under(self._mesh, _classify))

    @functools.cached_property
    def _start(self) -> dict:
        """Adapters that change nothing, shared by all files that hold a head alone."""
        return self._put(self._identity)

    def _put(self, tree: Mapping) -> dict:
        return jax.device_put(dict(tree), replicated(self._mesh))

    def _place(self, name: str, weights: Mapping[str, np.ndarray]) -> None:
        start = self._start if self.adapters[name].config["tune"] == "head" else {}
        own = self._put(to_params(weights, self._cfg))
        self._weights[name] = unflatten_dict(start | own, sep="/")
        self._heads[name] = self._weights[name].pop("head")

    def _model(self, name: str) -> DSTAdapter:
        own = self._weights[name] | {"head": self._heads[name]}
        frozen = {part: weights for part, weights in self._frozen.items() if part != "head"}
        model = nnx.merge(self._graphdef, own, frozen)
        model.cfg = self.adapters[name].model  # of as many classes as its own head has
        return model

    def _check_fits(self, name: str, adapter: Adapter) -> None:
        first, expected = next(iter(self.adapters.items()), (name, adapter))
        if adapter.backbone.sha256 != expected.backbone.sha256:
            raise AdapterError(
                f"{name}: expected the backbone of {first}, with SHA-256"
                f" {expected.backbone.sha256}, found {adapter.backbone.sha256}"
                f" ({adapter.backbone.source}). Adapters of other backbones need another Predictor."
            )
        sizes = (dataclasses.asdict(_sizes(a.model)) for a in (expected, adapter))
        for (field, wanted), found in zip(*(size.items() for size in sizes), strict=True):
            if found != (field, wanted):
                raise AdapterError(
                    f"{name}: model.{field}: expected {wanted!r}, as in {first}, found"
                    f" {found[1]!r}. Adapters of other sizes need another Predictor."
                )

    def warm_up(self) -> None:
        """Compiles all there is to compile, so that no request has to wait for it."""
        cfg = self._cfg
        size = (cfg.num_frames, cfg.input_resolution, cfg.input_resolution, 3)
        clip = np.zeros((1, *size), np.uint8)
        for name in self.adapters:
            self.probabilities(clip, [name])

    def probabilities(self, clips: np.ndarray, languages: Sequence[str]) -> list[np.ndarray]:
        """Recognizes each clip in its language.

        Args:
            clips: Views `(B, T, R, R, 3)` uint8, as `preprocess` makes them.
            languages: B names.

        Returns:
            B arrays `(classes of that language,)`, float32.

        Raises:
            ValueError: There is no such language, or clips and languages aren't as many.
        """
        for name in languages:
            if name not in self.adapters:
                raise ValueError(
                    f"language: expected one of {', '.join(self.adapters)}, found {name!r}."
                )
        if len(clips) != len(languages) or clips.dtype != np.uint8:
            raise ValueError(
                f"expected uint8 clips, one for each of {len(languages)} languages, found"
                f" {clips.dtype} of shape {clips.shape}."
            )
        rows = []
        for start in range(0, len(clips), self.batch_size):
            batch = slice(start, start + self.batch_size)
            rows += self._of_batch(clips[batch], languages[batch])
        return rows

    def _of_batch(self, clips: np.ndarray, languages: Sequence[str]) -> list[np.ndarray]:
        rest = self.batch_size - len(clips)
        filled = np.concatenate([clips, np.zeros((rest, *clips.shape[1:]), np.uint8)])
        adapters = tuple(self._weights[name] for name in (*languages, *[languages[0]] * rest))
        features = self._features(adapters, self._frozen, put_batch(self._mesh, filled))
        # Heads differ in their number of classes: each is applied to the whole batch, which costs
        # next to nothing, so that its program's shape depends on nothing else.
        scores = {
            name: np.asarray(self._classify(self._heads[name], features)) for name in set(languages)
        }
        return [scores[name][row] for row, name in enumerate(languages)]

    def _of_one_language(self, name: str, clips: np.ndarray) -> np.ndarray:
        return np.stack(self.probabilities(clips, [name] * len(clips)))


def _sizes(cfg: ModelConfig) -> ModelConfig:
    """What all adapters of a predictor share: all but the classes and what only training uses."""
    return dataclasses.replace(cfg, num_classes=1, dropout=0.0, remat="none")


def _make_features(
    graphdef: nnx.GraphDef, mesh: Mesh
) -> Callable[[tuple[dict, ...], dict, jax.Array], jax.Array]:
    """The compiled `(B adapters, frozen, (B, T, R, R, 3) uint8) -> (B, d)` features."""

    def of_one(adapter: dict, frozen: dict, clips: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, adapter, frozen).features(normalize(clips))

    def features(adapters: tuple[dict, ...], frozen: dict, clips: jax.Array) -> jax.Array:
        if len(adapters) == 1:  # rounds as a `Recognizer` of one clip does
            return of_one(adapters[0], frozen, clips)
        stacked = jax.tree.map(lambda *weights: jnp.stack(weights), *adapters)
        rows = jax.vmap(lambda adapter, clip: of_one(adapter, frozen, clip[None])[0])
        return rows(stacked, clips)

    return jax.jit(traced_under(mesh, features))


def _classify(head: dict, features: jax.Array) -> jax.Array:
    """`(B, d)` -> `(B, classes)` probabilities, as the model's head and softmax."""
    return jax.nn.softmax(features @ head["kernel"] + head["bias"])
