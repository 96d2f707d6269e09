"""Opening datasets that `python -m tfds_builders` has built."""

import pathlib

import tensorflow_datasets as tfds

from dstadapter_jax.cli.defaults import default_data_dir
from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.signer_folds import leave_one_out
from dstadapter_jax.errors import ConfigError


def open_dataset(name: str, data_dir: str, test_signer: str = "") -> ClipDataset:
    """Open the newest version of a dataset such as `recordings/frames`.

    Args:
        name: `DATASET/CONFIG`.
        data_dir: Folder that the dataset was built in; empty for the default of TFDS.
        test_signer: Test signer of the splits of `leave_one_out`; empty for the original splits.

    Raises:
        UserError: The dataset is not built there, or can't be regrouped.
    """
    if name.count("/") != 1:
        raise ConfigError("config.data.name", expected="DATASET/CONFIG", found=repr(name))
    place = pathlib.Path(data_dir or default_data_dir()).expanduser()
    folder = place / name
    versions = [path.parent for path in folder.glob("*.*.*/dataset_info.json")]
    if not versions:
        build = f"python -m tfds_builders {name} --manual_dir SRC"
        if place != default_data_dir():
            build += f" --data_dir {place}"
        raise ConfigError(
            "config.data.dir",
            problem=f"no built dataset in {folder}",
            advice=f"Build it with `{build}`, or pass its folder: --config.data.dir=OUT in"
            " training, --data_dir OUT in evaluation.",
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
