"""Every command explains itself, and the manual names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.core
import typer.main
from typer.testing import CliRunner

from biomarkers.cli import app


def commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_group(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_answers_for_help_and_explains_each_option(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert COMMANDS[path].help
    unexplained = [p.name for p in COMMANDS[path].params if p.name != "help" and not getattr(p, "help", None)]
    assert unexplained == []


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_manual_names_every_command(path: tuple[str, ...], project_root: Path) -> None:
    assert f"biomarkers {' '.join(path)}" in (project_root / "README.md").read_text(encoding="utf-8")
