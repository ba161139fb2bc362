"""What is handed on: to pods' names, to image builds, to a shell."""

from __future__ import annotations

import struct

from devcluster.dns import answer_count, question
from devcluster.images import pip_settings
from devcluster.status import Row, table
from devcluster.variables import shell_exports


def test_an_image_build_gets_the_index_of_this_machine_but_none_of_its_folders() -> None:
    listed = (
        ":env:.cert='/etc/ssl/certs/ca-certificates.crt'\n"
        "global.index-url='https://packages.example/simple'\n"
        "global.find-links='/opt/wheels'\n"
    )
    variables = {"PIP_FIND_LINKS": "/opt/wheels", "PIP_DEFAULT_TIMEOUT": "180"}
    assert pip_settings(listed, variables) == {
        "index-url": "https://packages.example/simple",
        "timeout": "180",
    }


def test_a_pip_variable_wins_over_its_file_and_over_uv() -> None:
    variables = {"PIP_INDEX_URL": "https://a.example", "UV_DEFAULT_INDEX": "https://b.example"}
    listed = "global.index-url='https://c.example'"
    assert pip_settings(listed, variables)["index-url"] == "https://a.example"
    assert pip_settings("", {"UV_DEFAULT_INDEX": "https://b.example"}) == {
        "index-url": "https://b.example"
    }


def test_exports_survive_a_shell() -> None:
    assert shell_exports({"A": "x y", "B": "it's"}) == "export A='x y'\nexport B='it'\"'\"'s'"


def test_a_dns_answer_counts_only_without_an_error() -> None:
    assert question("a.bc").endswith(b"\x01a\x02bc\x00\x00\x01\x00\x01")
    assert answer_count(struct.pack(">6H", 1, 0x8180, 1, 2, 0, 0)) == 2
    assert answer_count(struct.pack(">6H", 1, 0x8183, 1, 1, 0, 0)) == 0
    assert answer_count(b"short") == 0


def test_the_table_says_where_to_look_for_what_is_not_well() -> None:
    shown = table([Row("etcd", 12, True), Row("kubelet", None, False, "see kubelet.log")])
    assert shown.splitlines()[1].split() == ["etcd", "12", "yes"]
    assert shown.splitlines()[2].split() == ["kubelet", "-", "NO", "see", "kubelet.log"]
