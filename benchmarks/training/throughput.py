"""Images per second of training's data path alone (loading and augmentation), and of the whole training step.

Where the first figure is well above the second, loading and augmentation do not starve the trainer. apvit_tiny in
float32 without torch.compile, on random faces of the size of FER+'s; less than a CPU minute.

    python benchmarks/training/throughput.py

writes throughput.json beside this file. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from apvit.data.augmentation import Augmentation, augment
from apvit.data.paper_augmentation import PaperAugmentation, augment_as_paper
from apvit.machine import describe_machine
from apvit.training import Recipe
from apvit.training.batches import Batch, FaceBatches, Faces
from apvit.training.module import ExpressionModule
from apvit.training.processes import Processes
from apvit.training.starting import new_model, normalised
from apvit.weights import Preprocessing

FACES, CLASSES = 4096, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=30, help="batches measured, after one that warms up")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("throughput.json"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)

    torch.manual_seed(0)
    faces, coloured = random_faces(1, 48), random_faces(3, 112)
    mean, std = torch.full((3,), 0.5, device=device), torch.full((3,), 0.25, device=device)
    generator = torch.Generator(device)
    recipe = Recipe(batch_size=arguments.batch_size, device=arguments.device)

    def modern(batch: Batch) -> None:
        augment(batch.faces.to(device), mean[:1], std[:1], Augmentation(), generator)

    def paper(batch: Batch) -> None:
        augment_as_paper(batch.faces.to(device), mean, std, 112, PaperAugmentation(), generator)

    def measured(of: Faces, work: Callable[[Batch], object]) -> float:
        loader = FaceBatches(of, of, recipe, Processes()).train_dataloader()
        return images_per_second(loader, work, arguments.batches, device)

    result = {
        "what": "images per second; data path: loading and augmentation, step: those, forward, backward, optimiser "
        "and moving average",
        "batch_size": arguments.batch_size,
        "batches": arguments.batches,
        "threads": torch.get_num_threads(),
        "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        "data_path_48_grey_modern": measured(faces, modern),
        "data_path_112_colour_paper": measured(coloured, paper),
        "step_apvit_tiny": step_rate(faces, recipe, arguments.batches),
        **describe_machine(),
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    for name, value in result.items():
        if isinstance(value, float):
            print(f"{name}: {value:,.0f} images per second")


def random_faces(channels: int, size: int) -> Faces:
    """Faces of noise: what they show costs nothing."""
    pixels = torch.randint(0, 256, (FACES, channels, size, size), dtype=torch.uint8)
    targets = torch.eye(CLASSES)[torch.randint(CLASSES, (FACES,))]
    return Faces(pixels, targets, [str(i) for i in range(FACES)], [str(i) for i in range(FACES)])


def images_per_second(
    loader: DataLoader[Batch], work: Callable[[Batch], object], batches: int, device: torch.device
) -> float:
    """Faces per second of `work` on `batches` batches of `loader`, after one that warms up."""
    images, start = 0, 0.0
    for i, batch in enumerate(loader):
        if i == 1:
            synchronise(device)
            start = time.perf_counter()
        if i == batches + 1:
            break
        work(batch)
        images += len(batch.faces) if i else 0
    synchronise(device)
    return images / (time.perf_counter() - start)


def step_rate(faces: Faces, recipe: Recipe, batches: int) -> float:
    """Faces per second of the run's own module under the run's own trainer, loading included."""
    rates: list[float] = []

    class Timed(ExpressionModule):
        def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
            if batch_idx == 1:
                synchronise(self.device)
                self.start = time.perf_counter()

        def on_train_epoch_end(self) -> None:
            synchronise(self.device)
            rates.append(batches * recipe.batch_size / (time.perf_counter() - self.start))

    loader = FaceBatches(faces, faces, recipe, Processes())
    model = new_model(recipe, CLASSES)
    preprocessing = normalised(Preprocessing(None, 48, "grey", (0.0,), (1.0,)), faces, recipe.normalise)
    with TemporaryDirectory() as folder:
        module = Timed(model, recipe, preprocessing, loader, Path(folder))
        trainer = Trainer(
            accelerator=recipe.device,
            devices=1,
            max_epochs=1,
            limit_train_batches=batches + 1,
            limit_val_batches=0,
            gradient_clip_val=recipe.clip_norm,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(module, loader)
    return rates[0]


def synchronise(device: torch.device) -> None:
    """Wait for a GPU to have done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
