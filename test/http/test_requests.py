"""What holds for every request: paths, methods, queries, request ids and cross-origin access."""

import re
import uuid

import pytest

from harness.api import fields_of, problem_of

MITRAS = "/internal/mitras"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NOBODY = "11111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/api", "/api/mitra", "/api/mitra/status/", "/api/mitra/status/onlin", "/api/mitra/status/online/x"),
        *("/API/mitra/status", "/api/mitra/%73tatus", "/api//mitra/status", "/api/mitra/./status", "/livez/"),
        *("/internal/mitras", "/internal/config", f"/internal/mitras/{NOBODY}", "/internal/dashboard"),
    ],
)
def test_what_the_public_listener_does_not_serve_is_not_found(mitrad, operator_token, path):
    problem_of(mitrad.get(path, token=operator_token), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "path", ["/api/mitra/status", "/public/bestie-availability", "/internal", "/internal/mitras/"]
)
def test_what_the_internal_listener_does_not_serve_is_not_found(mitrad, operator_token, path):
    problem_of(mitrad.internal.get(path, token=operator_token), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "given",
    [
        *("42", "me", NOBODY[:-1], NOBODY + "0", NOBODY.replace("-", ""), "{" + NOBODY + "}", NOBODY[:-1] + "g"),
        *("..", "%00", NOBODY + "%20", NOBODY + "%2F", "-" * 36),
    ],
)
def test_an_id_that_is_no_uuid_is_not_found(mitrad, operator_token, given):
    for path in (f"{MITRAS}/{given}", f"{MITRAS}/{given}/online-logs", f"{MITRAS}/{given}/reachability"):
        problem_of(mitrad.internal.get(path, token=operator_token), 404, "NOT_FOUND")


def test_an_id_may_be_in_upper_case(mitrad, operator_token, make_mitra):
    mitra = make_mitra()
    answer = mitrad.internal.get(f"{MITRAS}/{mitra.id.upper()}", token=operator_token)
    assert answer.status == 200 and answer.json["id"] == mitra.id


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("GET", "/api/mitra/status/online", "POST, OPTIONS"),
        ("DELETE", "/api/mitra/status", "GET, HEAD, OPTIONS"),
        ("POST", "/public/bestie-availability", "GET, HEAD, OPTIONS"),
        ("PUT", "/livez", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_is_not_there_is_answered_with_those_that_are(mitrad, method, path, allowed):
    answer = mitrad.request(method, path)
    problem_of(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == allowed


def test_the_methods_of_a_path_are_those_of_all_its_routes(mitrad, operator_token):
    answer = mitrad.internal.request("DELETE", f"{MITRAS}/{NOBODY}", token=operator_token)
    problem_of(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, HEAD, PATCH, OPTIONS"
    assert mitrad.internal.request("OPTIONS", MITRAS).headers["allow"] == "GET, HEAD, POST, OPTIONS"


def test_options_says_what_a_path_can_do(mitrad):
    answer = mitrad.request("OPTIONS", "/api/mitra/status/online")
    assert (answer.status, answer.text) == (204, "")
    assert answer.headers["allow"] == "POST, OPTIONS"
    problem_of(mitrad.request("OPTIONS", "/nothing"), 404, "NOT_FOUND")


def test_head_answers_as_get_does_without_the_body(mitrad, make_mitra):
    mitra = make_mitra()
    for path in ("/livez", "/public/bestie-availability", "/api/mitra/status"):
        got, asked = (mitrad.request(method, path, token=mitra.token) for method in ("GET", "HEAD"))
        assert (asked.status, asked.text) == (got.status, "")
        assert asked.headers["content-type"] == got.headers["content-type"]
        assert asked.headers.get("content-length", got.headers["content-length"]) == got.headers["content-length"]
    assert mitrad.request("HEAD", "/api/mitra/status").status == 401
    assert mitrad.request("HEAD", "/nothing").status == 404


def test_a_head_leaves_the_connection_usable(mitrad):
    with mitrad.public.connect() as stream:
        stream.sendall(b"HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        stream.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := stream.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.count(b'"status":"ok"') == 1


def test_answers_are_not_to_be_cached(mitrad):
    for path in ("/public/bestie-availability", "/nothing"):
        assert mitrad.get(path).headers["cache-control"] == "no-store"


def test_who_can_sign_in_how_is_public(mitrad):
    answer = mitrad.get("/api/shared/auth-providers")
    assert answer.status == 200
    assert isinstance(answer.json["providers"], list)


@pytest.mark.parametrize(
    "query, field",
    [
        *(("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"), ("limit=", "limit")),
        *(("limit=-1", "limit"), ("limit=1.5", "limit"), ("limit=99999999999999999999", "limit")),
        *(("limit=1%00", "limit"), ("limit=0000000000001", "limit")),
        *(("limit=%2B5", "limit"), ("limit=+5", "limit"), ("limit=5%20", "limit"), ("limit=0x10", "limit")),
        *(("q=%ff%fe", "q"), ("q=%00", "q"), ("q=a%0Ab", "q"), ("q=%c0%af", "q"), ("q=%ed%a0%80", "q")),
        *(("q=" + "x" * 101, "q"), ("q=" + "%61" * 101, "q")),
        *(("online=yes", "online"), ("online=", "online"), ("online=TRUE", "online"), ("active=2", "active")),
        *(("cursor=nonsense", "cursor"), ("cursor=", "cursor"), ("cursor=%ff", "cursor"), ("cursor=MTIz", "cursor")),
        *(("cursor=====", "cursor"), ("cursor=" + "A" * 197, "cursor"), ("cursor=" + "A" * 201, "cursor")),
    ],
)
def test_a_query_that_means_nothing_is_refused(mitrad, operator_token, query, field):
    answer = mitrad.internal.get(f"{MITRAS}?{query}", token=operator_token)
    assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == [field]


def test_a_query_of_online_logs_is_checked_alike(mitrad, operator_token, make_mitra):
    path = f"{MITRAS}/{make_mitra().id}/online-logs"
    for query, field in (("limit=201", "limit"), ("cursor=x", "cursor")):
        answer = mitrad.internal.get(f"{path}?{query}", token=operator_token)
        assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == [field]


def test_every_fault_of_a_query_is_named(mitrad, operator_token):
    answer = mitrad.internal.get(f"{MITRAS}?q=%ff&online=x&active=y&limit=z", token=operator_token)
    assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == ["active", "limit", "online", "q"]


@pytest.mark.parametrize(
    "query",
    ["limit=1", "limit=200", "q=%F0%9F%98%80", "q=", "q=" + "x" * 100, "unknown=1", "", "&&", "=", "q=%zz"],
)
def test_a_query_at_the_edge_is_taken(mitrad, operator_token, query):
    assert mitrad.internal.get(f"{MITRAS}?{query}", token=operator_token).status == 200


@pytest.mark.parametrize(
    "given", ["a", "abc-123", "0af7651916cd43dd8448eb211c80319c", "x" * 128, "a.b_c~d:e+f/g=h@i"]
)
def test_a_sane_request_id_is_repeated(mitrad, given):
    for path, status in (("/livez", 200), ("/nothing", 404), ("/api/mitra/status", 401)):
        answer = mitrad.get(path, headers={"X-Request-Id": given})
        assert (answer.status, answer.headers["x-request-id"]) == (status, given)


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "a\\b", "<script>", "a;b", "a,b", "é", "%0d%0a"])
def test_another_request_id_is_replaced(mitrad, given):
    answer = mitrad.get("/nothing", headers={"X-Request-Id": given.encode("latin-1")})
    assert UUID.fullmatch(answer.headers["x-request-id"])
    assert problem_of(answer, 404, "NOT_FOUND")["request_id"] != given


def test_a_field_is_known_by_all_of_its_name_and_the_first_one_counts(mitrad):
    fields = (
        *("X-Request: 1", "X-Request-Id-2: 2", "X-Empty:", "Y: X-Request-Id:3", "x-rEQUEST-iD: \t the-first \t"),
        *("X-Request-Id: the-second", "X-Last:"),
    )
    with mitrad.public.connect() as stream:
        stream.sendall("\r\n".join(("GET /livez HTTP/1.1", "Host: a", *fields, "", "")).encode())
        stream.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := stream.recv(65536):
            received += piece
    first, second = re.findall(r"(?m)^X-Request-Id: (.+?)\r$", received.decode())
    assert first == "the-first"
    assert UUID.fullmatch(second), "what one request said is nothing to the next"


def test_every_answer_has_a_request_id_of_its_own(mitrad):
    given = {mitrad.get("/livez").headers["x-request-id"] for _ in range(50)}
    assert len(given) == 50 and all(UUID.fullmatch(one) for one in given)


def test_a_request_is_found_in_the_log_by_its_id(mitrad, make_mitra):
    wanted = f"trace-{uuid.uuid4()}"
    mitra = make_mitra()
    mitrad.get("/api/mitra/status", token=mitra.token, headers={"X-Request-Id": wanted})
    line = mitrad.wait_log(lambda line: line.get("request_id") == wanted)
    assert line["message"] == "GET /api/mitra/status 200" and line["status"] == 200
    assert mitra.token not in mitrad.log_text()


# CORS: the control center is a page of another origin; apps are none.


def preflight(mitrad, origin, path=MITRAS):
    asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type"}
    return mitrad.internal.request("OPTIONS", path, headers={"Origin": origin, **asked})


def test_the_control_center_may_ask_before_it_asks(mitrad, origins):
    for origin in origins:
        answer = preflight(mitrad, origin, f"{MITRAS}/{NOBODY}")
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "PATCH" in answer.headers["access-control-allow-methods"].split(", ")
        named = answer.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "content-type", "x-request-id"} <= set(named)
        assert answer.headers["vary"] == "Origin"


def test_the_control_center_may_read_every_answer(mitrad, origins, operator_token):
    for path, status in ((MITRAS, 200), (f"{MITRAS}/{NOBODY}", 404), ("/livez", 200)):
        answer = mitrad.internal.get(path, token=operator_token, headers={"Origin": origins[0]})
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == origins[0]
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example.org", "http://cc.example.org", "https://cc.example.org:444", "https://cc.example.org."),
        *("https://cc.example.org.evil.example", "https://xcc.example.org", "null", "*", "", "cc.example.org", ","),
        *("https://cc.example.org, https://cc.example.net:8443", "HTTPS://CC.EXAMPLE.ORG", "https://cc.example.org/"),
    ],
)
def test_a_foreign_page_is_told_nothing(mitrad, operator_token, origin):
    for answer in (
        preflight(mitrad, origin),
        mitrad.internal.get(MITRAS, token=operator_token, headers={"Origin": origin}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["vary"] == "Origin"


def test_an_origin_is_nothing_to_the_public_listener(mitrad, origins):
    answer = mitrad.get("/public/bestie-availability", headers={"Origin": origins[0]})
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_without_cc_origin_no_page_is_allowed(mitrad_factory, origins, operator_token):
    mitrad = mitrad_factory(WORKERS=1)
    for answer in (
        preflight(mitrad, origins[0]),
        mitrad.internal.get(MITRAS, token=operator_token, headers={"Origin": origins[0]}),
    ):
        assert answer.status in (200, 204)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_mistake_of_ours_is_logged_and_says_nothing_of_the_database(mitrad, database, make_customer):
    database.execute("ALTER FUNCTION mitrad.customer_update(uuid, text) RENAME TO gone")
    answer = mitrad.patch("/api/client/auth/profile", token=make_customer().token, json={"display_name": "X"})
    problem_of(answer, 500, "INTERNAL_ERROR")
    assert "customer_update" not in answer.text
    line = mitrad.wait_log(lambda line: line.get("request_id") == answer.headers["x-request-id"] and "sqlstate" in line)
    assert line["severity"] == "ERROR" and "CUSTOMER_UPDATE" in line["message"]
