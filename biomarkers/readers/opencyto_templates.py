"""openCyto's gating templates in CSV → Panel, and a panel as TOML text.

Knows openCyto's columns and what of its methods has an equal here. Must not know how a gate is placed. What cannot be
translated is refused, all of it at once; what is translated with a difference is told. openCyto hides the side a gate keeps in
the name of the population; here it is explicit, and a line that does not say it is refused.

References
----------
Finak G et al. OpenCyto: an open source infrastructure for scalable, robust, reproducible, and automated, end-to-end flow
cytometry data analysis. PLoS Comput Biol 2014;10:e1003806.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from biomarkers.cytometry.panel import (
    ROOT,
    BooleanGate,
    FixedGate,
    Gate,
    GateTemplate,
    Marker,
    MixtureGate,
    Panel,
    QuantileGate,
    SharedGate,
    Sign,
    SingletGate,
    TailGate,
    ValleyGate,
)
from biomarkers.errors import Fault, SourceFileError
from biomarkers.provenance import JsonValue

LARGEST_TEMPLATE_BYTES = 1_000_000

REQUIRED = ("alias", "pop", "parent", "dims", "gating_method", "gating_args")
OPTIONAL = ("collapsedataforgating", "groupby", "preprocessing_method", "preprocessing_args")

VALLEY = ("mindensity", "mindensity2", "gate_mindensity", "gate_mindensity2")
TAIL = ("tailgate", "gate_tail", "cytokine")
QUANTILE = ("quantilegate", "gate_quantile")
MIXTURE = ("flowclust", "flowclust.1d", "gate_flowclust_1d")
SINGLETS = ("singletgate", "gate_singlet")

SIGN = r"(\+/-|-/\+|\+|-)"
TAIL_WIDTHS = 3.0
"""Standard deviations beside the peak where a tail is cut: openCyto's tolerance on a derivative has no equal here."""

LINE_WIDTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTemplate:
    """A panel from another software's template.

    Attributes
    ----------
    notes
        What differs from the template, in the order of its lines, for a person to read.
    """

    panel: Panel
    notes: tuple[str, ...]


class _RestsOnRefusedError(Exception):
    """A line's only fault is that a line above it was refused, which is told there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    line: int
    alias: str
    pop: str
    parent: str
    dims: tuple[str, ...]
    method: str
    args: str


@dataclass(slots=True, kw_only=True)
class _Import:
    name: str
    populations: list[GateTemplate] = field(default_factory=list)
    markers: dict[str, Marker] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def read_opencyto_template(path: Path, *, name: str) -> ImportedTemplate:
    """Read a gating template.

    Parameters
    ----------
    name
        What the panel shall be called: lower case letters, digits and hyphens.

    Raises
    ------
    SourceFileError
        The file is no template, or uses methods that have no equal here; all lines at fault at once.
    """
    work = _Import(name=path.name)
    for row in _rows(path, work):
        _translate(row, work)
    if work.faults:
        raise SourceFileError.gathered(work.faults)
    try:
        panel = Panel(
            name=name,
            title=f"Imported from the openCyto template {path.name}",
            markers=tuple(work.markers.values()),
            populations=tuple(work.populations),
        )
    except ValidationError as error:
        raise SourceFileError.gathered(
            Fault(
                where=f"File '{path.name}'.",
                what=f"{fault['msg'].removeprefix('Value error, ')}.",
                remedy="Correct the template: populations stand below their parents, each name once.",
            )
            for fault in error.errors()
        ) from error
    return ImportedTemplate(panel=panel, notes=tuple(work.notes))


def _rows(path: Path, work: _Import) -> Iterator[_Row]:
    where = f"File '{path.name}'."
    try:
        if path.stat().st_size > LARGEST_TEMPLATE_BYTES:
            raise SourceFileError(what="The file is too large for a template.", where=where, remedy="Check the file.")
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceFileError(what=f"The template cannot be read: {error}.", where=where, remedy="Save it as CSV.") from error
    lines = [(line, row) for line, row in lines if any(row) and not row[0].startswith("#")]
    header = [column.casefold() for column in lines[0][1]] if lines else []
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        raise SourceFileError(
            what=f"This is no openCyto template: it has no column {', '.join(missing)}.",
            where=where,
            remedy=f"The header must hold {', '.join(REQUIRED)}.",
        )
    for line, row in lines[1:]:
        cells = dict(zip(header, row + [""] * (len(header) - len(row)), strict=False))
        for column in OPTIONAL:
            if cells.get(column, "").casefold() not in ("", "na", "false"):
                work.notes.append(f"Line {line}: {column} '{cells[column]}' has no equal here and was left out.")
        yield _Row(
            line=line,
            alias=cells["alias"],
            pop=cells["pop"],
            parent=ROOT if cells["parent"].casefold() in ("root", "") else cells["parent"].rstrip("/").rpartition("/")[2],
            dims=tuple(part.strip().strip("<>") for part in cells["dims"].split(",") if part.strip()),
            method=cells["gating_method"].casefold(),
            args=cells["gating_args"] if cells["gating_args"].casefold() != "na" else "",
        )


def _translate(row: _Row, work: _Import) -> None:
    try:
        for dimension in row.dims:
            kind = "scatter" if dimension.upper().startswith(("FSC", "SSC")) else "fluorescence"
            work.markers.setdefault(dimension, Marker.model_validate({"name": dimension, "kind": kind}))
        if row.method == "boolgate":
            _add(work, row, row.alias, (_boolean(row),))
        elif row.method in SINGLETS:
            _add(work, row, row.alias, (_singlets(row),))
        elif row.method == "boundary":
            _add(work, row, row.alias, tuple(_boundary(row)))
        else:
            _check_method(row)
            for signs in _sign_choices(row):
                gates = tuple(_one_sided(row, work, place, sign) for place, sign in enumerate(signs))
                _add(work, row, _named(row, signs), gates)
    except _RestsOnRefusedError:
        work.refused.append(row.alias)
    except (ValueError, ValidationError) as error:
        work.refused.append(row.alias)
        what = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
        work.faults.append(
            Fault(
                where=f"File '{work.name}', line {row.line:03d}, population '{row.alias}'.",
                what=f"{what[:1].upper()}{what[1:]}.",
                remedy="Write this population in the panel by hand, or change its method in the template.",
            )
        )


def _add(work: _Import, row: _Row, name: str, gates: tuple[Gate, ...]) -> None:
    work.populations.append(GateTemplate(name=name, parent=row.parent, gates=gates))


def _sign_choices(row: _Row) -> list[tuple[Sign, ...]]:
    """List the sides a line keeps, one population each: "CD4+CD8-" is one, "CCR7+/-CD45RA+/-" are four."""
    # The markers' own names first, so that the hyphen of "HLA-DR" is no sign.
    by_name = "".join(f"(?:{re.escape(dimension)})?{SIGN}" for dimension in row.dims)
    by_any = "".join(f"[^+-]*{SIGN}" for _ in row.dims)
    text = row.pop.replace(" ", "")
    found = re.fullmatch(by_name, text, flags=re.IGNORECASE) or re.fullmatch(by_any, text)
    if found is None:
        raise ValueError(f"the column pop says '{row.pop}', which does not say '+' or '-' for {' and '.join(row.dims)}")
    choices: list[tuple[Sign, ...]] = [()]
    for part in found.groups():
        sides: tuple[Sign, ...] = ("+", "-") if "/" in part else ("+",) if part == "+" else ("-",)
        choices = [(*choice, side) for choice in choices for side in sides]
    return choices


def _named(row: _Row, signs: Sequence[Sign]) -> str:
    by_marker = "".join(f"{dimension}{sign}" for dimension, sign in zip(row.dims, signs, strict=True))
    if row.alias in ("", "*"):
        return by_marker
    return row.alias if "/" not in row.pop else f"{row.alias} {by_marker}"


def _one_sided(row: _Row, work: _Import, place: int, sign: Sign) -> Gate:
    marker, args = row.dims[place], _arguments(row.args)
    if row.method in VALLEY:
        _note_left_out(row, work, args, ("adjust", "positive"))
        _refuse_positive(args, sign)
        return ValleyGate(method="valley", marker=marker, sign=sign, adjust=_number(args, "adjust", 1.5))
    if row.method in TAIL:
        _note_left_out(row, work, args, ("adjust", "side"))
        work.notes.append(
            f"Line {row.line}: '{row.alias}' is cut {TAIL_WIDTHS:g} standard deviations beside the highest peak of {marker}; "
            "openCyto cuts where the density's slope falls below a tolerance."
        )
        side = "below" if args.get("side", "right").strip("'\"").casefold() == "left" else "above"
        return TailGate.model_validate(
            {"method": "tail", "marker": marker, "sign": sign, "side": side, "widths": TAIL_WIDTHS}
            | {"adjust": _number(args, "adjust", 1.5)}
        )
    if row.method in QUANTILE:
        _note_left_out(row, work, args, ("probs", "quantile"))
        share = _number(args, "probs", _number(args, "quantile", 0.999))
        return QuantileGate(method="quantile", marker=marker, sign=sign, of=row.parent, quantile=share)
    if row.method in MIXTURE:
        if _number(args, "k", 2.0) != 2:
            raise ValueError(f"flowClust with K = {args['k']}: only two components have an equal here")
        _note_left_out(row, work, args, ("k",))
        return MixtureGate(method="mixture", marker=marker, sign=sign)
    if row.method == "refgate":
        return SharedGate(method="shared", marker=marker, sign=sign, of=_reference(row, work, marker))
    raise AssertionError(row.method)  # _check_method lets nothing else through


def _check_method(row: _Row) -> None:
    if not row.dims or row.method not in (*VALLEY, *TAIL, *QUANTILE, *(MIXTURE if len(row.dims) == 1 else ()), "refgate"):
        raise ValueError(f"the method '{row.method}' on {' and '.join(row.dims) or 'no dimension'} has no equal here")


def _refuse_positive(args: Mapping[str, str], sign: Sign) -> None:
    said = args.get("positive", "").casefold()
    if said and (said in ("true", "t")) != (sign == "+"):
        raise ValueError(f"gating_args says positive = {said.upper()} and the column pop says '{sign}'")


def _reference(row: _Row, work: _Import, marker: str) -> str:
    named = [part.strip().rpartition("/")[2] for part in row.args.split(":") if part.strip()]
    for name in named:
        found = next((population for population in work.populations if population.name == name), None)
        if found is None and (name in work.refused or "*" in work.refused):
            raise _RestsOnRefusedError
        if found is None:
            raise ValueError(f"the reference '{name}' is not gated before it")
        if any(getattr(gate, "marker", "") == marker for gate in found.gates):
            return name
    raise ValueError(f"none of the references ({', '.join(named) or 'none named'}) cuts {marker}")


def _singlets(row: _Row) -> Gate:
    areas = [name for name in row.dims if name.upper().endswith("-A")]
    heights = [name for name in row.dims if name.upper().endswith("-H")]
    if len(areas) != 1 or len(heights) != 1:
        raise ValueError(f"a singlet gate needs one area and one height; the dimensions are {', '.join(row.dims)}")
    return SingletGate(method="singlet_ratio", area=areas[0], height=heights[0])


def _boundary(row: _Row) -> Iterator[Gate]:
    args = _arguments(row.args)
    if not row.dims or any(not name.upper().startswith(("FSC", "SSC")) for name in row.dims):
        raise ValueError("a boundary on anything but scatter is written on a scale that is not this software's")
    for word, sign in (("min", "+"), ("max", "-")):
        if word not in args:
            continue
        numbers = re.findall(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?", args[word])
        if len(numbers) != len(row.dims):
            raise ValueError(f"boundary's {word} says '{args[word]}', not {len(row.dims)} numbers")
        for dimension, number in zip(row.dims, numbers, strict=True):
            yield FixedGate.model_validate({"method": "fixed", "marker": dimension, "sign": sign, "cut": float(number)})
    if not {"min", "max"} & set(args):
        raise ValueError("a boundary without min and max bounds nothing")


def _boolean(row: _Row) -> Gate:
    text = row.args.replace(" ", "")
    joins = {letter for letter in text if letter in "&|"}
    if not text or len(joins) > 1 or "(" in text:
        raise ValueError(f"the combination '{row.args}' mixes & and |, or is empty; only one of them can be translated")
    terms = [
        term.rpartition("/")[2] if not term.startswith("!") else f"!{term[1:].rpartition('/')[2]}"
        for term in re.split(r"[&|]", text)
    ]
    wanted = tuple(term for term in terms if not term.startswith("!"))
    unwanted = tuple(term[1:] for term in terms if term.startswith("!"))
    if joins == {"|"}:
        if unwanted:
            raise ValueError(f"the combination '{row.args}' joins a negation by |, which cannot be translated")
        return BooleanGate(method="boolean", any_of=wanted)
    return BooleanGate(method="boolean", all_of=wanted, none_of=unwanted)


def _arguments(text: str) -> dict[str, str]:
    """Split ``a=1,b=c(2,3)`` at the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    parts.append(text[start:])
    pairs = [part.partition("=") for part in parts if part.strip()]
    return {key.strip().casefold(): value.strip() for key, _, value in pairs}


def _number(args: Mapping[str, str], word: str, otherwise: float) -> float:
    if word not in args:
        return otherwise
    try:
        return float(args[word])
    except ValueError:
        raise ValueError(f"the argument {word} says '{args[word]}', no number") from None


def _note_left_out(row: _Row, work: _Import, args: Mapping[str, str], known: Sequence[str]) -> None:
    left_out = [f"{word} = {value}" for word, value in args.items() if word not in known]
    if left_out:
        work.notes.append(f"Line {row.line}: '{row.alias}': {', '.join(left_out)} has no equal here and was left out.")


def panel_text(panel: Panel) -> str:
    """Write a panel as TOML that reads back as the same panel, without what is default anyway."""
    whole: dict[str, JsonValue] = panel.model_dump(mode="json", exclude_defaults=True)
    tables = ("quality", "exclusive", "markers", "populations")
    lines = [f"{key} = {_toml(value)}" for key, value in whole.items() if key not in tables]
    for entry in panel.exclusive:
        lines += ["", "[[exclusive]]", *_entries(entry.model_dump(mode="json"))]
    if "quality" in whole:
        lines += ["", "[quality]", *_entries(panel.quality.model_dump(mode="json", exclude_defaults=True))]
    for marker in panel.markers:
        entries: dict[str, JsonValue] = marker.model_dump(mode="json", exclude_defaults=True)
        if marker.scale is not None:  # its kind decides how it is read, default or not
            entries["scale"] = marker.scale.model_dump(mode="json", exclude_none=True)
        lines += ["", "[[markers]]", *_entries(entries)]
    for population in panel.populations:
        lines += ["", "[[populations]]", *_entries(population.model_dump(mode="json", exclude_defaults=True))]
    return "\n".join(lines) + "\n"


def _entries(table: Mapping[str, JsonValue]) -> Iterator[str]:
    for key, value in table.items():
        line = f"{key} = {_toml(value)}"
        if len(line) > LINE_WIDTH and isinstance(value, list):
            line = f"{key} = [\n" + "".join(f"    {_toml(item)},\n" for item in value) + "]"
        yield line


def _toml(value: JsonValue) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int() | float():
            return repr(value)
        case list():
            return f"[{', '.join(_toml(item) for item in value)}]"
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items() if item is not None) + " }"
        case _:
            raise ValueError(f"{value!r} has no form in TOML")
