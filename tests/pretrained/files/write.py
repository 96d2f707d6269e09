"""Write the PyTorch files beside this script, with PyTorch and MMEngine.

    python -m venv .venv-reference
    .venv-reference/bin/pip install -r requirements-reference-dev.txt
    .venv-reference/bin/python tests/pretrained/files/write.py

`mmengine.pth` is the checkpoint of two epochs by MMEngine's `Runner`: `state_dict` under the
reference's names, `meta`, `optimizer`, `param_schedulers` and a `message_hub` with `HistoryBuffer`
objects. `old_format.pth` and `torchscript.pt` hold the same weights, `state.npz` as NumPy saves
them.
"""

import pathlib
import shutil
import tempfile

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

WIDTH, LAYERS, FRAMES, PATCH, GRID, CLASSES = 16, 2, 2, 4, 2, 3


def shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the reference's parameters."""
    d, r = WIDTH, WIDTH // 16
    norm = {"weight": (d,), "bias": (d,)}
    adapter = {"fc1.weight": (r, d), "fc1.bias": (r,), "conv.bias": (r,)}
    adapter |= {"fc2.weight": (d, r), "fc2.bias": (d,)}
    adapter |= {"caf.fc.0.weight": (r, d), "caf.fc.2.weight": (d, r)}
    parts = {
        **{"attn.in_proj_weight": (3 * d, d), "attn.in_proj_bias": (3 * d,)},
        **{"attn.out_proj.weight": (d, d), "attn.out_proj.bias": (d,)},
        **{f"{part}.{name}": shape for part in ("ln_1", "ln_2") for name, shape in norm.items()},
        **{"mlp.c_fc.weight": (4 * d, d), "mlp.c_fc.bias": (4 * d,)},
        **{"mlp.c_proj.weight": (d, 4 * d), "mlp.c_proj.bias": (d,)},
        **{f"{part}.{n}": s for part in ("t_adapter", "s_adapter") for n, s in adapter.items()},
        **{"t_adapter.conv.weight": (r, 1, 3, 1, 1), "s_adapter.conv.weight": (r, 1, 1, 1, 1)},
    }
    top = {"class_embedding": (d,), "positional_embedding": (1 + GRID**2, d)}
    top |= {"temporal_embedding": (1, FRAMES, d), "conv1.weight": (d, 3, PATCH, PATCH)}
    top |= {f"{part}.{name}": s for part in ("ln_pre", "ln_post") for name, s in norm.items()}
    for layer in range(LAYERS):
        top |= {f"transformer.resblocks.{layer}.{name}": shape for name, shape in parts.items()}
    head = {"cls_head.fc_cls.weight": (CLASSES, d), "cls_head.fc_cls.bias": (CLASSES,)}
    return {f"backbone.{name}": shape for name, shape in top.items()} | head


class Weights(BaseModel):
    """The reference's parameters with random values, in modules of the same names."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in shapes().items():
            *parents, leaf = name.split(".")
            module: torch.nn.Module = self
            for parent in parents:
                if parent not in module._modules:
                    module.add_module(parent, torch.nn.Module())
                module = module._modules[parent]
            values = torch.randn(shape, generator=generator) * 0.2
            trained = any(part in name for part in ("adapter", "cls_head", "temporal", "ln_post"))
            module.register_parameter(leaf, torch.nn.Parameter(values, requires_grad=trained))

    def forward(self, inputs: torch.Tensor, mode: str) -> dict[str, torch.Tensor]:
        """Return a loss that has a gradient for every trained parameter."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return {"loss": sum((p - inputs.mean()).square().mean() for p in trained)}


def train(folder: pathlib.Path) -> pathlib.Path:
    """Train for two epochs and return the checkpoint."""
    rows = [{"inputs": torch.full((2,), value)} for value in (0.0, 1.0, 2.0)]
    Runner(
        model=Weights(),
        work_dir=str(folder),
        train_dataloader=torch.utils.data.DataLoader(rows),
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 1e-2}},
        param_scheduler={"type": "CosineAnnealingLR", "T_max": 2},
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1}},
        randomness={"seed": 0},
    ).train()
    return folder / "epoch_2.pth"


def scripted(state: dict[str, torch.Tensor]) -> torch.jit.ScriptModule:
    """A TorchScript module with OpenAI's names in half precision, as OpenAI publishes CLIP."""
    root = torch.nn.Module()
    for name, values in state.items():
        if not name.startswith("backbone.") or "adapter" in name or "temporal" in name:
            continue
        *parents, leaf = name.replace("backbone.", "visual.").split(".")
        module = root
        for parent in parents:
            if parent not in module._modules:
                module.add_module(parent, torch.nn.Module())
            module = module._modules[parent]
        module.register_parameter(leaf, torch.nn.Parameter(values.half()))
    return torch.jit.script(root)


def write_files(folder: pathlib.Path) -> None:
    """Write all files into a folder."""
    with tempfile.TemporaryDirectory() as workdir:
        shutil.copy(train(pathlib.Path(workdir)), folder / "mmengine.pth")
    checkpoint = torch.load(folder / "mmengine.pth", weights_only=False)
    state = checkpoint["state_dict"]
    np.savez(folder / "state.npz", **{name: values.numpy() for name, values in state.items()})
    old = folder / "old_format.pth"
    torch.save({"state_dict": state}, old, _use_new_zipfile_serialization=False)
    torch.jit.save(scripted(state), folder / "torchscript.pt")


if __name__ == "__main__":
    write_files(pathlib.Path(__file__).parent)
