"""The only importer of Prefect: what runs when, over which files. Thin; every computation lies in `biomarkers`."""
