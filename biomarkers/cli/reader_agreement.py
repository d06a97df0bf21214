"""`biomarkers ihc agreement`: readers' scores beside a laboratory's results.

Knows what is asked for and how it is shown. Must not know how agreement is computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biomarkers.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from biomarkers.ihc.agreement import IntraclassCorrelation, Kappa, LimitsOfAgreement
    from biomarkers.provenance import JsonValue
    from biomarkers.reports.reader_agreement import AgreementStudy, PairAgreement
    from biomarkers.results import Interval
    from biomarkers.timepoints.alignment import TimepointRow


def _figure_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix.casefold() != ".svg":
        raise typer.BadParameter("the file's name must end in .svg")
    return path


def _cutoffs(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise typer.BadParameter("give numbers separated by commas, such as 1,50") from error


def agreement(
    readers: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="CSV: accession_id, stain, score (such as PCT_POSITIVE), then a column a reader."
        ),
    ],
    lab: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The laboratory whose results are compared.")],
    *,
    cutoffs: Annotated[
        str, typer.Option(help="Where classes begin, such as 1,50; gives weighted kappa. None is assumed.")
    ] = "",
    figure: Annotated[
        Path | None, typer.Option(callback=_figure_file, help="Write a figure (.svg): differences against means, each pair.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare readers with the laboratory's current results: ICC(2,1), limits of agreement, weighted kappa."""
    from biomarkers.laboratory import open_lab
    from biomarkers.readers.reader_scores import read_reader_scores
    from biomarkers.reports.reader_agreement import agreement_figure, agreement_study

    limits = _cutoffs(cutoffs)
    scores = read_reader_scores(readers)
    with open_lab(lab) as laboratory:
        rows = laboratory.rows()
    measured, reasons = _current(rows)
    study = agreement_study(scores, measured, reasons, limits)
    if figure is not None:
        figure.write_text(agreement_figure(study), encoding="utf-8")
    if as_json:
        print_json(_document(study))
    else:
        _show(study)


def _current(rows: tuple[TimepointRow, ...]) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], str]]:
    """Take the laboratory's numbers; a bound or a withheld number is none, and says so."""
    measured: dict[tuple[str, str], float] = {}
    reasons: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.accession_id is None:
            continue
        key = (row.accession_id, row.measurand)
        if row.value is not None and not row.comparator:
            measured[key] = row.value
        else:
            reasons[key] = f"its status is {row.status}" + (f" ({row.findings})" if row.findings else "")
    return measured, reasons


def _document(study: AgreementStudy) -> JsonValue:
    return {
        "cutoffs": list(study.cutoffs),
        "measurands": [
            {
                "measurand": one.measurand,
                "slides": one.slides,
                "raters": list(one.raters),
                "icc_of_readers": _icc(one.readers_alone),
                "icc_of_all": _icc(one.all_raters),
                "pairs": [_pair(pair) for pair in one.pairs],
            }
            for one in study.measurands
        ],
        "unmatched": [
            {"line": line.line, "accession_id": line.accession_id, "measurand": line.measurand, "reason": line.reason}
            for line in study.unmatched
        ],
    }


def _pair(pair: PairAgreement) -> JsonValue:
    return {
        "first": pair.first,
        "second": pair.second,
        "slides": len(pair.means),
        "icc": _icc(pair.icc),
        "limits_of_agreement": _limits(pair.limits),
        "kappa": _kappa(pair.kappa),
        "reasons": list(pair.reasons),
    }


def _interval(interval: Interval | None) -> JsonValue:
    return None if interval is None else [interval.lower, interval.upper]


def _icc(icc: IntraclassCorrelation | None) -> JsonValue:
    if icc is None:
        return None
    return {"value": icc.value, "interval": _interval(icc.interval), "slides": icc.slides, "readers": icc.readers}


def _limits(limits: LimitsOfAgreement | None) -> JsonValue:
    if limits is None:
        return None
    return {
        "bias": limits.bias,
        "bias_interval": _interval(limits.bias_interval),
        "lower": limits.lower,
        "lower_interval": _interval(limits.lower_interval),
        "upper": limits.upper,
        "upper_interval": _interval(limits.upper_interval),
        "slope": limits.slope,
        "slope_interval": _interval(limits.slope_interval),
    }


def _kappa(kappa: Kappa | None) -> JsonValue:
    if kappa is None:
        return None
    return {
        "value": kappa.value,
        "interval": _interval(kappa.interval),
        "weights": kappa.weights,
        "observed": kappa.observed,
        "expected": kappa.expected,
    }


def _show(study: AgreementStudy) -> None:
    rows: list[tuple[object, ...]] = []
    for one in study.measurands:
        for pair in one.pairs:
            icc, limits, kappa = pair.icc, pair.limits, pair.kappa
            rows.append(
                (
                    one.measurand,
                    f"{pair.second} - {pair.first}",
                    len(pair.means),
                    None if icc is None else icc.value,
                    None if icc is None or icc.interval is None else icc.interval.lower,
                    None if limits is None else limits.bias,
                    None if limits is None else limits.lower,
                    None if limits is None else limits.upper,
                    None if kappa is None else kappa.value,
                )
            )
    columns = ("score", "difference", "slides", "ICC(2,1)", "ICC lower 95 %", "bias", "limit lower", "limit upper", "kappa")
    print_table(columns, rows)
    for one in study.measurands:
        for pair in one.pairs:
            for reason in pair.reasons:
                say(f"{one.measurand}, {pair.second} and {pair.first}: {reason}")
    for line in study.unmatched:
        say(f"Line {line.line}, {line.accession_id} {line.measurand}: not compared, {line.reason}.")
