"""What an export says its own software computed, for the exports that say it.

Knows which kinds of export carry results, and hands each to its module. Must not compute.
"""

from __future__ import annotations

from pathlib import Path

from biomarkers.elisa.vendor_export import VendorExport
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads import gen5 as gen5_reads
from biomarkers.readers.plate_reads import skanit as skanit_reads
from biomarkers.readers.plate_reads import softmax as softmax_reads
from biomarkers.readers.sheets import is_workbook, read_sheets, read_text, text_sheet
from biomarkers.readers.vendor_results import gen5, skanit, softmax


def read_vendor_results(path: Path) -> VendorExport:
    """Read the concentrations, curves, summaries and calculated steps an export carries.

    Raises
    ------
    SourceFileError
        The file is no export of SoftMax Pro, Gen5 or SkanIt, is damaged, or carries no results beside its readings.
    """
    if is_workbook(path):
        sheets = read_sheets(path)
        text = softmax_reads.text_in(sheets)
    else:
        text = read_text(path)
        sheets = () if softmax_reads.recognise(text) else (text_sheet(text, path),)
    if softmax_reads.recognise(text):
        export = softmax.read(text, file_name=path.name)
    elif gen5_reads.recognise(sheets):
        export = gen5.read(sheets, file_name=path.name, stem=path.stem)
    elif skanit_reads.recognise(sheets):
        export = skanit.read(sheets, stem=path.stem)
    else:
        raise SourceFileError(
            what="The file is no export whose own results are understood.",
            where=f"File '{path.name}'.",
            remedy="Compare an export of SoftMax Pro, Gen5 or SkanIt that carries its concentrations.",
        )
    if not export.curves and not export.calculations:
        raise SourceFileError(
            what="The export carries readings only, and no results of its own software to compare with.",
            where=f"File '{path.name}'.",
            remedy="Include the group tables, the results or the calculated steps when exporting.",
        )
    return export
