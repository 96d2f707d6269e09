"""Every config field of a training run, with the reference's recipe as default.

The other files of this folder state only the differences. Any field can be set on the command line,
`--config.optimizer.learning_rate=5e-4`; a field that is not defined here is an error.
"""

import dataclasses

from ml_collections import ConfigDict

from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.models.config import ModelConfig

# Published backbones: sizes, batch size per device, and OpenAI's weights as safetensors (file and
# commit on the Hugging Face hub).
VARIANTS = {
    "vit_b16": (
        ModelConfig.vit_b16,
        16,
        "hf:timm/vit_base_patch16_clip_224.openai/open_clip_model.safetensors",
        "977e3dd0ec55ab8da155f2fbeb6b5f54948b6e3d",
    ),
    "vit_l14": (
        ModelConfig.vit_l14,
        8,
        "hf:openai/clip-vit-large-patch14/model.safetensors",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
    ),
}


def get_config(variant: str = "vit_b16") -> ConfigDict:
    """The common recipe; experiments set at least the dataset and its number of classes."""
    sizes, batch_size, pretrained, revision = VARIANTS[variant]
    config = ConfigDict()
    config.seed = 0  # seed of weights, dropout, shuffling and augmentation

    # Architecture, explained in dstadapter_jax/models/config.py.
    config.model = ConfigDict(dataclasses.asdict(sizes(num_classes=1)))
    config.model.activation = ""  # quick_gelu | gelu; empty: that of the backbone
    config.model.dtype = (
        "bfloat16"  # mixed precision, as in the reference; float32 is faster on CPUs
    )

    # Backbone: a .safetensors, .npz or PyTorch file, or hf:REPO[/FILE]; empty for random weights.
    config.pretrained = pretrained
    config.pretrained_revision = revision  # commit of the Hugging Face repository
    config.resize_positions = False  # interpolate positional embeddings of another resolution
    config.tune = "adapter"  # trainable weights: adapter | head (linear probe) | full

    config.num_epochs = 100
    config.batch_size = batch_size  # clips per device, as in the reference's table
    # Microbatches whose gradients are averaged for an update. The global batch size is this times
    # batch_size times devices; equal global batches give equal results.
    config.gradient_accumulation_steps = 1
    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 1e-3  # peak; cosine decay to 0, stepped once an epoch
    config.optimizer.base_batch_size = batch_size  # clips per update that this rate is meant for
    config.optimizer.weight_decay = 0.01  # embeddings and LayerNorms have none

    config.validate_every_epochs = 5
    config.validate_last_epochs = 10  # number of last epochs that are all validated
    config.log_every_steps = 50

    config.wandb_project = ""  # Weights & Biases project (needs the package wandb); empty for none
    # Fields, as NAME,GROUP.NAME, that may differ from the checkpoint's when a run resumes; later
    # checkpoints hold the new values. A difference in other fields that affect the result is an
    # error. `dataset` allows another build of the dataset, with equal labels and clip counts.
    config.allow_changed = ""

    config.data = ConfigDict()
    config.data.name = ""  # DATASET/CONFIG, as in `python -m tfds_builders DATASET/CONFIG`
    # Folder of built datasets, the --data_dir of that command; empty for the default of TFDS:
    # TFDS_DATA_DIR, or else ~/tensorflow_datasets.
    config.data.dir = ""
    # Leave-one-signer-out: this signer's clips are the test split, the next signer's the validation
    # split, all others' the training split. Empty for the dataset's own splits.
    config.data.test_signer = ""
    config.data.decoder = "pyav"  # pyav | decord, for `original` storages
    config.data.num_threads = 16  # threads per process that decode and augment

    # Sampling and augmentation, explained in dstadapter_jax/data/preprocess.py. The model has
    # the number of frames and the resolution.
    config.preprocess = ConfigDict(dataclasses.asdict(PreprocessConfig()))
    del config.preprocess.num_frames, config.preprocess.resolution

    # Devices along each axis of the mesh, over all hosts; -1 for all that the other axis leaves.
    config.mesh = ConfigDict()
    config.mesh.data = -1  # shards the batch
    config.mesh.fsdp = 1  # shards the batch, the weights and the optimizer state
    return config.lock()
