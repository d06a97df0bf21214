"""From dropped instrument file to an arm- and visit-aligned biomarker table, with the evidence behind every number."""
