"""The cuts an acquisition found itself, as they are kept on record, and taken up again to be held against those of others.

Knows how a found cut and its scale become plain records and back. Must not know why acquisitions are held together. What is
compared between tubes needs these records alone, never the events again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from biomarkers.cytometry.found_cuts import FoundCut, found_cuts
from biomarkers.cytometry.gated import Gating
from biomarkers.cytometry.transforms import Asinh, Linear, Logicle, Transform

DIGITS = 7
"""Significant digits of a redrawn cut: a ten-millionth of it is far below any resolution."""

Place = tuple[str, str]
"""Population and marker of a gate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRecord:
    """A display scale by its parameters; those of other kinds are 0."""

    kind: Literal["linear", "asinh", "logicle"]
    cofactor: float = 0.0
    top: float = 0.0
    width: float = 0.0
    decades: float = 0.0
    negative_decades: float = 0.0

    @classmethod
    def of(cls, transform: Transform) -> ScaleRecord:
        """Put a scale on record.

        Raises
        ------
        TypeError
            The scale is none that panels may name.
        """
        match transform:
            case Linear():
                return cls(kind="linear")
            case Asinh():
                return cls(kind="asinh", cofactor=transform.cofactor)
            case Logicle():
                return cls(
                    kind="logicle",
                    top=transform.top,
                    width=transform.width,
                    decades=transform.decades,
                    negative_decades=transform.negative_decades,
                )
        raise TypeError(f"a {type(transform).__name__} has no record")

    @property
    def transform(self) -> Transform:
        """The scale itself."""
        if self.kind == "linear":
            return Linear()
        if self.kind == "asinh":
            return Asinh(cofactor=self.cofactor)
        return Logicle(top=self.top, width=self.width, decades=self.decades, negative_decades=self.negative_decades)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutRecord:
    """A cut an acquisition found itself.

    Attributes
    ----------
    value, draws, lowest, highest
        On the compensated linear scale, as of :class:`~biomarkers.cytometry.found_cuts.FoundCut`.
    scale
        On which it was looked for.
    """

    population: str
    marker: str
    value: float
    quality: float | None
    origin: str
    draws: tuple[float, ...]
    lowest: float
    highest: float
    lacks_valley: bool
    scale: ScaleRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCut:
    """Where the negatives of one gate end, by a control without the marker's antibody (FMO).

    Attributes
    ----------
    value, lower, upper, draws
        The quantile with its 95 % limits, and found again on resampled events; on the compensated linear scale. Limits are
        None where the control's events do not reach that far.
    events
        Of the control, in the population that is to be parted.
    """

    population: str
    marker: str
    quantile: float
    value: float
    lower: float | None
    upper: float | None
    draws: tuple[float, ...]
    events: int


def cut_records(gated: Gating) -> tuple[CutRecord, ...]:
    """Put the cuts a gating found itself on record."""
    return tuple(
        CutRecord(
            population=cut.population,
            marker=cut.marker,
            value=float(cut.value),
            quality=None if cut.quality is None else float(cut.quality),
            origin=cut.origin,
            draws=tuple(float(f"{draw:.{DIGITS}g}") for draw in cut.draws),
            lowest=float(cut.lowest),
            highest=float(cut.highest),
            lacks_valley=cut.lacks_valley,
            scale=ScaleRecord.of(gated.transforms[cut.marker]),
        )
        for cut in found_cuts(gated)
        if np.isfinite((cut.value, cut.lowest, cut.highest, *cut.draws)).all()
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TubeCuts:
    """The cuts one acquisition found itself, with the scales they lie on, by population and marker.

    Attributes
    ----------
    acquisition
        As findings name it.
    """

    acquisition: str
    cuts: Mapping[Place, FoundCut]
    transforms: Mapping[Place, Transform]

    @classmethod
    def of_gating(cls, gated: Gating) -> TubeCuts:
        """Take the cuts of a gating that is at hand."""
        cuts = {cut.place: cut for cut in found_cuts(gated)}
        return cls(
            acquisition=gated.acquisition,
            cuts=cuts,
            transforms={place: gated.transforms[place[1]] for place in cuts},
        )

    @classmethod
    def of_records(cls, acquisition: str, records: Sequence[CutRecord], *, tube: str = "") -> TubeCuts:
        """Take cuts from record.

        Parameters
        ----------
        tube
            What tells the tube from all others, where several may have the name of this acquisition.
        """
        return cls(
            acquisition=acquisition,
            cuts={
                (record.population, record.marker): FoundCut(
                    acquisition=tube or acquisition,
                    population=record.population,
                    marker=record.marker,
                    value=record.value,
                    quality=record.quality,
                    origin=record.origin,
                    draws=np.array(record.draws, dtype=np.float64),
                    lowest=record.lowest,
                    highest=record.highest,
                    lacks_valley=record.lacks_valley,
                )
                for record in records
            },
            transforms={(record.population, record.marker): record.scale.transform for record in records},
        )
