"""Names of CLIP's image tower in published formats, as renamings of the reference's names."""

import dataclasses
from collections.abc import Iterable

from dstadapter_jax.pretrained.weight_table import WEIGHTS, is_adapter_weight


@dataclasses.dataclass(frozen=True)
class CheckpointFormat:
    """Names of CLIP's image tower in a published format.

    Attributes:
        title: Name of the format, for messages.
        prefix: Replacement of the reference's prefix `backbone.`.
        ignored: Pattern of complete names that the model does not use.
        renames: Pairs of a reference substring and its replacement.
    """

    title: str
    prefix: str
    ignored: str
    renames: tuple[tuple[str, str], ...] = ()

    def sources(self, reference: str) -> tuple[str, ...]:
        """Names of the tensors to concatenate along axis 0 for a reference name."""
        name = reference.removeprefix("backbone.")
        if name == reference:
            return (reference,)  # only the reference has the classifier
        for old, new in self.renames:
            name = name.replace(old, new)
        parts = "qkv" if "{qkv}" in name else ("",)
        return tuple(self.prefix + name.replace("{qkv}", part) for part in parts)


_HUGGING_FACE = (
    ("class_embedding", "embeddings.class_embedding"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("conv1.weight", "embeddings.patch_embedding.weight"),
    ("ln_pre.", "pre_layrnorm."),  # sic
    ("ln_post.", "post_layernorm."),
    ("transformer.resblocks.", "encoder.layers."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".attn.in_proj_", ".self_attn.{qkv}_proj."),
    (".attn.out_proj.", ".self_attn.out_proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)
_TIMM = (
    ("class_embedding", "cls_token"),
    ("positional_embedding", "pos_embed"),
    ("conv1.weight", "patch_embed.proj.weight"),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    ("transformer.resblocks.", "blocks."),
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    (".attn.in_proj_", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)
# The text tower, both projections, and the constants in OpenAI's archives and open_clip's files.
_OPENAI_REST = (
    r"visual\.proj|(transformer|token_embedding|ln_final)\..*|positional_embedding"
    r"|text_projection|logit_scale|input_resolution|context_length|vocab_size"
)
_HUGGING_FACE_REST = (
    r"(vision_model\.)?embeddings\.position_ids|text_model\..*|(visual|text)_projection\.weight"
    r"|logit_scale"
)

CHECKPOINT_FORMATS: tuple[CheckpointFormat, ...] = (
    CheckpointFormat("reference", "backbone.", ignored=r"(?!)"),
    CheckpointFormat("OpenAI CLIP", "visual.", ignored=_OPENAI_REST),
    CheckpointFormat("OpenAI CLIP", "", ignored="proj"),
    # Files written by transformers up to 4 carry the prefix, later ones of the vision tower do not.
    CheckpointFormat("Hugging Face CLIP", "vision_model.", _HUGGING_FACE_REST, _HUGGING_FACE),
    CheckpointFormat("Hugging Face CLIP", "", _HUGGING_FACE_REST, _HUGGING_FACE),
    CheckpointFormat("timm", "", r"head\..*", _TIMM),
)


def detect_format(names: Iterable[str]) -> CheckpointFormat | None:
    """The format that most names outside the blocks follow; None if no name follows any."""
    present = set(names)
    outside = [
        weight.reference
        for weight in WEIGHTS
        if "{i}" not in weight.reference and not is_adapter_weight(weight.reference)
    ]
    counts = [
        sum(present.issuperset(n.sources(name)) for name in outside) for n in CHECKPOINT_FORMATS
    ]
    best = counts.index(max(counts))  # the first, should a text tower's names tie
    return CHECKPOINT_FORMATS[best] if counts[best] else None
