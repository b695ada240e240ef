"""A pool written out, for people to rate it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hitl_fast._common.files import write_text

from .plan import MAIN, SETTINGS, Plan
from .tasks import Task, make


def export_pool(plan: Plan, folder: Path) -> list[Path]:
    """What a person would see, item by item, as the runs of the plan's ``data_seed`` train on it.

    For each task ``<task>.jsonl`` with a line an item, ``{"item": position, "label": as given, ...}`` with the "text"
    or the file of the "image", and ``<task>-features.csv`` with the names of the features that can be rated for the
    whole task.

    Returns:
        The files of items and features.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in plan.tasks:
        task = make(name, plan.sizes[name], SETTINGS[MAIN].defects, plan.data_seed)
        items = [{"item": i, "label": task.classes[int(label)]} for i, label in enumerate(task.labels)]
        shown = (
            _images(task, folder) if name == "image" else [{"text": task.shown(i)} for i in range(len(task))]
        )
        lines = [
            json.dumps({**item, **what}, ensure_ascii=False) for item, what in zip(items, shown, strict=True)
        ]
        for path, rows in (
            (folder / f"{name}.jsonl", lines),
            (folder / f"{name}-features.csv", ["feature", *task.features]),
        ):
            write_text(path, "\n".join(rows) + "\n")
            written.append(path)
    return written


def _images(task: Task, folder: Path) -> list[dict[str, str]]:
    from matplotlib.image import imsave

    (folder / "images").mkdir(exist_ok=True)
    shown = []
    for i, image in enumerate(np.asarray(task.inputs[:, 0])):
        name = f"images/{i:05d}.png"
        imsave(folder / name, image, cmap="gray", vmin=0.0, vmax=1.0)
        shown.append({"image": name})
    return shown
