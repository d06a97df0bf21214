from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx
    from conftest import Served


def word(client: httpx.Client) -> dict[str, str]:
    found = re.search(r'name="csrf" content="([0-9a-f]+)"', client.get("/board").text)
    assert found is not None
    return {"x-csrf-token": found.group(1)}


def test_a_dropped_file_lies_whole_in_the_inbox_and_in_the_trail(own_served: Served) -> None:
    client = own_served.logged_in("technician")
    content = b"0123456789" * 300_000
    answer = client.put("/inbox/elisa?name=P0231.txt", content=content, headers=word(client))
    assert answer.status_code == 201
    assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()
    assert (own_served.laboratory.folder.inbox("elisa") / "P0231.txt").read_bytes() == content
    assert [path.name for path in own_served.laboratory.folder.inbox("elisa").iterdir()] == ["P0231.txt"]
    event = own_served.logged_in("auditor").get("/api/v1/audit?action=file.uploaded").json()[0]
    assert (event["actor"], event["entity"]) == ("technician", "elisa/P0231.txt")
    assert "P0231.txt" in client.get("/board").text


def test_a_script_drops_with_its_token_alone(own_served: Served) -> None:
    script = own_served.client(headers=own_served.token("technician"))
    assert script.put("/api/v1/inbox/cytometry?name=ATR-000001.fcs", content=b"FCS3.1").status_code == 201


def test_a_drop_needs_the_pages_word(own_served: Served) -> None:
    client = own_served.logged_in("technician")
    assert client.put("/inbox/elisa?name=P.txt", content=b"x").status_code == 403
    assert client.put("/inbox/elisa?name=P.txt", content=b"x", headers={"x-csrf-token": "0" * 64}).status_code == 403


def test_a_file_that_lies_there_is_never_replaced(own_served: Served) -> None:
    client = own_served.logged_in("technician")
    assert client.put("/inbox/elisa?name=P.txt", content=b"first", headers=word(client)).status_code == 201
    answer = client.put("/inbox/elisa?name=P.txt", content=b"second", headers=word(client))
    assert answer.status_code == 409
    assert (own_served.laboratory.folder.inbox("elisa") / "P.txt").read_bytes() == b"first"


@pytest.mark.parametrize(
    "name",
    [
        "../lab.toml",
        "..",
        ".",
        "",
        " ",
        "/etc/passwd",
        "a/b.txt",
        "a\\b.txt",
        ".hidden",
        "~$open.xlsx",
        "half.part",
        "nul\x00.txt",
        "line\nbreak.txt",
        "x" * 201,
        "\u202etxt.exe",
        " led.txt",
        "P.reason.txt",
        "<b>.txt",
        "C:evil",
    ],
)
def test_a_name_that_could_be_a_path_or_is_never_taken_is_refused(people_served: Served, name: str) -> None:
    client = people_served.logged_in("technician")
    before = set(people_served.laboratory.folder.root.rglob("*"))
    answer = client.put("/inbox/elisa", params={"name": name}, content=b"x", headers=word(client))
    assert answer.status_code == 400, answer.text
    assert {path for path in people_served.laboratory.folder.root.rglob("*") if "lab.db" not in path.name} <= before


def test_an_inbox_or_instrument_nobody_declared_is_refused(people_served: Served) -> None:
    client = people_served.logged_in("technician")
    assert client.put("/inbox/arms?name=a.csv", content=b"x", headers=word(client)).status_code == 404
    assert client.put("/inbox/elisa?name=a.csv&instrument=../..", content=b"x", headers=word(client)).status_code == 404


def test_an_empty_file_is_refused_and_leaves_nothing(people_served: Served) -> None:
    client = people_served.logged_in("technician")
    assert client.put("/inbox/ihc?name=a.tiff", content=b"", headers=word(client)).status_code == 400
    assert list(people_served.laboratory.folder.inbox("ihc").iterdir()) == []
