#!/usr/bin/env python3
"""Trains the bundled gallery: four kinds of tiny image models, of scikit-learn's 8×8 digits.

    python tools/train_gallery.py [ddpm | vq | imagegpt | gan | judge ...]     # none named: all

Needs torch, diffusers, transformers and scikit-learn; minutes of one core each. `imagegpt` learns
the tokens of `vq`, so that comes first. Writes python/genfast/data/gallery/, in bfloat16, and the
classifier that the tests judge samples with, tests/goldens/digits_judge.npz.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DModel, VQModel
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn
from transformers import ImageGPTConfig, ImageGPTForCausalImageModeling

ROOT = Path(__file__).resolve().parents[1]
GALLERY = ROOT / "python/genfast/data/gallery"
JUDGE = ROOT / "tests/goldens/digits_judge.npz"
CODES, CLASSES, SIDE = 64, 10, 4  # SIDE: of the grid of tokens


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images [1797, 1, 8, 8] in [-1, 1], labels."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1
    return images, torch.tensor(data.target)


class Average:
    """An exponential average of a model's weights, which is what samples well."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = copy.deepcopy(model).eval(), decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        for mine, new in zip(self.model.parameters(), model.parameters(), strict=True):
            mine.lerp_(new, 1 - self.decay)
        for mine, new in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(new)


def batches(count: int, size: int, steps: int, name: str):
    """Indices of `steps` random batches; says now and then how it goes."""
    start = time.monotonic()
    for step in range(steps):
        if step and step % 250 == 0:
            print(f"{name}: {step}/{steps} {time.monotonic() - start:.0f} s", flush=True)
        yield step, torch.randint(count, (size,))


def schedule(optimiser, steps: int):
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=[g["lr"] for g in optimiser.param_groups], total_steps=steps + 1
    )


def write(directory: Path, model: nn.Module, config: dict, weights: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors = {n: t.detach().to(torch.bfloat16).contiguous() for n, t in tensors_of(model).items()}
    save_file(tensors, directory / weights, metadata={"format": "pt"})


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t for n, t in model.state_dict().items() if t.is_floating_point()}


def diffusers_config(model) -> dict:
    return {"_class_name": type(model).__name__, **dict(model.config)}


def write_index(directory: Path, class_name: str, **parts) -> None:
    index = {"_class_name": class_name, **parts}
    (directory / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")


def train_ddpm(steps: int) -> None:
    images, labels = digits()
    model = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 48),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        attention_head_dim=12,
        norm_num_groups=8,
        num_class_embeds=CLASSES,
    )
    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    rate, average = schedule(optimiser, steps), Average(model, 0.995)
    for _, i in batches(len(images), 48, steps, "ddpm"):
        x, noise, t = images[i], torch.randn(len(i), 1, 8, 8), torch.randint(1000, (len(i),))
        noisy, target = scheduler.add_noise(x, noise, t), scheduler.get_velocity(x, noise, t)
        loss = F.mse_loss(model(noisy, t, class_labels=labels[i]).sample, target)
        step_of(optimiser, rate, loss, model)
        average.update(model)
    directory = fresh("ddpm")
    unet = average.model
    write(directory / "unet", unet, diffusers_config(unet), "diffusion_pytorch_model.safetensors")
    scheduler.save_pretrained(directory / "scheduler")
    write_index(
        directory,
        "DDPMPipeline",
        unet=["diffusers", "UNet2DModel"],
        scheduler=["diffusers", "DDIMScheduler"],
    )


def step_of(optimiser, rate, loss: torch.Tensor, model: nn.Module) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    rate.step()


def train_vq(steps: int) -> None:
    images, _ = digits()
    model = VQModel(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        latent_channels=8,
        sample_size=8,
        num_vq_embeddings=CODES,
        vq_embed_dim=8,
        norm_num_groups=8,
        scaling_factor=1.0,
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0)
    rate, average = schedule(optimiser, steps), Average(model, 0.99)
    used = torch.zeros(CODES)
    for step, i in batches(len(images), 64, steps, "vq"):
        x = images[i]
        h = model.encode(x).latents
        codes, commitment, (_, _, ids) = model.quantize(h)
        loss = F.mse_loss(model.decode(codes, force_not_quantize=True).sample, x) + commitment
        step_of(optimiser, rate, loss, model)
        average.update(model)
        used += torch.bincount(ids.flatten(), minlength=CODES)
        if step < steps // 2 and step % 100 == 99:  # a code nobody uses begins again somewhere
            dead = used < 2
            vectors = h.detach().permute(0, 2, 3, 1).reshape(-1, 8)
            table = model.quantize.embedding.weight.data
            table[dead] = vectors[torch.randint(len(vectors), (int(dead.sum()),))]
            used.zero_()
    model = average.model
    with torch.no_grad():
        error = F.mse_loss(model(images).sample, images)
    print(f"vq: mean squared error {error:.4f}")
    directory = fresh("imagegpt")
    write(
        directory / "vqvae", model, diffusers_config(model), "diffusion_pytorch_model.safetensors"
    )


@torch.no_grad()
def tokens_of(images: torch.Tensor) -> torch.Tensor:
    """[N, 16] codes, row by row."""
    model = VQModel.from_pretrained(GALLERY / "imagegpt/vqvae").float()
    return model.quantize(model.encode(images).latents)[2][2].reshape(len(images), SIDE * SIDE)


def train_imagegpt(steps: int) -> None:
    images, labels = digits()
    tokens = torch.cat([CODES + labels[:, None], tokens_of(images)], dim=1)
    config = ImageGPTConfig(
        vocab_size=CODES + CLASSES + 1,
        n_positions=SIDE * SIDE + 1,
        n_embd=96,
        n_layer=3,
        n_head=4,
        resid_pdrop=0.1,
        embd_pdrop=0.1,
        attn_pdrop=0.1,
    )
    model = ImageGPTForCausalImageModeling(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    rate, average = schedule(optimiser, steps), Average(model, 0.995)
    held = torch.arange(len(tokens)) % 10 == 0
    known = tokens[~held]
    for step, i in batches(len(known), 64, steps, "imagegpt"):
        logits = model(known[i]).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), known[i][:, 1:].flatten())
        step_of(optimiser, rate, loss, model)
        average.update(model)
        if step % 500 == 499:
            with torch.no_grad():
                logits = average.model(tokens[held]).logits[:, :-1]
                nll = F.cross_entropy(logits.flatten(0, 1), tokens[held][:, 1:].flatten())
            print(f"imagegpt: loss {loss:.3f}, held out {nll:.3f}", flush=True)
    directory = GALLERY / "imagegpt"
    fields = {k: v for k, v in config.to_diff_dict().items() if k != "transformers_version"}
    fields = {"model_type": "imagegpt", **fields}
    write(directory / "transformer", average.model, fields, "model.safetensors")
    # One digit of each class as tokens: what the VQ-VAE alone shows.
    first = [int((labels == c).nonzero()[0]) for c in range(CLASSES)]
    write_index(
        directory,
        "ImageTokensPipeline",
        transformer=["transformers", "ImageGPTForCausalImageModeling"],
        vqvae=["diffusers", "VQModel"],
        classes=CLASSES,
        first_class_token=CODES,
        examples=tokens[first, 1:].tolist(),
    )


def generator() -> nn.Module:
    """DCGAN's (Radford et al., 2015), from 2×2 to 8×8, told the class beside the noise."""
    model = nn.Module()
    model.main = nn.Sequential(
        nn.ConvTranspose2d(16 + CLASSES, 64, 2, 1, 0, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    return model


class Critic(nn.Module):
    """Whether an image is real, and which digit it shows."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.body = nn.Sequential(
            norm(nn.Conv2d(1, 32, 3, 1, 1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(32, 64, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(64, 64, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
        )
        self.real = norm(nn.Linear(256, 1))
        self.embed = norm(nn.Embedding(CLASSES, 256))
        self.digit = nn.Linear(256, CLASSES)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.body(x)
        return self.real(h)[:, 0] + (self.embed(y) * h).sum(1), self.digit(h)


def latents(labels: torch.Tensor) -> torch.Tensor:
    z = torch.cat([torch.randn(len(labels), 16), F.one_hot(labels, CLASSES).float()], dim=1)
    return z[:, :, None, None]


def train_gan(steps: int) -> None:
    images, labels = digits()
    model, critic = generator(), Critic()
    for_model = torch.optim.Adam(model.parameters(), lr=4e-4, betas=(0.0, 0.99))
    for_critic = torch.optim.Adam(critic.parameters(), lr=8e-4, betas=(0.0, 0.99))
    average = Average(model, 0.998)
    for _, i in batches(len(images), 64, steps, "gan"):
        x, y = images[i] + 0.05 * torch.randn(len(i), 1, 8, 8), labels[i]
        fake = model.main(latents(y)).detach()
        (real, digit), (false, _) = critic(x, y), critic(fake, y)
        loss = F.relu(1 - real).mean() + F.relu(1 + false).mean() + F.cross_entropy(digit, y)
        for_critic.zero_grad()
        loss.backward()
        for_critic.step()
        y = torch.randint(CLASSES, (64,))
        false, digit = critic(model.main(latents(y)), y)
        loss = -false.mean() + 0.5 * F.cross_entropy(digit, y)
        for_model.zero_grad()
        loss.backward()
        for_model.step()
        average.update(model)
    config = {
        "model_type": "dcgan",
        "latent_size": 16,
        "num_classes": CLASSES,
        "channels": [64, 32, 1],
        "kernel_sizes": [2, 4, 4],
        "strides": [1, 2, 2],
        "paddings": [0, 1, 1],
    }
    write(fresh("gan"), average.model, config, "model.safetensors")


def train_judge(steps: int) -> None:
    """A classifier of held-out accuracy around 0.98: two layers, as NumPy arrays."""
    images, labels = digits()
    held = torch.arange(len(images)) % 5 == 0
    x, y = images[~held].flatten(1), labels[~held]
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, CLASSES))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    rate = schedule(optimiser, steps)
    for _, i in batches(len(x), 64, steps, "judge"):
        loss = F.cross_entropy(model(x[i] + 0.2 * torch.randn(len(i), 64)), y[i])
        step_of(optimiser, rate, loss, model)
    right = (model(images[held].flatten(1)).argmax(1) == labels[held]).float().mean()
    print(f"judge: {right:.4f} of held-out digits")
    names = ("w0", "b0", "w1", "b1")
    arrays = {n: p.detach().numpy() for n, p in zip(names, model.parameters(), strict=True)}
    np.savez_compressed(JUDGE, accuracy=np.float32(right), **arrays)


def fresh(name: str) -> Path:
    directory = GALLERY / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


TRAINERS = {
    "judge": (train_judge, 2000),
    "vq": (train_vq, 1000),
    "imagegpt": (train_imagegpt, 1000),
    "gan": (train_gan, 3000),
    "ddpm": (train_ddpm, 1600),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TRAINERS))
    parser.add_argument("--steps", type=int, help="fewer, to try")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names or TRAINERS:
        torch.manual_seed(0)
        train, steps = TRAINERS[name]
        train(args.steps or steps)


if __name__ == "__main__":
    main()
