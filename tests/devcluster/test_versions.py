"""Versions: what may stand in for a build of ours, and that they are written down once."""

from __future__ import annotations

import re

import pytest

from devcluster.paths import GO_MODULES
from devcluster.versions import API_PROGRAMS, PROGRAMS, Program, fits, parse_version


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("Kubernetes v1.36.3", (1, 36, 3)),
        ("etcd Version: 3.6.5\nGit SHA: Not provided\nGo Version: go1.26.8\n", (3, 6, 5)),
        ("Client Version: v1.36.0-rc.1\nKustomize Version: v5.7.1", (1, 36, 0)),
        ("v3.21.4+g1234567", (3, 21, 4)),
        ("development build", None),
        ("", None),
    ],
)
def test_the_version_is_found_in_what_programs_print(
    printed: str, version: tuple[int, int, int] | None
) -> None:
    assert parse_version(printed) == version


@pytest.mark.parametrize(
    ("found", "fit"),
    [("v1.36.0", True), ("v1.36.9", True), ("v1.35.3", False), ("v2.36.3", False), ("?", False)],
)
def test_an_installed_program_fits_with_the_same_major_and_minor_version(
    found: str, fit: bool
) -> None:
    assert fits(found, "1.36.3") is fit


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_the_go_module_has_the_version_that_the_table_names(program: Program) -> None:
    module = (GO_MODULES / program.module / "go.mod").read_text()
    required = re.findall(r"(?m)^\s*(?:require )?(\S+) v(\d+\.\d+\.\d+)\b", module)
    versions = {version for _, version in required}
    assert program.version in versions or program.module == "pause"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_the_go_module_names_no_proxy_and_no_local_folder(program: Program) -> None:
    for file in (GO_MODULES / program.module).iterdir():
        text = file.read_text()
        assert "://" not in text
        assert "=> /" not in text


def test_the_api_server_alone_needs_three_programs() -> None:
    assert set(API_PROGRAMS) <= {program.name for program in PROGRAMS}


def test_a_changed_linker_flag_gets_another_place_in_the_cache() -> None:
    one = Program("pause", "pause", ".", "1")
    other = Program("pause", "pause", ".", "1", flags="-X main.a=b")
    assert one.key != other.key
