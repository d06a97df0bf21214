"""Lets services run the command line by this interpreter."""

from biomarkers.cli import main

main()
