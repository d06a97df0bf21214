"""What a TIFF says of the slide in it: pixel size, date and scanner of the scan, and which of its pictures are not the slide.

Knows the words of OME-XML, Aperio, Philips, PerkinElmer, Hamamatsu and ImageJ. Must not know how pixels are stored. The text of
a slide's label, which may hold a name, is never handed on.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import tifffile

from biomarkers.readers.pixel_size import StatedPixelSize
from biomarkers.results import Finding, Severity

LONGEST_NAME = 200
"""Characters kept of a scanner's name; a damaged file may hold anything."""

NOT_THE_SLIDE = ("label", "macro", "thumbnail", "overview", "map")

_ASIDE = re.compile(rf"\b({'|'.join(NOT_THE_SLIDE)})\b", re.IGNORECASE)
_ASIDE_LINE = re.compile(r"^\s*(label|macro|thumbnail|overview)\b", re.IGNORECASE | re.MULTILINE)
_QPI_KIND = re.compile(r"<ImageType>\s*([A-Za-z]+)\s*</ImageType>")

_UM_BY_OME_UNIT = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
_UM_BY_RESOLUTION_UNIT = {2: 25_400.0, 3: 10_000.0, 4: 1000.0, 5: 1.0}
_IMAGEJ_MICROMETRES = frozenset({"micron", "microns", "um", "µm", "μm", "\\u00b5m"})

_NDPI_LABEL_TEXT, _NDPI_FOCUS = 65427, 65424

LARGEST_PAGES = 10_000
"""A slide has some ten pages; a chain of many thousand is no slide."""


def chains_too_many_pages(file: tifffile.TiffFile) -> bool:
    """Whether the list of pages goes on beyond :data:`LARGEST_PAGES`, or for ever; to be asked before all are looked at."""
    try:
        file.pages[LARGEST_PAGES]
    except IndexError:
        return False
    return True


def aside_kind(series: tifffile.TiffPageSeries) -> str:
    """Tell what a picture shows if it is not the slide, such as ``"label"``; empty for the slide itself."""
    description = series.keyframe.description[:100_000]
    if found := _QPI_KIND.search(description):
        kind = found.group(1).casefold()
        return kind if kind in NOT_THE_SLIDE else ""
    if series.kind == "ndpi" and series.is_pyramidal:
        return ""  # its name is what somebody wrote on the label
    if found := _ASIDE.search(series.name):
        return found.group(1).casefold()
    if found := _ASIDE_LINE.search(description):
        return found.group(1).casefold()
    return ""


def stated_sizes(file: tifffile.TiffFile, page: tifffile.TiffPage, series_number: int) -> Iterator[StatedPixelSize]:
    """List what the file says about the pixel size of its slide, the weightiest first."""
    ome, description = _ome(file), page.description
    if ome:
        yield from _stated_by_ome(ome, series_number)
    elif found := re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", description):
        size = float(found.group(1))
        yield StatedPixelSize(origin="vendor metadata", x_um=size, y_um=size)
    elif page.is_philips:
        yield from _stated_by_philips(description)
    if file.is_imagej:
        yield from _stated_by_imagej(file, page)
        return
    unit = page.tags.get("ResolutionUnit")
    um = _UM_BY_RESOLUTION_UNIT.get(int(unit.value)) if unit is not None else None
    resolution = _resolution(page)
    if um is not None and resolution is not None:
        yield StatedPixelSize(origin="resolution tag", x_um=um / resolution[0], y_um=um / resolution[1])


def _ome(file: tifffile.TiffFile) -> str:
    return (file.ome_metadata or "") if file.is_ome else ""


def _resolution(page: tifffile.TiffPage) -> tuple[float, float] | None:
    across, down = page.tags.get("XResolution"), page.tags.get("YResolution")
    if across is None or down is None:
        return None
    (x_count, x_per), (y_count, y_per) = across.value, down.value
    if min(x_count, y_count, x_per, y_per) <= 0:
        return None
    return x_count / x_per, y_count / y_per


def _stated_by_ome(ome: str, series_index: int) -> Iterator[StatedPixelSize]:
    pictures = re.findall(r"<(?:\w+:)?Pixels\b([^>]*)>", html.unescape(ome))
    if series_index >= len(pictures):
        return
    attributes = dict(re.findall(r"(\w+)\s*=\s*[\"']([^\"']*)[\"']", pictures[series_index]))
    sizes = []
    for axis in ("X", "Y"):
        um = _UM_BY_OME_UNIT.get(attributes.get(f"PhysicalSize{axis}Unit", "µm"))
        if um is None or f"PhysicalSize{axis}" not in attributes:
            return
        sizes.append(um * float(attributes[f"PhysicalSize{axis}"]))
    yield StatedPixelSize(origin="OME metadata", x_um=sizes[0], y_um=sizes[1])


def _stated_by_philips(description: str) -> Iterator[StatedPixelSize]:
    """Take the spacing of the finest level, which stands first among the pixel data's; in millimetres, rows before columns."""
    _, _, levels = html.unescape(description).partition('ObjectType="PixelDataRepresentation"')
    if found := re.search(r'Name="DICOM_PIXEL_SPACING"[^>]*>\s*"?([0-9.eE+-]+)"?\s+"?([0-9.eE+-]+)', levels):
        down, across = (1000.0 * float(part) for part in found.groups())
        yield StatedPixelSize(origin="vendor metadata", x_um=across, y_um=down)


def _stated_by_imagej(file: tifffile.TiffFile, page: tifffile.TiffPage) -> Iterator[StatedPixelSize]:
    """ImageJ writes pixels per unit into the resolution tag, and the unit's name elsewhere."""
    unit, resolution = str((file.imagej_metadata or {}).get("unit", "")), _resolution(page)
    if unit.casefold() in _IMAGEJ_MICROMETRES and resolution is not None:
        yield StatedPixelSize(origin="vendor metadata", x_um=1.0 / resolution[0], y_um=1.0 / resolution[1])


def acquired_at(file: tifffile.TiffFile, page: tifffile.TiffPage) -> str:
    """Date and time of the scan, verbatim; empty where the file does not say."""
    if found := re.search(r"<(?:\w+:)?AcquisitionDate>([^<]*)<", _ome(file)):
        return found.group(1).strip()
    date, time = (re.search(rf"\b{word}\s*=\s*([^|]+)", page.description) for word in ("Date", "Time"))
    if date:
        return " ".join(part.group(1).strip() for part in (date, time) if part)
    tag = page.tags.get("DateTime")
    return str(tag.value).strip() if tag is not None else ""


def scanner(file: tifffile.TiffFile, page: tifffile.TiffPage) -> str:
    """Which scanner made the picture, by the name it gives itself; empty where the file does not say."""
    if found := re.search(r"<(?:\w+:)?Microscope\b([^>]*)>", _ome(file)):
        said = dict(re.findall(r"(\w+)\s*=\s*[\"']([^\"']*)[\"']", found.group(1)))
        words = [said[word] for word in ("Manufacturer", "Model", "SerialNumber") if said.get(word)]
        return html.unescape(" ".join(words))[:LONGEST_NAME]
    if found := re.search(r"\bScanScope ID\s*=\s*([^|\r\n]+)", page.description):
        return found.group(1).strip()[:LONGEST_NAME]
    make, model = (str(page.tags.valueof(tag) or "").strip() for tag in ("Make", "Model"))
    return " ".join(word for word in (make, model) if word)[:LONGEST_NAME]


def in_focus(pages: list[tifffile.TiffPage]) -> int:
    """Choose among focal planes the one the scanner focused on; the first where the file does not say."""
    offsets = [page.tags.valueof(_NDPI_FOCUS) for page in pages]
    if any(not isinstance(offset, int | float) for offset in offsets):
        return 0
    return min(range(len(pages)), key=lambda index: abs(offsets[index]))


def findings(file: tifffile.TiffFile, slide: tifffile.TiffPageSeries, planes: int, name: str) -> Iterator[Finding]:
    """Report pictures and words besides the slide that may show whose it is, and pictures that were not read."""
    where = f"File '{name}'."
    others = [series for series in file.series if series is not slide]
    shown = [
        f"{aside_kind(series) or 'without a name'}, {series.keyframe.imagewidth} x {series.keyframe.imagelength} px"
        for series in others
        if aside_kind(series) != "thumbnail"
    ]
    if shown:
        more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
        yield Finding(
            code="LABEL_IMAGE",
            severity=Severity.NOTE,
            where=where,
            message="Besides the slide the file holds pictures that may show its label "
            f"({'; '.join(shown[:4])}{more}); they were not read.",
            remedy="A label may show a name; export slides without it where they leave the laboratory.",
        )
    if file.pages.first.tags.valueof(_NDPI_LABEL_TEXT):
        yield Finding(
            code="LABEL_TEXT",
            severity=Severity.NOTE,
            where=where,
            message="The file holds the words of the slide's label; they were not read.",
            remedy="A label may hold a name; export slides without it where they leave the laboratory.",
        )
    if planes > 1:
        yield Finding(
            code="SEVERAL_PLANES",
            severity=Severity.WARNING,
            where=where,
            message=f"The file holds {planes} pictures of the slide's size; the one in focus was measured, or the first.",
            remedy="Export the one plane to be measured if this is not it.",
        )
