"""What is true of ratios of two analytes in one specimen, from what is true of the analytes.

Knows masses and moles. States the truth from its definition, not by the code that derives the ratio from measurements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from biomarkers.results import Assay
from biomarkers.simulation.truth import TrueValue
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.soluble import Analyte

GRAMS_PER_LITRE = {"pg/mL": 1e-9, "ng/mL": 1e-6, "ug/mL": 1e-3, "mg/mL": 1.0}


def true_ratios(definition: StudyDefinition, values: Iterable[TrueValue]) -> Iterator[TrueValue]:
    """Yield the true ratio of every specimen whose two concentrations are known."""
    known = {(true.accession_id, true.measurand): true for true in values}
    for ratio in definition.ratios:
        above, below = definition.analyte(ratio.numerator), definition.analyte(ratio.denominator)
        assert above is not None, "the definition refuses ratios of unknown analytes"
        assert below is not None, "as above"
        for (accession_id, measurand), true in known.items():
            other = known.get((accession_id, ratio.denominator))
            if measurand == ratio.numerator and other is not None:
                yield TrueValue(
                    accession_id=accession_id,
                    subject_id=true.subject_id,
                    visit=true.visit,
                    assay=Assay.ELISA,
                    measurand=ratio.code,
                    value=_moles_per_litre(true.value, above) / _moles_per_litre(other.value, below),
                    unit=ratio.unit,
                )


def _moles_per_litre(concentration: float, analyte: Analyte) -> float:
    assert analyte.molar_mass_g_per_mol is not None, "the simulated kits state masses"
    return concentration * GRAMS_PER_LITRE[analyte.unit] / analyte.molar_mass_g_per_mol
