"""A plate, a tube and a section, each small and made here, and a reader of pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from biomarkers.cytometry.acquisition import Acquisition, Channel
from biomarkers.cytometry.panel import Panel
from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate, parameters
from biomarkers.elisa.logistic import FourPL
from biomarkers.elisa.plate import LayoutWell, MapEntry, PlateLayout, PlateMap, PlateRead, WellPosition, WellRead, WellRole
from biomarkers.ihc.slide import Region, RgbImage, SlideLevel
from biomarkers.ihc.stains import StainVectors, compose_light
from biomarkers.provenance import Provenance, Source, canonical_json
from biomarkers.results import Finding
from biomarkers.study.soluble import Analyte

LEVELS = (1000.0, 500.0, 250.0, 125.0, 62.5, 31.25, 15.625, 0.0)
TRUTH = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)
VOID = {"meta", "link", "br", "img", "hr", "input"}


@dataclass(slots=True)
class Page(HTMLParser):
    """What a browser would see of a page."""

    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    text: str = ""
    values: list[str] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    unbalanced: list[str] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if (tag, name) == ("data", "value"):
                self.values.append(value or "")
            if name == "class":
                self.classes.update((value or "").split())

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text += data

    @property
    def addresses(self) -> list[str]:
        return [value for _, name, value in self.attributes if name in {"src", "href", "xlink:href", "action", "srcset"}]

    @property
    def left_open(self) -> list[str]:
        return self._open


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Page]:
    def read(html: str) -> Page:
        page = Page()
        page.feed(html)
        page.close()
        return page

    return read


def provenance_of(name: str, settings: str = "{}") -> Provenance:
    return Provenance(
        sources=(Source(role="instrument", name=name, sha256="0123456789abcdef" * 4),),
        inputs=(),
        software="biomarkers 9.9",
        parameters=settings,
        computed_at=datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC),
    )


@pytest.fixture(scope="session")
def make_provenance() -> Callable[..., Provenance]:
    return provenance_of


def _well(at: WellPosition, role: WellRole, slot: str, concentration: float | None = None) -> LayoutWell:
    dilution = 2.0 if role is WellRole.SAMPLE else 1.0
    analyte = "" if role is WellRole.EMPTY else "IL6"
    return LayoutWell(position=at, role=role, slot=slot, concentration=concentration, dilution=dilution, analyte=analyte)


def _layout(rows: int, columns: int) -> PlateLayout:
    """Calibrators in the first two columns, a control, a blank, then specimens in duplicate."""
    placed: dict[tuple[int, int], tuple[WellRole, str, float | None]] = {}
    for row, level in enumerate(LEVELS):
        for column in (0, 1):
            placed[row, column] = (WellRole.CALIBRATOR, f"STD{row + 1}", level)
            placed[row, 2 + column] = (WellRole.SAMPLE, f"S{row + 1:02d}", None)
    for column in (4, 5):
        placed[0, column] = (WellRole.CONTROL, "CTRL1", 250.0)
    placed[1, 4] = (WellRole.BLANK, "BLANK", None)
    positions = [WellPosition(row=row, column=column) for row in range(rows) for column in range(columns)]
    nothing = (WellRole.EMPTY, "", None)
    return PlateLayout(
        name="test",
        rows=rows,
        columns=columns,
        wells=tuple(_well(at, *placed.get((at.row, at.column), nothing)) for at in positions),
    )


@pytest.fixture(scope="session")
def make_plate() -> Callable[..., PlateAnalysis]:
    def make(
        *,
        name: str = "P1",
        accession: str = "ATR-00000",
        flags: Sequence[tuple[str, str]] = (("C03", "overflow"), ("D03", "masked"), ("E03", "missing")),
        reason: str = "bubble",
        rows: int = 8,
        columns: int = 12,
        **calibration: object,
    ) -> PlateAnalysis:
        analyte = Analyte.model_validate(
            {
                "code": "IL6",
                "name": "interleukin 6",
                "format": "sandwich",
                "unit": "pg/mL",
                "materials": ["PLASMA"],
                "due": [],
                "calibrators": sorted(LEVELS),
                "source": "assumption",
                "limits": {"lloq": 15.625, "uloq": 1000, "origin": "calibrators", "source": "assumption"},
                "calibration": {"source": "assumption", **calibration},
            }
        )
        layout = _layout(rows, columns)
        generator = np.random.default_rng(7)
        flag_by_place = dict(flags)
        wells = []
        for one in layout.wells:
            held = one.concentration if one.concentration is not None else 8.0 * 2 ** (one.position.row % 8)
            response = float(TRUTH.response(np.array([held]))[0]) if one.role is not WellRole.BLANK else 0.05
            value = response * (1 + 0.02 * float(generator.standard_normal()))
            flag = flag_by_place.get(str(one.position), "")
            wells.append(
                WellRead(
                    position=one.position,
                    raw_text={"overflow": "OVRFLW", "missing": ""}.get(flag, f"{value:.4f}"),
                    value=None if flag in ("overflow", "missing") else value,
                    flag=flag,  # type: ignore[arg-type]  # one of the flags
                    mask_reason=reason if flag == "masked" else "",
                )
            )
        read = PlateRead(
            plate_id=name,
            rows=rows,
            columns=columns,
            wavelength_nm=450.0,
            reference_nm=None,
            acquired_at="yesterday",
            wells=tuple(wells),
        )
        entries = tuple(
            MapEntry(slot=f"S{slot:02d}", accession_id=f"{accession}{slot}", analyte="IL6", dilution_factor=None, kit_lot="L1")
            for slot in range(1, 9)
        )
        return analyse_plate(
            (read,),
            PlateMap(plate_id=name, layout="test", entries=entries),
            layout,
            analytes={"IL6": analyte},
            run_id="elisa-1",
            provenance=provenance_of(f"{name}.txt", canonical_json(parameters({"IL6": analyte}))),
        )

    return make


PANEL = {
    "name": "small",
    "title": "Small",
    "compensation": "none",
    "markers": [
        {"name": "FSC-A", "kind": "scatter"},
        {"name": "FSC-H", "kind": "scatter"},
        {"name": "CD3"},
        {"name": "CD4"},
        {"name": "CD8"},
    ],
    "populations": [
        {"name": "singlets", "gates": [{"method": "singlet_ratio", "area": "FSC-A", "height": "FSC-H"}]},
        {"name": "T", "parent": "singlets", "gates": [{"method": "valley", "marker": "CD3", "sign": "+"}]},
        {"name": "others", "parent": "singlets", "gates": [{"method": "shared", "marker": "CD3", "sign": "-", "of": "T"}]},
        {
            "name": "CD4",
            "parent": "T",
            "gates": [
                {"method": "valley", "marker": "CD4", "sign": "+"},
                {"method": "valley", "marker": "CD8", "sign": "-"},
            ],
        },
        {"name": "not CD4", "parent": "T", "gates": [{"method": "boolean", "none_of": ["CD4"]}]},
    ],
}


@pytest.fixture(scope="session")
def panel() -> Panel:
    return Panel.model_validate(PANEL)


@pytest.fixture(scope="session")
def make_tube() -> Callable[..., Acquisition]:
    def make(*, name: str = "tube", count: int = 6000) -> Acquisition:
        generator = np.random.default_rng(11)
        height = generator.normal(60_000, 6000, count)
        area = height * np.exp(generator.normal(0.3, 0.03, count)) * np.where(np.arange(count) % 25 == 0, 1.9, 1.0)
        is_t = np.arange(count) % 3 > 0
        is_4 = is_t & (np.arange(count) % 9 > 2)
        columns = [area, height]
        for positive in (is_t, is_4, is_t & ~is_4):
            light = np.where(positive, 20_000 * np.exp(generator.normal(0, 0.25, count)), 0.0)
            columns.append(light + generator.normal(0, 150, count))
        detectors = (("FSC-A", ""), ("FSC-H", ""), ("B1-A", "CD3"), ("B2-A", "CD4"), ("B3-A", "CD8"))
        return Acquisition(
            name=name,
            version="FCS3.1",
            events=np.column_stack(columns).astype(np.float32),
            channels=tuple(Channel(detector=detector, marker=marker, top=262_144.0) for detector, marker in detectors),
            spillover=None,
            keywords={},
            acquired_at="01-JAN-2025",
            findings=(),
        )

    return make


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A slide in memory."""

    pixels: RgbImage
    name: str = "section"
    pixel_size_um: float | None = 0.5
    pixel_size_origin: str = "declared"
    acquired_at: str = ""
    scanner: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def levels(self) -> tuple[SlideLevel, ...]:
        return (SlideLevel(width=self.pixels.shape[1], height=self.pixels.shape[0], downsample=1.0),)

    def read_region(self, level: int, region: Region) -> RgbImage:
        assert level == 0
        return self.pixels[region.y : region.y + region.height, region.x : region.x + region.width].copy()


@pytest.fixture(scope="session")
def make_section() -> Callable[..., Section]:
    """Paint a square of tissue with round nuclei, a third of them brown, on empty glass."""

    def make(*, name: str = "section", pixel_size_um: float | None = 0.5, width: int = 900, height: int = 700) -> Section:
        generator = np.random.default_rng(3)
        stains = np.zeros((height, width, 3), dtype=np.float32)
        stains[80 : height - 80, 80 : width - 80, 0] = 0.06
        blue, brown = (np.zeros((height, width), dtype=np.float32) for _ in range(2))
        for number, (x, y) in enumerate(
            (x, y) for y in range(110, height - 100, 30) for x in range(110, width - 100, 30) if (x + y) % 4 < 3
        ):
            centre = (x + int(generator.integers(-4, 5)), y + int(generator.integers(-4, 5)))
            cv2.circle(blue, centre, 7, 0.45, -1, cv2.LINE_AA)
            if number % 3 == 0:
                cv2.circle(brown, centre, 8, 0.3 + 0.25 * (number % 4), -1, cv2.LINE_AA)
        stains[..., 0] += cv2.GaussianBlur(blue, (0, 0), 1.0)
        stains[..., 1] += cv2.GaussianBlur(brown, (0, 0), 1.0)
        vectors = StainVectors.of((0.65, 0.70, 0.29), (0.27, 0.57, 0.78))
        light = compose_light(stains, (240.0, 238.0, 235.0), vectors).astype(np.float64)
        noisy = np.clip(np.rint(light + generator.normal(0, 1.5, light.shape)), 0, 255).astype(np.uint8)
        return Section(pixels=noisy, name=name, pixel_size_um=pixel_size_um)

    return make
