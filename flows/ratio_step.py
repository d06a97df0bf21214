"""Ratios of two analytes in one specimen, such as kynurenine over tryptophan: a second step.

Knows which results a ratio is made of. Must not know how it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from biomarkers.elisa.plate_inputs import analyte_input
from biomarkers.elisa.ratios import ratio_result
from biomarkers.provenance import Input, canonical_json, content_digest
from biomarkers.results import Assay, DerivedAnalysis, Parent, Run, derived_run_identity
from biomarkers.store.derivations import SourceResult, counting_results
from biomarkers.study.soluble import Analyte, RatioReference
from flows.whole_set import WholeSet, parent_input


async def ratios(whole: WholeSet) -> Iterator[DerivedAnalysis]:
    """Derive every declared ratio for every specimen in which both its parts were measured, as it is asked for."""
    return _ratios(whole)


def _ratios(whole: WholeSet) -> Iterator[DerivedAnalysis]:
    for ratio in whole.definition.ratios:
        numerator, denominator = (whole.definition.analyte(code) for code in (ratio.numerator, ratio.denominator))
        assert numerator is not None, "the definition refuses ratios of unknown analytes"
        assert denominator is not None, "as above"
        with whole.database.read() as reading:
            for _, by_measurand in counting_results(reading, measurands=(ratio.numerator, ratio.denominator)):
                if {ratio.numerator, ratio.denominator} <= by_measurand.keys():
                    yield _derived(whole, ratio, by_measurand, (numerator, denominator))


def _derived(
    whole: WholeSet, ratio: RatioReference, by_measurand: Mapping[str, SourceResult], analytes: tuple[Analyte, Analyte]
) -> DerivedAnalysis:
    above, below = by_measurand[ratio.numerator], by_measurand[ratio.denominator]
    accession_id = above.result.accession_id
    run_id = derived_run_identity(Assay.ELISA, ratio.code, accession_id)
    provenance = whole.provenance(
        (*above.result.provenance.sources, *below.result.provenance.sources),
        (
            parent_input(above.result.result_id),
            parent_input(below.result.result_id),
            *(analyte_input(analyte) for analyte in analytes),
            Input(kind="ratio", name=ratio.code, sha256=content_digest(ratio.model_dump(mode="json"))),
        ),
        canonical_json(
            {
                "ratio": ratio.code,
                "unit": ratio.unit,
                "molar_masses_g_per_mol": [analyte.molar_mass_g_per_mol for analyte in analytes],
            }
        ),
    )
    result = ratio_result(
        above.result,
        below.result,
        analytes=analytes,
        run_id=run_id,
        provenance=provenance,
        measurand=ratio.code,
    )
    return DerivedAnalysis(
        step="ratios",
        run=Run(
            run_id=run_id,
            assay=Assay.ELISA,
            name=f"{ratio.code} {accession_id}",
            acquired_at="",
            findings=(),
            results=(result,),
            provenance=provenance,
        ),
        parents=tuple(Parent(analysis_id=one.stored.analysis_id, result_id=one.stored.result_id) for one in (above, below)),
    )
