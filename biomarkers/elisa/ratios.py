"""The ratio of two concentrations in one specimen, such as kynurenine over tryptophan, with its unit and interval.

Knows quantities, molar masses and what a bound makes of a ratio. Must not know plates or curves. The ratio is a ratio: it is no
activity of any enzyme, since transport, diet and other enzymes move both concentrations.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from biomarkers.errors import AssayError
from biomarkers.provenance import Provenance
from biomarkers.results import Assay, Comparator, Finding, Interval, Quantity, Result, Severity
from biomarkers.study.soluble import Analyte

KYN_TRP_RATIO = "KYN_TRP_RATIO"
RATIO_UNIT = "uM/uM"

_PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_VOLUMES = {"L": 1.0, "l": 1.0, "dL": 0.1, "mL": 1e-3, "ml": 1e-3, "uL": 1e-6, "µL": 1e-6, "μL": 1e-6}
_MOLAR = re.compile(r"(?P<prefix>[munpfµμ]?)M")
_PER_VOLUME = re.compile(r"(?P<prefix>[munpfµμ]?)(?P<kind>g|mol)/(?P<volume>\S+)")


def micromolar(value: float, unit: str, molar_mass_g_per_mol: float | None, *, where: str = "") -> float:
    """Convert a concentration to umol/L.

    Parameters
    ----------
    unit
        Molar (``uM``, ``nM``), amount per volume (``umol/L``) or mass per volume (``ng/mL``), with the usual prefixes.
    molar_mass_g_per_mol
        Needed for mass units.

    Raises
    ------
    AssayError
        The unit is not known, or is one of mass and no molar mass is declared.

    Examples
    --------
    208.21 ng/mL of kynurenine are 1 umol/L:

    >>> round(micromolar(208.21, "ng/mL", 208.21), 12)
    1.0
    """
    molar = _MOLAR.fullmatch(unit.strip())
    if molar is not None:
        return value * _PREFIXES[molar["prefix"]] * 1e6
    found = _PER_VOLUME.fullmatch(unit.strip())
    if found is None or found["volume"] not in _VOLUMES:
        raise AssayError(
            what=f"The unit '{unit}' is no concentration that could be converted to uM.",
            where=where,
            remedy="Declare the analyte in a unit such as ng/mL, ug/mL, umol/L or uM.",
        )
    per_litre = value * _PREFIXES[found["prefix"]] / _VOLUMES[found["volume"]]
    if found["kind"] == "mol":
        return per_litre * 1e6
    if molar_mass_g_per_mol is None:
        raise AssayError(
            what=f"'{unit}' is a unit of mass, and no molar mass is declared to convert it with.",
            where=where,
            remedy="Declare molar_mass_g_per_mol of the analyte in study.toml.",
        )
    return per_litre / molar_mass_g_per_mol * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio in uM/uM; ``quantity`` is None where the two bounds leave it undetermined."""

    quantity: Quantity | None
    interval: Interval | None


_SIDE: dict[tuple[Comparator, Comparator], Comparator] = {
    ("", ""): "",
    ("<", ""): "<",
    (">", ""): ">",
    ("", "<"): ">",
    ("", ">"): "<",
    ("<", ">"): "<",
    (">", "<"): ">",
}
"""Numerator's and denominator's comparator to the ratio's; both below, or both above, say nothing about it."""


def molar_ratio(
    numerator: Quantity,
    denominator: Quantity,
    *,
    molar_masses: tuple[float | None, float | None],
    intervals: tuple[Interval | None, Interval | None] = (None, None),
    where: str = "",
) -> Ratio:
    """Divide two concentrations of one specimen, in molar units.

    Parameters
    ----------
    molar_masses
        Of numerator and denominator, g/mol.
    intervals
        Of numerator and denominator, in their own units.

    Notes
    -----
    The interval adds the two uncertainties on the logarithmic scale, each side for itself: the lower limit of the ratio lies as
    far below it as the numerator's lower and the denominator's upper limit together reach, root of the sum of squares. The two
    are measured on plates of their own, so their errors are independent.

    Raises
    ------
    AssayError
        A unit cannot be converted, or the denominator is 0.
    """
    above = micromolar(numerator.value, numerator.unit, molar_masses[0], where=where)
    below = micromolar(denominator.value, denominator.unit, molar_masses[1], where=where)
    if not below > 0:
        raise AssayError(what=f"A ratio over {below:g} uM has no meaning.", where=where, remedy="Repeat the denominator.")
    side = _SIDE.get((numerator.comparator, denominator.comparator))
    if side is None:
        return Ratio(quantity=None, interval=None)
    value = above / below
    interval = None if side else _interval(value, numerator.value, denominator.value, *intervals)
    return Ratio(quantity=Quantity(value=value, unit=RATIO_UNIT, comparator=side), interval=interval)


def _interval(
    ratio: float, numerator: float, denominator: float, above: Interval | None, below: Interval | None
) -> Interval | None:
    if above is None or below is None or above.level != below.level or not ratio > 0:
        return None
    down = _reach(_gap(above.lower, numerator), _gap(denominator, below.upper))
    up = _reach(_gap(numerator, above.upper), _gap(below.lower, denominator))
    return Interval(
        lower=0.0 if down is None else ratio * math.exp(-down),
        upper=None if up is None else ratio * math.exp(up),
        level=above.level,
    )


def _gap(low: float | None, high: float | None) -> float | None:
    """Logarithmic distance of two limits; None where one is open or 0."""
    return None if low is None or high is None or not low > 0 else math.log(high / low)


def _reach(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else math.hypot(one, other)


def ratio_result(
    numerator: Result,
    denominator: Result,
    *,
    analytes: tuple[Analyte, Analyte],
    run_id: str,
    provenance: Provenance,
    measurand: str = KYN_TRP_RATIO,
) -> Result:
    """Derive a ratio as a result of its own from two results of one specimen.

    Parameters
    ----------
    numerator, denominator
        Kynurenine and tryptophan, for the ratio this is made for.
    analytes
        Their declarations, for the molar masses.
    run_id, provenance
        Of the derivation; its sources are those of both results.

    Raises
    ------
    AssayError
        The two are of different specimens, or a unit cannot be converted.
    """
    where = f"Accession '{numerator.accession_id}', measurand '{measurand}'."
    if numerator.accession_id != denominator.accession_id:
        raise AssayError(
            what=f"'{numerator.measurand}' is of '{numerator.accession_id}', '{denominator.measurand}' of "
            f"'{denominator.accession_id}'; a ratio is made within one specimen.",
            where=where,
            remedy="Take both results from the same specimen.",
        )
    codes = sorted({finding.code for finding in (*numerator.findings, *denominator.findings)})
    findings = [_carried(codes, where)] if codes else []
    ratio = Ratio(quantity=None, interval=None)
    if numerator.quantity is None or denominator.quantity is None:
        findings.append(_undetermined("One of the two concentrations is not evaluable.", where))
    else:
        ratio = molar_ratio(
            numerator.quantity,
            denominator.quantity,
            molar_masses=(analytes[0].molar_mass_g_per_mol, analytes[1].molar_mass_g_per_mol),
            intervals=(numerator.interval, denominator.interval),
            where=where,
        )
        if ratio.quantity is None:
            findings.append(_undetermined("Both concentrations lie beyond the same end of their ranges.", where))
    counts = [count for count in (numerator.n_replicates, denominator.n_replicates) if count is not None]
    return Result(
        accession_id=numerator.accession_id,
        assay=Assay.ELISA,
        measurand=measurand,
        quantity=ratio.quantity,
        interval=ratio.interval,
        denominator=denominator.measurand,
        n_replicates=min(counts, default=None),
        run_id=run_id,
        findings=tuple(findings),
        provenance=provenance,
    )


def _carried(codes: list[str], where: str) -> Finding:
    return Finding(
        code="INHERITED_FINDINGS",
        severity=Severity.NOTE,
        where=where,
        message=f"The concentrations behind the ratio carry the findings {', '.join(codes)}.",
        remedy="Look at the two results.",
    )


def _undetermined(why: str, where: str) -> Finding:
    return Finding(
        code="RATIO_UNDETERMINED",
        severity=Severity.REJECT,
        where=where,
        message=f"The ratio cannot be told. {why}",
        remedy="Repeat the specimen at a dilution that brings both into range.",
    )
