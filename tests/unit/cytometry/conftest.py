"""A small tube of blood cells whose populations are known, made without the package's own simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from biomarkers.cytometry.acquisition import Acquisition, Channel, Spillover
from biomarkers.cytometry.panel import Panel
from biomarkers.readers.panels import packaged_panel

COLOURS = ("Viability", "CD3", "CD4", "CD8", "CD19", "CD56")
NEGATIVE, POSITIVE = 0.0, 20_000.0

KINDS: dict[str, tuple[int, tuple[str, ...]]] = {
    "CD4": (3600, ("CD3", "CD4")),
    "CD8": (1800, ("CD3", "CD8")),
    "B": (700, ("CD19",)),
    "NK": (900, ("CD56",)),
    "dead": (600, ("Viability", "CD3", "CD4")),
}


def _cells(rng: np.random.Generator, scale: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.str_]]:
    light, kinds = [], []
    for kind, (count, positive) in KINDS.items():
        count = int(count * scale)  # noqa: PLW2901  - the scaled number replaces it
        level = np.array([POSITIVE if colour in positive else NEGATIVE for colour in COLOURS])
        light.append(level * np.exp(0.25 * rng.standard_normal((count, len(COLOURS)))) + 150 * rng.standard_normal((count, 6)))
        kinds += [kind] * count
    monocytes = int(900 * scale)
    dim = np.zeros((monocytes, len(COLOURS)))
    dim[:, COLOURS.index("CD4")] = 1500.0
    light.append(dim * np.exp(0.3 * rng.standard_normal(dim.shape)) + 250 * rng.standard_normal(dim.shape))
    kinds += ["monocyte"] * monocytes
    return np.concatenate(light), np.array(kinds)


@pytest.fixture(scope="session")
def panel() -> Panel:
    return packaged_panel("pbmc-lineage")


@pytest.fixture(scope="session")
def make_tube() -> Callable[..., tuple[Acquisition, npt.NDArray[np.str_]]]:
    """Return a maker of tubes: (acquisition, kind of each event); doublets are called "doublet"."""

    def make(
        seed: int = 7, scale: float = 1.0, *, spill: bool = True, markers: tuple[str, ...] = COLOURS
    ) -> tuple[Acquisition, npt.NDArray[np.str_]]:
        rng = np.random.default_rng(seed)
        light, kinds = _cells(rng, scale)
        count = len(kinds)
        is_monocyte = kinds == "monocyte"
        area = np.where(is_monocyte, 110_000, 70_000) * np.exp(0.08 * rng.standard_normal(count))
        side = np.where(is_monocyte, 70_000, 20_000) * np.exp(0.15 * rng.standard_normal(count))
        height = 0.85 * area * np.exp(0.02 * rng.standard_normal(count))
        pairs = rng.choice(count, size=(count // 20, 2), replace=False)
        light[pairs[:, 0]] += light[pairs[:, 1]]
        height[pairs[:, 0]] = np.maximum(height[pairs[:, 0]], height[pairs[:, 1]])
        area[pairs[:, 0]] += area[pairs[:, 1]]
        side[pairs[:, 0]] += side[pairs[:, 1]]
        kinds = kinds.astype("<U12")
        kinds[pairs[:, 0]] = "doublet"
        matrix = np.eye(len(COLOURS))
        matrix[1, 2], matrix[2, 3], matrix[4, 5] = 0.12, 0.08, 0.15
        order = rng.permutation(count)
        table = np.column_stack([area, height, side, light @ matrix])[order]
        keep = [0, 1, 2, *(3 + COLOURS.index(marker) for marker in markers)]
        events = np.column_stack([table[:, keep], np.arange(count) * 0.01]).astype(np.float32)
        channels = (
            *(Channel(detector=name, marker="", top=262_144.0) for name in ("FSC-A", "FSC-H", "SSC-A")),
            *(Channel(detector=f"D{COLOURS.index(marker)}-A", marker=marker, top=262_144.0) for marker in markers),
            Channel(detector="Time", marker="", top=262_144.0),
        )
        chosen = [COLOURS.index(marker) for marker in markers]
        spillover = Spillover(
            keyword="$SPILLOVER",
            detectors=tuple(f"D{index}-A" for index in chosen),
            matrix=matrix[np.ix_(chosen, chosen)],
        )
        acquisition = Acquisition(
            name="tube",
            version="3.1",
            events=events,
            channels=channels,
            spillover=spillover if spill else None,
            keywords={},
            acquired_at="",
            findings=(),
        )
        return acquisition, kinds[order]

    return make
