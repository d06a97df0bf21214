"""How the software supports controls of electronic records and signatures, and what remains with the laboratory.

Knows sentences, each with the test that shows what it says. Must not claim more: a laboratory shows that its own
installation is fit for its use.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportedControl:
    """One control: where it is asked for, what the software does, what the laboratory does, and which test shows it."""

    clause: str
    software: str
    laboratory: str
    test: str


CONTROLS = (
    SupportedControl(
        clause="21 CFR 11.10(a); Annex 11, 4",
        software="Its tests run with one command and say what each one shows.",
        laboratory="Shows that its own installation does what it needs, and keeps that record.",
        test="tests/architecture/test_commands.py",
    ),
    SupportedControl(
        clause="21 CFR 11.10(b)",
        software="Every table is given out as CSV, XLSX and JSON, every run as a page that opens in any browser.",
        laboratory="Decides who gets copies.",
        test="tests/unit/web/test_pages.py",
    ),
    SupportedControl(
        clause="21 CFR 11.10(c)",
        software="Original bytes lie under their digest, read-only; the tables refuse change and removal.",
        laboratory="Keeps backups elsewhere and restores one now and then.",
        test="tests/unit/store/test_append_only.py",
    ),
    SupportedControl(
        clause="21 CFR 11.10(d), (g); Annex 11, 12",
        software="Roles with listed rights; what is not listed is refused; passwords hashed, logins limited, sessions end.",
        laboratory="Gives each person their own account and the role they need, and closes it when they leave.",
        test="tests/unit/web/test_rights.py",
    ),
    SupportedControl(
        clause="21 CFR 11.10(e); Annex 11, 9",
        software="Who did what, when, before and after, and why: a chain of hashes whose first broken entry is named.",
        laboratory="Reads it, and keeps its head outside the system: a rewritten whole shows only against that.",
        test="tests/unit/store/test_audit.py",
    ),
    SupportedControl(
        clause="21 CFR 11.50, 11.70, 11.200; Annex 11, 14",
        software="A signature holds name, time and meaning, asks for the password again, and binds to the digest of what was "
        "signed; any change afterwards shows it as broken.",
        laboratory="Decides who signs, and has people acknowledge that signing here is as by hand.",
        test="tests/unit/web/test_signatures.py",
    ),
    SupportedControl(
        clause="Blinding (ICH E9; EMA guideline on computerised systems)",
        software="Arms lie in a store of their own; no page, export or message of another role holds one.",
        laboratory="Keeps arms.csv away from laboratory staff.",
        test="tests/unit/web/test_canary.py",
    ),
    SupportedControl(
        clause="21 CFR 11.30; transport",
        software="Served on this machine alone unless told otherwise; cookies and headers for TLS behind a proxy.",
        laboratory="Runs the proxy with its certificate, and the machine behind its own doors.",
        test="tests/unit/web/test_border.py",
    ),
)
