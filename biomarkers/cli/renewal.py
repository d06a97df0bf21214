"""One run computed again, as the web pages ask for it after a person's decision: a process of its own, no command.

Called as ``python -m biomarkers.cli.renewal LAB RUN_ID REASON``.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(lab: str, run_id: str, reason: str) -> None:
    """Compute the run again; its new results supersede the old ones with the reason."""
    from biomarkers.cli.lab import recompute_once
    from biomarkers.laboratory import open_lab

    with open_lab(Path(lab)) as laboratory:
        recompute_once(laboratory, reason, only=[run_id])


if __name__ == "__main__":
    main(*sys.argv[1:4])
