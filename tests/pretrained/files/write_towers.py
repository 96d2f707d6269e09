"""Write `towers.npz` and `sizes.json` beside this script, with timm, transformers and open_clip.

    .venv-reference/bin/python tests/pretrained/files/write_towers.py

`towers.npz` has small image towers of the three libraries with random weights and either
activation: `NAME/weights/PARAMETER`, a normalized image `NAME/image` (H, W, 3), and the class token
after the last norm, `NAME/feature`. `sizes.json` has names and shapes of the parameters of
open_clip's towers by model, with `{i}` for the number of a block, and the number of blocks.
"""

import json
import pathlib
import re

import numpy as np
import open_clip
import timm
import torch
import transformers

FOLDER = pathlib.Path(__file__).parent
MODELS = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "ViT-H-14")


def tower_of_open_clip(activation: str) -> tuple[torch.nn.Module, str]:
    layer = {"quick_gelu": open_clip.transformer.QuickGELU, "gelu": torch.nn.GELU}[activation]
    tower = open_clip.transformer.VisionTransformer(
        image_size=8, patch_size=4, width=16, layers=2, heads=2, mlp_ratio=4.0, act_layer=layer
    )
    tower.proj = None
    return tower, "visual."


def tower_of_timm(activation: str) -> tuple[torch.nn.Module, str]:
    layer = {"quick_gelu": timm.layers.QuickGELU, "gelu": torch.nn.GELU}[activation]
    return timm.models.vision_transformer.VisionTransformer(
        **{"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2},
        **{
            "num_classes": 0,
            "pre_norm": True,
            "act_layer": layer,
            "norm_layer": torch.nn.LayerNorm,
        },
        global_pool="token",
    ), ""


def tower_of_transformers(activation: str) -> tuple[torch.nn.Module, str]:
    config = transformers.CLIPVisionConfig(
        **{"image_size": 8, "patch_size": 4, "hidden_size": 16, "intermediate_size": 64},
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": activation},
    )
    return transformers.CLIPVisionModel(config), ""


def randomize(tower: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            values = torch.randn(parameter.shape, generator=generator) * 0.3
            norm = re.search(r"(ln_|norm|layrnorm)\w*\.weight", name) is not None
            parameter.copy_(values + norm)


def feature(tower: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """The class token after the last norm, float64."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    with torch.no_grad():
        found = tower.double().eval()(pixels)
    return (found if torch.is_tensor(found) else found.pooler_output).numpy()[0]


def main() -> None:
    """Write both files."""
    arrays = {}
    for library, make in {
        "open_clip": tower_of_open_clip,
        "timm": tower_of_timm,
        "transformers": tower_of_transformers,
    }.items():
        for activation in ("quick_gelu", "gelu"):
            tower, prefix = make(activation)
            randomize(tower)
            name = f"{library}_{activation}"
            image = np.random.default_rng(0).normal(size=(8, 8, 3)).astype(np.float32)
            for key, value in tower.state_dict().items():
                if value.is_floating_point():
                    arrays[f"{name}/weights/{prefix}{key}"] = value.numpy().astype(np.float32)
            arrays |= {f"{name}/image": image, f"{name}/feature": feature(tower, image)}
    np.savez_compressed(FOLDER / "towers.npz", **arrays)
    sizes = {}
    for name in MODELS:
        sizes_of = open_clip.get_model_config(name)["vision_cfg"]
        heads = sizes_of["width"] // sizes_of.get("head_width", 64)
        names = ("image_size", "patch_size", "width", "layers")
        with torch.device("meta"):
            tower = open_clip.transformer.VisionTransformer(
                **{key: sizes_of[key] for key in names}, heads=heads, mlp_ratio=4.0
            )
        shapes = {f"visual.{key}": list(value.shape) for key, value in tower.state_dict().items()}
        blocks = {re.sub(r"resblocks\.\d+", "resblocks.{i}", key): s for key, s in shapes.items()}
        sizes[name] = {"layers": sizes_of["layers"], "heads": heads, "shapes": blocks}
    (FOLDER / "sizes.json").write_text(json.dumps(sizes, indent=1) + "\n")


if __name__ == "__main__":
    main()
