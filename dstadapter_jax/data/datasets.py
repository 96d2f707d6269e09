"""Datasets that `python -m tfds_builders` has built, opened for random access."""

import pathlib

import tensorflow_datasets as tfds

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.signer_folds import leave_one_out


def open_dataset(name: str, data_dir: str, test_signer: str = "") -> ClipDataset:
    """Opens the newest version of a dataset such as `recordings/frames`.

    Args:
        name: `DATASET/CONFIG`.
        data_dir: The folder that it was built in.
        test_signer: Whose clips are the test, for all clips to be regrouped as in `leave_one_out`;
            empty for the splits as they were built.

    Raises:
        ValueError: It hasn't been built there, or can't be regrouped so.
    """
    if name.count("/") != 1:
        raise ValueError(f"config.data.name: expected DATASET/CONFIG, found {name!r}.")
    build = f"python -m tfds_builders {name} --manual_dir SRC --data_dir OUT"
    if not data_dir:
        raise ValueError(
            f"config.data.dir is empty: expected the folder that `{build}` wrote to."
            " Pass --config.data.dir=OUT."
        )
    folder = pathlib.Path(data_dir).expanduser() / name
    versions = [path.parent for path in folder.glob("*.*.*/dataset_info.json")]
    if not versions:
        raise ValueError(
            f"config.data.dir: no built dataset in {folder}. Build it with `{build}`, or say where"
            " it is: --config.data.dir=OUT in training, --data_dir OUT in evaluation."
        )
    newest = max(versions, key=lambda path: tfds.core.Version(path.name))
    builder = tfds.builder_from_directory(newest)
    dataset = ClipDataset(
        builder=builder,
        label_names=tuple(builder.info.features["label"].names),
        num_clips={name: info.num_examples for name, info in builder.info.splits.items()},
        metadata=builder.info.metadata or {},
    )
    return leave_one_out(dataset, test_signer) if test_signer else dataset
