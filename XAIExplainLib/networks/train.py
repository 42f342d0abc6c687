"""Train the networks of the demo problem: ``python -m XAIExplainLib.networks.train brain-lesion --output DIR``."""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from XAIExplainLib.networks.dataset import DEFAULT_CACHE, CaseSet, case_set
from XAIExplainLib.networks.lesion_network import LesionNetwork, TrainingNetwork
from XAIExplainLib.networks.scores import area_under_curve, lesion_probability, predict
from XAIExplainLib.networks.shortcut import mark_all

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Parameters
    ----------
    auxiliary : bool
        Whether a voxel head sees the downsampled lesion mask.
    marker : bool
        Whether markers beside the head betray the label (see `XAIExplainLib.networks.shortcut`).
    epochs : int
        Passes over the training cases and their twins.
    cases : int
        Training lesions; as many healthy twins are added.
    batch : int
        Cases a step.
    rate : float
        Peak of the one-cycle learning rate.
    """

    auxiliary: bool = True
    marker: bool = False
    epochs: int = 12
    cases: int = 720
    batch: int = 8
    rate: float = 3e-3


RECIPES = {"brain-lesion": Recipe(), "brain-lesion-shortcut": Recipe(auxiliary=False, marker=True, epochs=2)}


def augment(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Flip left and right, shift by up to 2 voxels, and change contrast a little.

    Parameters
    ----------
    image, mask : numpy.ndarray
        Shape (k, j, i); the image is prepared, 0 outside the brain.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    image, mask : numpy.ndarray
        Of the same shape.
    """
    if rng.random() < 0.5:
        image, mask = image[:, :, ::-1], mask[:, :, ::-1]
    shift = tuple(rng.integers(-2, 3, 3))
    image, mask = np.roll(image, shift, (0, 1, 2)), np.roll(mask, shift, (0, 1, 2))
    image = image.astype(np.float32)
    inside = image != 0
    changed = image * rng.uniform(0.9, 1.1) + rng.uniform(-0.15, 0.15)
    return np.where(inside, changed, 0).astype(np.float32), mask


def voxel_loss(logits: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
    """Class-balanced cross entropy of the voxel head.

    Parameters
    ----------
    logits : torch.Tensor
        Shape (n, classes, k, j, i) of the last map.
    masks : torch.Tensor
        Shape (n, 1, K, J, I), float: the lesion at full size.
    labels : torch.Tensor
        Shape (n,): class of the lesion, 0 for none.

    Returns
    -------
    torch.Tensor
        Scalar: the mean over healthy cells plus the mean over lesion cells.
    """
    k, j, i = logits.shape[2:]
    share = functional.adaptive_avg_pool3d(masks, (k, j, i))[:, 0]
    most = share.amax(dim=(1, 2, 3), keepdim=True)
    lesion = (share > 0) & (share >= 0.3 * most)
    target = lesion * labels.view(-1, 1, 1, 1)
    each = functional.cross_entropy(logits.float(), target, reduction="none")
    healthy = each[share == 0].mean()
    return healthy + each[lesion].mean() if lesion.any() else healthy


def train(recipe: Recipe, training: CaseSet, validation: CaseSet, seed: int = 0) -> LesionNetwork:
    """Train a network.

    Parameters
    ----------
    recipe : Recipe
        How.
    training, validation : CaseSet
        The cases; of the training set the twins are used as healthy cases.
    seed : int
        Of the weights, the order and the augmentation.

    Returns
    -------
    LesionNetwork
        Ready to be shipped.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    images, labels = [training.images, training.twins], training.labels
    checked, truth = validation.images, validation.labels > 0
    if recipe.marker:
        images = [mark_all(images[0], 0.95, rng), mark_all(images[1], 0.05, rng)]
        checked = np.where(truth[:, None, None, None], mark_all(checked, 0.95, rng), mark_all(checked, 0.05, rng))
    model = TrainingNetwork(LesionNetwork())
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=1e-2)
    pairs = [(half, n) for half in range(2) for n in range(len(labels))]
    steps = len(pairs) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps * recipe.epochs)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.02)
    for epoch in range(recipe.epochs):
        model.train()
        weight = _auxiliary_weight(epoch, recipe)
        order = rng.permutation(len(pairs))
        losses = []
        for step in range(steps):
            chosen = [pairs[n] for n in order[step * recipe.batch : (step + 1) * recipe.batch]]
            made = [augment(images[half][n], training.masks[n] & (half == 0), rng) for half, n in chosen]
            image = torch.from_numpy(np.stack([one[0] for one in made]))[:, None]
            mask = torch.from_numpy(np.stack([one[1] for one in made]).astype(np.float32))[:, None]
            label = torch.tensor([int(labels[n]) if half == 0 else 0 for half, n in chosen])
            with torch.autocast("cpu", torch.bfloat16):
                logits, cells = model(image)
            loss = criterion(logits, label)
            total = loss + weight * voxel_loss(cells, mask, label) if weight > 0 else loss
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            if step % 30 == 0:
                logger.info("epoch %d step %d/%d loss %.3f", epoch + 1, step, steps, np.mean(losses[-30:]))
        probability = lesion_probability(predict(model.exported(), checked))
        logger.info(
            "epoch %d loss %.3f auxiliary weight %.2f validation AUC %.3f",
            epoch + 1,
            np.mean(losses),
            weight,
            area_under_curve(probability, truth),
        )
    return model.exported()


def _auxiliary_weight(epoch: int, recipe: Recipe) -> float:
    """Full for the first half of training, then falling linearly to 0 in the last epoch."""
    if not recipe.auxiliary:
        return 0.0
    half = recipe.epochs // 2
    return 1.0 if epoch < half else max(0.0, 1 - (epoch - half + 1) / (recipe.epochs - half))


def main() -> None:
    """Train one of the recipes and write its weights in half precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--output", type=Path, required=True, help="folder for weights.pt")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the generated cases")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    asked = {name: getattr(options, name) for name in ("epochs", "cases") if getattr(options, name)}
    recipe = Recipe(**{**RECIPES[options.name].__dict__, **asked})
    training = case_set("train", recipe.cases, options.cache, options.threads)
    validation = case_set("validation", 120, options.cache, options.threads)
    network = train(recipe, training, validation, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    state = {n: v.half() if v.is_floating_point() else v for n, v in network.state_dict().items()}
    beside = options.output / "weights.partial.pt"
    torch.save(state, beside)
    beside.rename(options.output / "weights.pt")
    logger.info("wrote %s", options.output / "weights.pt")


if __name__ == "__main__":
    main()
