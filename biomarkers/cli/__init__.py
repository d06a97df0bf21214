"""The command line: one module a command group, each importing what a command needs only when it runs.

Knows how commands are called and what they print. Must not know how anything is computed or stored.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from biomarkers.cli import (
    arms,
    audit,
    cytometry,
    decisions,
    elisa,
    export,
    figures,
    ihc,
    keeping,
    lab,
    plate_decisions,
    proposals,
    release,
    serve,
    slide_decisions,
    study,
    table,
    worklist,
)
from biomarkers.errors import BiomarkersError

NEEDS_A_PERSON = 1
WRONG_CALL = 2
OUR_FAULT = 3

app = typer.Typer(
    name="biomarkers",
    help="From dropped instrument file to timepoint table: ELISA, flow cytometry and immunohistochemistry of a trial.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
lab.add_to(app)
keeping.add_to(app)
plate_decisions.add_to(app)
proposals.add_to(app)
serve.add_to(app)
study.add_to(app)
table.add_to(app)
worklist.add_to(app)
figures.add_to(app)
export.add_to(app)
release.add_to(app)
app.add_typer(arms.app, name="arms")
app.add_typer(audit.app, name="audit")
app.add_typer(decisions.app, name="decisions")
app.add_typer(elisa.app, name="elisa")
app.add_typer(cytometry.app, name="cytometry")
app.add_typer(ihc.app, name="ihc")
app.add_typer(slide_decisions.app, name="slides")


@app.callback()
def _options(
    *,
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of a fault."),
) -> None:
    if debug:
        os.environ["BIOMARKERS_DEBUG"] = "1"


def main() -> NoReturn:
    """Run the command line; every fault becomes three sentences on stderr and an exit status."""
    try:
        app()
    except BiomarkersError as error:
        if os.environ.get("BIOMARKERS_DEBUG"):
            raise
        sys.stderr.write(_three_parts(error))
        sys.exit(NEEDS_A_PERSON)
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # the outermost border: what is not ours becomes one line and status 3
        if os.environ.get("BIOMARKERS_DEBUG"):
            raise
        sys.stderr.write(
            f"Something went wrong inside the program: {type(error).__name__}: {error}\n"
            "Run the command again with 'biomarkers --debug ...' and report what it prints.\n"
        )
        sys.exit(OUR_FAULT)
    sys.exit(0)


def _three_parts(error: BiomarkersError) -> str:
    notes = "".join(f"  {note}\n" for note in getattr(error, "__notes__", ()))
    return "".join(f"{fault}\n" for fault in error.faults) + notes
