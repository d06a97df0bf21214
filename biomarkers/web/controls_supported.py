"""How the software supports controls of electronic records and signatures, and what remains with the laboratory.

Knows sentences, each with the test that shows what it says. Must not claim more: a laboratory shows that its own
installation is fit for its use.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportedControl:
    """One control: its name, where it is asked for, what the software does, what the laboratory does, which test shows it.

    Attributes
    ----------
    test
        As pytest names it: ``file::function``.
    """

    control: str
    clause: str
    software: str
    laboratory: str
    test: str


CONTROLS = (
    SupportedControl(
        control="Fitness for use",
        clause="21 CFR 11.10(a); Annex 11, 4",
        software="Its tests run with one command, and each says in its name what it shows.",
        laboratory="Shows that its own installation does what it needs, with its own files, and keeps that record.",
        test="tests/architecture/test_commands.py::test_every_command_answers_for_help_and_explains_each_option",
    ),
    SupportedControl(
        control="Copies for people and programs",
        clause="21 CFR 11.10(b); Annex 11, 8",
        software="Every table is given out as CSV, XLSX and JSON, every run as a page that opens in any browser.",
        laboratory="Decides who gets copies.",
        test="tests/unit/web/test_pages.py::test_exports_hold_every_row_chosen_and_keep_formulas_text",
    ),
    SupportedControl(
        control="Originals kept",
        clause="21 CFR 11.10(c); Annex 11, 7.1",
        software="Original bytes lie under their digest, read-only; each night or check-up reads them again.",
        laboratory="Guards the machine and its disks.",
        test="tests/unit/lab/test_archive.py::test_admitted_bytes_lie_under_their_digest_read_only_and_the_drop_stays",
    ),
    SupportedControl(
        control="Records protected",
        clause="21 CFR 11.10(c); Annex 11, 7",
        software="The tables of results, decisions, signatures and the trail refuse change and removal; releases are locked.",
        laboratory="Keeps the database's owner account away from daily work: an owner can take such guards off.",
        test="tests/unit/store/test_append_only.py::test_every_append_only_table_keeps_its_rows_against_update_and_delete",
    ),
    SupportedControl(
        control="Backup and restoration",
        clause="Annex 11, 7.2, 16",
        software="A copy is made while the laboratory works, restored for a test at once, and every byte checked.",
        laboratory="Keeps copies elsewhere, and restores one now and then.",
        test="tests/end_to_end/test_keeping.py::test_a_restored_laboratory_shows_the_same_table_and_a_whole_audit_trail",
    ),
    SupportedControl(
        control="Access by role",
        clause="21 CFR 11.10(d), (g); Annex 11, 12",
        software="Each address names the right it needs; what is not listed is refused.",
        laboratory="Gives each person their own account and the role they need, and closes it when they leave.",
        test="tests/unit/web/test_rights.py::test_every_address_answers_a_role_exactly_where_the_matrix_says_so",
    ),
    SupportedControl(
        control="Passwords",
        clause="21 CFR 11.300",
        software="Argon2id hashes; wrong ones are counted and further tries refused for a while; idle sessions end.",
        laboratory="Asks for passwords nobody else uses, and renews those it must suspect.",
        test="tests/unit/web/test_login.py::test_the_right_password_is_not_looked_at_after_five_wrong_ones",
    ),
    SupportedControl(
        control="Audit trail",
        clause="21 CFR 11.10(e); Annex 11, 9",
        software="Who did what, when, before and after, and why: a chain of hashes whose first broken entry is named.",
        laboratory="Reads it, and keeps its head outside the system: a rewritten whole shows only against that.",
        test="tests/unit/store/test_audit.py::test_the_first_changed_entry_is_named_whatever_was_changed",
    ),
    SupportedControl(
        control="Time of the server, in UTC",
        clause="21 CFR 11.10(e)",
        software="Moments are kept in UTC, and ones without a time zone refused.",
        laboratory="Keeps the machine's clock right.",
        test="tests/unit/store/test_audit.py::test_moments_are_kept_in_utc_and_naive_ones_refused",
    ),
    SupportedControl(
        control="Order of steps",
        clause="21 CFR 11.10(f)",
        software="Nothing is released that was not reviewed as it stands.",
        laboratory="Says who reviews what, and when.",
        test="tests/unit/web/test_signatures.py::test_nothing_is_released_that_was_not_reviewed",
    ),
    SupportedControl(
        control="Two persons",
        clause="Annex 11, 15; good clinical laboratory practice",
        software="Where study.toml asks for it, nobody releases what only they themselves have reviewed.",
        laboratory="Declares whether it wants this, and has two people.",
        test="tests/unit/web/test_signatures.py::"
        "test_where_the_study_asks_for_two_persons_nobody_releases_what_only_they_reviewed",
    ),
    SupportedControl(
        control="Signature shown with name, time and meaning",
        clause="21 CFR 11.50; Annex 11, 14",
        software="A signature holds the person's name, its time and what they say by it.",
        laboratory="Decides who signs, and has people acknowledge that signing here is as by hand.",
        test="tests/unit/web/test_signatures.py::"
        "test_results_are_reviewed_then_released_and_every_signature_names_person_time_and_meaning",
    ),
    SupportedControl(
        control="Signature bound to its record",
        clause="21 CFR 11.70",
        software="It binds to the digest of what was signed; any change afterwards shows it as broken.",
        laboratory="Looks at signatures that no longer hold; the auditor's first page lists them.",
        test="tests/unit/web/test_signatures.py::test_a_masked_well_breaks_the_signature_visibly_and_starts_the_plate_anew",
    ),
    SupportedControl(
        control="Signed results computed again",
        clause="21 CFR 11.10(e); Annex 11, 10",
        software="Other numbers for signed results are only proposed, and count once somebody accepts them by password.",
        laboratory="Says who may accept, looks at old and new number side by side, and reviews the run again.",
        test="tests/end_to_end/test_proposals_in_the_browser.py::"
        "test_a_lab_head_accepts_and_refuses_what_changed_under_signed_results_and_all_of_it_stays_on_record",
    ),
    SupportedControl(
        control="Signature by its owner alone",
        clause="21 CFR 11.200",
        software="The password is asked for again; a script's token cannot sign.",
        laboratory="Checks who somebody is before they get an account.",
        test="tests/unit/web/test_signatures.py::test_a_signature_needs_the_password_again",
    ),
    SupportedControl(
        control="Input checked",
        clause="21 CFR 11.10(h); Annex 11, 5, 6",
        software="What is dropped is read by the rules of its format or refused with place and remedy; payloads stay text.",
        laboratory="Mends or repeats what was refused.",
        test="tests/end_to_end/test_bad_files.py::"
        "test_each_bad_file_ends_in_quarantine_with_its_reason_and_good_files_go_through",
    ),
    SupportedControl(
        control="Subjects' identity",
        clause="EU 2016/679, Article 5(1)(c); EMA guideline on computerised systems",
        software="Names, dates of birth and hospital numbers in names, keywords, properties and notes are found at the door.",
        laboratory="Declares what becomes of such files, and the form of its hospitals' numbers; looks at pictures of labels.",
        test="tests/end_to_end/test_front_door.py::test_identifying_data_end_in_quarantine_and_are_repeated_nowhere",
    ),
    SupportedControl(
        control="Blinding",
        clause="ICH E9; EMA guideline on computerised systems",
        software="Arms lie in a store of their own; no page, export or message of another role holds one.",
        laboratory="Keeps arms.csv away from laboratory staff.",
        test="tests/unit/web/test_canary.py::test_the_arm_appears_in_nothing_served_to_a_role_without_the_right",
    ),
    SupportedControl(
        control="Transport",
        clause="21 CFR 11.30",
        software="Served on this machine alone unless told otherwise; cookies and headers for TLS behind a proxy.",
        laboratory="Runs the proxy with its certificate, and the machine behind its own doors.",
        test="tests/unit/web/test_border.py::test_what_came_over_tls_is_told_to_stay_there",
    ),
)
