"""Train what takes the place of a lesion.

``python -m XAIExplainLib.networks.train_replacement healthy-vae --output DIR``

Both networks see healthy brains only: the twins of the training lesions of the demo problem, after its preprocessing.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from XAIExplainLib.networks.dataset import DEFAULT_CACHE, case_set
from XAIExplainLib.networks.healthy_inpainter import HealthyInpainter
from XAIExplainLib.networks.healthy_vae import HealthyVAE
from XAIExplainLib.networks.train import augment

logger = logging.getLogger(__name__)

NETWORKS: dict[str, type[nn.Module]] = {"healthy-vae": HealthyVAE, "healthy-inpainting": HealthyInpainter}
STEPS = {"healthy-vae": 1500, "healthy-inpainting": 2000}
BATCH = {"healthy-vae": 2, "healthy-inpainting": 2}
RATE = 3e-3
NOISE = 0.5  # standard deviation of the image about its reconstruction that the autoencoder assumes, in z-scores


def blob(shape: tuple[int, ...], rng: np.random.Generator, smallest: float = 2.5, largest: float = 9.0) -> np.ndarray:
    """A round body with an uneven boundary at a random place.

    Parameters
    ----------
    shape : tuple of int
        Of the result, (k, j, i).
    rng : numpy.random.Generator
        Source of chance.
    smallest, largest : float
        Of its half axes, in voxels.

    Returns
    -------
    numpy.ndarray
        bool.
    """
    radii = rng.uniform(smallest, largest) * rng.uniform(0.75, 1.33, 3)
    centre = [rng.uniform(0.15, 0.85) * size for size in shape]
    places = [
        (np.arange(size, dtype=np.float32) - middle) / radius
        for size, middle, radius in zip(shape, centre, radii, strict=True)
    ]
    k, j, i = np.meshgrid(*places, indexing="ij", sparse=True)
    waves = [0.12 * np.sin(2 * (a * k + b * j + c * i) + phase) for a, b, c, phase in rng.uniform(-2, 2, (3, 4))]
    return np.asarray(k * k + j * j + i * i + sum(waves) < 1)


def holes(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """What an inpainter learns to fill: 4 to 9 blobs, or boxes of 10-16 voxels 8 apart on a lattice, bool."""
    if rng.random() < 0.5:
        return np.logical_or.reduce([blob(shape, rng) for _ in range(rng.integers(4, 10))])
    size = int(rng.integers(10, 17))
    along = [(np.arange(n) + rng.integers(0, size + 8)) % (size + 8) < size for n in shape]
    return np.asarray(along[0][:, None, None] & along[1][None, :, None] & along[2])


def disturbed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image with none, one or two blobs of another intensity, which the autoencoder learns to leave out."""
    result = image.copy()
    for _ in range(rng.integers(0, 3)):
        place = blob(image.shape, rng, 2.0, 6.0) & (image != 0)
        result[place] = image[place] * rng.uniform(0, 1) + rng.uniform(-3, 3)
    return result


def loss_of_vae(network: HealthyVAE, image: Tensor, given: Tensor) -> Tensor:
    """Minus the evidence lower bound for a voxel of the brain: fit of `image` from `given`, and divergence."""
    mean, log_variance = network.encode(given)
    mean, log_variance = mean.float(), log_variance.float()
    latent = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
    inside = image != 0
    difference = (network.decode(latent).float() - image)[inside]
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
    return (difference**2).mean() / (2 * NOISE**2) + divergence / inside.sum()


def loss_of_inpainter(network: HealthyInpainter, image: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute error in the holes, inside the brain."""
    filled = network(image, hole).float()
    return (filled - image)[hole & (image != 0)].abs().mean()


def train(
    name: str, images: np.ndarray, steps: int, batch: int, seed: int = 0, precision: torch.dtype = torch.bfloat16
) -> nn.Module:
    """Train one of the networks.

    Parameters
    ----------
    name : str
        ``healthy-vae`` or ``healthy-inpainting``.
    images : numpy.ndarray
        Shape (n, k, j, i), prepared healthy brains.
    steps, batch : int
        How many updates, and cases in each.
    seed : int
        Of weights, cases, holes and augmentation.
    precision : torch.dtype
        Of the convolutions: bfloat16, or float32, which is slower and nearer to repeatable.

    Returns
    -------
    torch.nn.Module
        In evaluation mode. The same arguments give the same cases, holes and first weights; what follows differs by
        the rounding of bfloat16.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = NETWORKS[name](images.shape[1:])
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.15)
    network.train()
    losses, began = [], time.monotonic()
    for step in range(steps):
        chosen = rng.integers(0, len(images), batch)
        made = [augment(images[n], np.zeros(images.shape[1:], bool), rng)[0] for n in chosen]
        image = torch.from_numpy(np.stack(made))[:, None]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            if isinstance(network, HealthyVAE):
                given = torch.from_numpy(np.stack([disturbed(one, rng) for one in made]))[:, None]
                loss = loss_of_vae(network, image, given)
            elif isinstance(network, HealthyInpainter):
                hole = torch.from_numpy(np.stack([holes(one.shape, rng) for one in made]))[:, None]
                loss = loss_of_inpainter(network, image, hole)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if not bool(torch.isfinite(loss)):
            raise RuntimeError(f"the loss is {float(loss)} in step {step + 1}: train with float32 or another seed")
        losses.append(float(loss.detach()))
        if step % 50 == 49:
            seconds = time.monotonic() - began
            logger.info("step %d of %d, loss %.4f, %.0f s", step + 1, steps, np.mean(losses[-50:]), seconds)
    return network.eval()


def main() -> None:
    """Train one of the networks and write its weights in half precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(NETWORKS))
    parser.add_argument("--output", type=Path, required=True, help="folder for weights.pt")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the generated cases")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    healthy = case_set("train", 720, options.cache, options.threads).twins
    steps = options.steps or STEPS[options.name]
    network = train(options.name, healthy, steps, BATCH[options.name], options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    state = {n: v.half() if v.is_floating_point() else v for n, v in network.state_dict().items()}
    beside = options.output / "weights.partial.pt"
    torch.save(state, beside)
    beside.rename(options.output / "weights.pt")
    logger.info("wrote %s", options.output / "weights.pt")


if __name__ == "__main__":
    main()
