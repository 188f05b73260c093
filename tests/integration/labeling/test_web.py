"""The API in JSON over HTTP, as pages call it."""

import json
from contextlib import closing
from http.client import HTTPConnection

import pytest

from tests.clinics import HEIGHT, WIDTH, Clinic, points, token_of


@pytest.fixture
def web(serve, tokens_file) -> str:
    """The address of a server without images."""
    return serve("labeling", CANICOR_TOKENS_FILE=str(tokens_file)).page_address


def post(address: str, method: str, body: object, person: str = "anna", **headers: str) -> tuple[int, dict]:
    """The status and the JSON of an answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = HTTPConnection(address, timeout=30)
    with closing(connection):
        connection.request(
            "POST", f"/api/{method}", content, {"Authorization": f"Bearer {token_of(person)}", **headers}
        )
        answer = connection.getresponse()
        return answer.status, json.load(answer)


def test_an_image_is_labelled_in_json(serve, tokens_file):
    server = serve("labeling", CANICOR_TOKENS_FILE=str(tokens_file))
    address = server.page_address
    clinic = Clinic(server, server.home)
    (image_id,) = clinic.add(1)
    status, answer = post(address, "LeaseTask", {"project": "hearts"}, Origin=f"http://{address}")
    task = answer["task"]
    assert (status, task["image"]["id"], task["image"]["width"], task["image"]["height"]) == (
        200,
        image_id,
        WIDTH,
        HEIGHT,
    )
    placed = points(9.0)
    xy = {name: {"x": getattr(placed, name).x, "y": getattr(placed, name).y} for name in "abcdef"}
    label = {"requestId": "a1", "leaseId": task["leaseId"], "keyPoints": xy, "timeSpent": "3.5s"}
    status, answer = post(address, "SubmitLabel", label)
    assert (status, answer["label"]["labeller"], answer["label"]["heartSize"]) == (
        200,
        "anna",
        "HEART_SIZE_NORMAL",
    )
    assert answer["label"]["vhs"] == pytest.approx(9.0)
    (stored,) = clinic("rita", "ListLabels", project="hearts").labels
    assert stored.time_spent.ToMilliseconds() == 3500
    clinic.close()


def test_what_grpc_refuses_is_refused_with_its_reason(web):
    for status, code, reason, (method, body, person) in (
        (404, "NOT_FOUND", "NO_TASK_LEFT", ("LeaseTask", {"project": "hearts"}, "anna")),
        (400, "INVALID_ARGUMENT", "PROJECT_NAME", ("LeaseTask", {"project": "A"}, "anna")),
        (400, "FAILED_PRECONDITION", "LEASE_EXPIRED", ("RejectImage", {"requestId": "a", "reason": 1}, "anna")),
        (403, "PERMISSION_DENIED", "ROLE_MISSING", ("SetProject", {"project": {"name": "a"}}, "anna")),
        (401, "UNAUTHENTICATED", "TOKEN_UNKNOWN", ("ListProjects", {}, "nobody")),
    ):
        found, answer = post(web, method, body, person)
        assert (found, answer["code"], answer["reason"]) == (status, code, reason)
        assert answer["message"]


def test_what_is_no_call_is_refused(web):
    for status, reason, method, body in (
        (404, "NO_SUCH_CALL", "Nothing", {}),
        (404, "NO_SUCH_CALL", "ExportDataset", {"project": "hearts"}),
        (400, "BAD_JSON", "LeaseTask", b"{"),
        (400, "BAD_JSON", "LeaseTask", {"projekt": "hearts"}),
        (400, "BAD_JSON", "LeaseTask", b"\xff"),
    ):
        found, answer = post(web, method, body)
        assert (found, answer["reason"]) == (status, reason)


def test_a_page_of_another_site_is_refused(web):
    for origin in ("http://evil.example", "null", f"http://{web}.evil.example"):
        status, answer = post(web, "ListProjects", {}, Origin=origin)
        assert (status, answer["reason"]) == (403, "CROSS_SITE")


def test_a_request_that_is_too_large_is_refused(serve, tokens_file):
    server = serve("labeling", CANICOR_TOKENS_FILE=str(tokens_file), CANICOR_MAX_MESSAGE_BYTES="1000")
    status, answer = post(server.page_address, "GetProject", {"name": "x" * 2000})
    assert (status, answer["code"]) == (413, "RESOURCE_EXHAUSTED")
