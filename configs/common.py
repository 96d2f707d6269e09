"""Every field of a training run, once, with the reference's recipe where it is common to all.

The other files of this folder state only what differs. Any field can be set on the command line,
`--config.optimizer.learning_rate=5e-4`; one that isn't named here is refused.
"""

import dataclasses

from ml_collections import ConfigDict

from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.models.config import ModelConfig

# The published backbones: sizes, clips per device, and OpenAI's weights as safetensors: file and
# commit on the Hugging Face hub.
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
    """The common recipe; an experiment sets at least the dataset and its number of classes."""
    sizes, batch_size, pretrained, revision = VARIANTS[variant]
    config = ConfigDict()
    config.seed = 0  # of weights, dropout, shuffling and augmentation

    # Sizes of the network, explained in dstadapter_jax/model_config.py.
    config.model = ConfigDict(dataclasses.asdict(sizes(num_classes=1)))
    config.model.dtype = "bfloat16"  # mixed precision, as the reference; float32 is faster on CPUs

    # Backbone: path of a .safetensors or .npz file or hf:REPO[/FILE]; empty = random, for tests.
    config.pretrained = pretrained
    config.pretrained_revision = revision  # commit of the Hugging Face repository
    config.resize_positions = False  # whether to fit positions of another resolution, bicubically
    config.tune = "adapter"  # what is trained: adapter | head | full

    config.num_epochs = 100
    config.batch_size = batch_size  # clips per device, as in the reference's table
    # Gradients averaged for an update: more of them on fewer devices make the same effective batch,
    # batch_size x devices x this, with the same result.
    config.gradient_accumulation_steps = 1
    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 1e-3  # peak; cosine to 0, stepped once an epoch
    config.optimizer.weight_decay = 0.01  # of all that is trained but embeddings and LayerNorms

    config.validate_every_epochs = 5
    config.validate_last_epochs = 10  # validate after each of the last so many epochs
    config.log_every_steps = 50

    config.wandb_project = ""  # of Weights & Biases, whose package must be installed; empty = none
    # Fields, as NAME,GROUP.NAME, that may differ from what a run began with when it goes on; others
    # that shape it are refused. Of the changed ones the checkpoints then hold the new values. The
    # word `dataset` stands for another build of it, with the same labels and numbers of clips.
    config.allow_changed = ""

    config.data = ConfigDict()
    config.data.name = ""  # DATASET/CONFIG as python -m tfds_builders names it
    config.data.dir = ""  # its --data_dir
    # Leave-one-signer-out: this signer's clips are the test, the next one's validation, all others'
    # train, whatever splits they are in. Empty = the dataset's own splits.
    config.data.test_signer = ""
    config.data.decoder = "pyav"  # or decord; for the `original` storages
    config.data.num_threads = 16  # that decode and augment, in each process

    # Sampling and augmentation, explained in dstadapter_jax/preprocess.py; the number of frames and
    # the resolution are the model's.
    config.preprocess = ConfigDict(dataclasses.asdict(PreprocessConfig()))
    del config.preprocess.num_frames, config.preprocess.resolution

    # Devices along each axis, of all hosts; -1 = all that the other leaves.
    config.mesh = ConfigDict()
    config.mesh.data = -1  # splits the batch
    config.mesh.fsdp = 1  # splits the batch, the weights and the optimizer state
    return config.lock()
