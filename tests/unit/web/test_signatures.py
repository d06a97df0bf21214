from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx
    from conftest import Served

PASSWORD = "a quiet afternoon in the lab"  # noqa: S105  - of everybody in these tests


def a_plate(client: httpx.Client) -> str:
    return str(next(run["run_id"] for run in client.get("/api/v1/runs").json() if run["assay"] == "elisa"))


def form(client: httpx.Client, run_id: str) -> dict[str, str]:
    text = client.get(f"/runs/{run_id}").text
    found = {name: re.search(rf'name="{name}" value="([^"]*)"', text) for name in ("csrf", "digest", "meaning")}
    return {name: match.group(1) for name, match in found.items() if match is not None}


def sign(client: httpx.Client, run_id: str, **other: str) -> httpx.Response:
    given = {**form(client, run_id), "password": PASSWORD, **other}
    return client.post(f"/runs/{run_id}/signatures", data=given, follow_redirects=True)


def standing(client: httpx.Client, run_id: str) -> str:
    return str(next(run["standing"] for run in client.get("/api/v1/runs").json() if run["run_id"] == run_id))


def test_results_are_reviewed_then_released_and_every_signature_names_person_time_and_meaning(own_served: Served) -> None:
    client = own_served.logged_in("reviewer")
    run_id = a_plate(client)
    assert standing(client, run_id) == "preliminary"
    assert "Signed." in sign(client, run_id).text
    assert standing(client, run_id) == "reviewed"
    assert "Signed." in sign(client, run_id, reason="final").text
    assert standing(client, run_id) == "released"
    page = re.sub(r"<[^>]+>", "", client.get(f"/runs/{run_id}").text)
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d reviewed by Dr. Reviewer \(reviewer\)", page)
    assert re.search(r"released by Dr. Reviewer \(reviewer\): final", page)


def test_nothing_is_released_that_was_not_reviewed(own_served: Served) -> None:
    client = own_served.logged_in("reviewer")
    run_id = a_plate(client)
    answer = sign(client, run_id, meaning="released")
    assert answer.status_code == 409
    assert "Only reviewed results that have not changed since can be released." in answer.text


def test_a_signature_needs_the_password_again(own_served: Served) -> None:
    client = own_served.logged_in("reviewer")
    run_id = a_plate(client)
    answer = sign(client, run_id, password="wrong")  # noqa: S106  - what must not work
    assert answer.status_code == 403
    assert standing(client, run_id) == "preliminary"


def test_a_token_cannot_sign(own_served: Served) -> None:
    client = own_served.logged_in("reviewer")
    run_id = a_plate(client)
    given = form(client, run_id)
    script = own_served.client(headers=own_served.token("reviewer"))
    answer = script.post(f"/runs/{run_id}/signatures", data={**given, "password": PASSWORD})
    assert answer.status_code == 403


def test_what_changed_while_it_was_looked_at_is_not_signed(own_served: Served) -> None:
    client = own_served.logged_in("reviewer")
    run_id = a_plate(client)
    seen = form(client, run_id)
    mask(client, run_id, "A03")
    answer = client.post(f"/runs/{run_id}/signatures", data={**seen, "password": PASSWORD})
    assert answer.status_code == 409
    assert "The results have changed since they were shown, so nothing was signed." in answer.text


def mask(client: httpx.Client, run_id: str, well: str, **other: str) -> httpx.Response:
    given = {"csrf": form(client, run_id)["csrf"], "well": well, "reason": "a bubble", "action": "mask", **other}
    return client.post(f"/runs/{run_id}/masks", data=given, follow_redirects=True)


def test_a_masked_well_breaks_the_signature_visibly_and_starts_the_plate_anew(own_served: Served) -> None:
    client = own_served.logged_in("reviewer")
    run_id = a_plate(client)
    sign(client, run_id)
    answer = mask(client, run_id, "A03")
    assert answer.status_code == 200
    assert standing(client, run_id) == "changed"
    assert "broken: what was signed has changed" in answer.text
    assert own_served.renewed == [(run_id, "Wells A03 were masked by reviewer: a bubble")]
    auditor = own_served.logged_in("auditor")
    assert run_id in auditor.get("/").text
    event = auditor.get("/api/v1/audit?action=wells.").json()[0]
    assert (event["actor"], event["reason"], event["detail"]) == ("reviewer", "a bubble", {"wells": ["A03"]})


def test_taking_the_change_back_makes_what_was_signed_stand_again(own_served: Served) -> None:
    client = own_served.logged_in("reviewer")
    run_id = a_plate(client)
    sign(client, run_id)
    mask(client, run_id, "A03")
    mask(client, run_id, "A03", action="unmask")
    assert standing(client, run_id) == "reviewed"


def test_a_decision_about_a_result_breaks_the_signature(own_served: Served) -> None:
    client = own_served.logged_in("reviewer")
    run_id = a_plate(client)
    sign(client, run_id)
    result = client.get(f"/api/v1/runs/{run_id}/results").json()[0]["result_id"]
    page = client.get(f"/results/{result}").text
    csrf = re.search(r'name="csrf" value="([^"]*)"', page)
    assert csrf is not None
    given = {"csrf": csrf.group(1), "decision": "excluded"}
    assert client.post(f"/results/{result}/decisions", data={**given, "reason": " "}).status_code == 400
    assert client.post(f"/results/{result}/decisions", data={**given, "reason": "clotted"}).status_code == 303
    assert standing(client, run_id) == "changed"


def test_masks_need_wells_that_exist_and_a_reason(own_served: Served) -> None:
    client = own_served.logged_in("technician")
    run_id = a_plate(client)
    assert mask(client, run_id, "").status_code == 400
    assert mask(client, run_id, "A03", reason=" ").status_code == 400
    assert mask(client, run_id, "Z99").status_code == 409
    assert own_served.renewed == []


def test_where_the_study_asks_for_two_persons_nobody_releases_what_only_they_reviewed(two_persons_served: Served) -> None:
    first, second = two_persons_served.logged_in("reviewer"), two_persons_served.logged_in("second")
    run_id = a_plate(first)
    sign(first, run_id)
    page = first.get(f"/runs/{run_id}").text
    assert "Only you have reviewed these results; the study asks that another person releases them." in page
    assert "Sign as released" not in page
    seen = form(second, run_id)
    csrf = re.search(r'name="csrf" value="([^"]*)"', page)
    assert csrf is not None
    answer = sign(first, run_id, digest=seen["digest"], meaning="released", csrf=csrf.group(1))
    assert answer.status_code == 409
    assert "nobody releases results that only they themselves have reviewed" in answer.text
    assert standing(first, run_id) == "reviewed"
    assert "Signed." in sign(second, run_id).text
    assert standing(first, run_id) == "released"


def test_a_second_review_lets_the_first_reviewer_release(two_persons_served: Served) -> None:
    first, second = two_persons_served.logged_in("reviewer"), two_persons_served.logged_in("second")
    run_id = a_plate(first)
    sign(first, run_id)
    sign(second, run_id, meaning="reviewed")
    assert "Signed." in sign(first, run_id).text
    assert standing(first, run_id) == "released"
