"""The framing gate: a request is read in one way only, or refused with a problem and a closed connection."""

import pytest

from harness.wire import Wire, get, post, chunked, problem_of, GOOD

SMUGGLED = b"GET /readyz HTTP/1.1\r\nHost: a\r\nX-Request-Id: smuggled\r\n\r\n"


# Every one of these could be read in two ways, or is no HTTP at all.
AMBIGUOUS = {
    "two lengths": post(b"Content-Length: 0", b"Content-Length: 36", body=SMUGGLED),
    "two equal lengths": post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    "a list of lengths": post(b"Content-Length: 3, 3", body=b"abc"),
    "a length with a plus": post(b"Content-Length: +5", body=b"abcde"),
    "a negative length": post(b"Content-Length: -1"),
    "a length with a blank inside": post(b"Content-Length: 5 5", body=b"abcde"),
    "a length in hexadecimal": post(b"Content-Length: 0x5", body=b"abcde"),
    "a length with a fraction": post(b"Content-Length: 5.0", body=b"abcde"),
    "an empty length": post(b"Content-Length:"),
    "a length of 19 digits": post(b"Content-Length: 0000000000000000005", body=b"abcde"),
    "length and chunks": post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    "an unknown transfer encoding": post(b"Transfer-Encoding: gzip", body=b"0\r\n\r\n"),
    "two transfer encodings": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "chunked in two fields": post(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "chunked with something before it": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "chunked with a parameter": post(b"Transfer-Encoding: chunked;q=1", body=b"0\r\n\r\n"),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "a vertical tab before chunked": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "an empty transfer encoding": post(b"Transfer-Encoding:", body=b"0\r\n\r\n"),
    "chunks in HTTP/1.0": get(
        b"Transfer-Encoding: chunked", line=b"POST /livez HTTP/1.0") + b"0\r\n\r\n",
    "a blank before the colon": post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "a tab before the colon": post(b"Content-Length\t: 5", body=b"abcde"),
    "a blank in a field's name": get(b"X Y: 1"),
    "a field without a colon": get(b"nonsense"),
    "a field without a name": get(b": 1"),
    "a field's name in Unicode": get("Höst: 1".encode()),
    "a folded field": get(b"X: 1", b" folded"),
    "a folded first field": get(host=b" Host: a"),
    "a field folded with a tab": get(b"X: 1", b"\tfolded"),
    "a bare LF after the request line": b"GET /livez HTTP/1.1\nHost: a\r\n\r\n",
    "a bare LF after a field": b"GET /livez HTTP/1.1\r\nHost: a\n\r\n",
    "a bare LF at the end": b"GET /livez HTTP/1.1\r\nHost: a\r\n\n",
    "bare LF everywhere": b"GET /livez HTTP/1.1\nHost: a\n\n",
    "a bare CR in a field": get(b"X: 1\rContent-Length: 5"),
    "a CR too many": b"GET /livez HTTP/1.1\r\r\nHost: a\r\n\r\n",
    "NUL in a field": get(b"X: 1\0"),
    "NUL in the target": get(line=b"GET /livez\0 HTTP/1.1"),
    "a control character in a field": get(b"X: \x01"),
    "DEL in a field": get(b"X: \x7f"),
    "no host": get(host=None),
    "an empty host": get(host=b"Host:"),
    "two hosts": get(b"Host: b"),
    "two equal hosts": get(b"Host: a"),
    "two hosts in HTTP/1.0": get(b"Host: b", line=b"GET /livez HTTP/1.0"),
    "a list of hosts": get(host=b"Host: a, b"),
    "a host with a path": get(host=b"Host: a/b"),
    "a host with a user": get(host=b"Host: u@a"),
    "a host with a blank": get(host=b"Host: a b"),
    "a host with a port that is none": get(host=b"Host: a:x"),
    "a host with an endless port": get(host=b"Host: a:123456"),
    "half an address": get(host=b"Host: [::1"),
    "two authorizations": get(b"Authorization: Bearer a", b"Authorization: Bearer b"),
    "two types": post(b"Content-Type: a/a", b"Content-Type: b/b"),
    "a GET with a body": get(b"Content-Length: 5") + b"abcde",
    "a HEAD with a body": get(b"Content-Length: 5", line=b"HEAD /livez HTTP/1.1") + b"abcde",
    "a DELETE with a body": get(b"Content-Length: 5", line=b"DELETE /livez HTTP/1.1") + b"abcde",
    "a chunked GET": get(b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "a chunk size with 0x": chunked(b"0x5\r\nabcde\r\n0\r\n\r\n"),
    "a chunk size with a plus": chunked(b"+5\r\nabcde\r\n0\r\n\r\n"),
    "a negative chunk size": chunked(b"-5\r\nabcde\r\n0\r\n\r\n"),
    "a chunk size with a blank": chunked(b"5 \r\nabcde\r\n0\r\n\r\n"),
    "a chunk size after a blank": chunked(b" 5\r\nabcde\r\n0\r\n\r\n"),
    "an empty chunk size": chunked(b"\r\n"),
    "a chunk size of nine digits": chunked(b"000000005\r\nabcde\r\n0\r\n\r\n"),
    "a chunk extension": chunked(b"5;a=b\r\nabcde\r\n0\r\n\r\n"),
    "a chunk size ended by LF": chunked(b"5\nabcde\r\n0\r\n\r\n"),
    "a chunk ended by LF": chunked(b"5\r\nabcde\n0\r\n\r\n"),
    "a chunk that is longer than it says": chunked(b"5\r\nabcdef\r\n0\r\n\r\n"),
    "a trailer": chunked(b"5\r\nabcde\r\n0\r\nX: 1\r\n\r\n"),
    "a last chunk ended by LF": chunked(b"5\r\nabcde\r\n0\r\n\n"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "HTTP/1.2": get(line=b"GET /livez HTTP/1.2"),
    "HTTP/01.1": get(line=b"GET /livez HTTP/01.1"),
    "http/1.1": get(line=b"GET /livez http/1.1"),
    "something after the version": get(line=b"GET /livez HTTP/1.1 x"),
    "two blanks in the request line": get(line=b"GET  /livez HTTP/1.1"),
    "a tab in the request line": get(line=b"GET\t/livez HTTP/1.1"),
    "a blank in the target": get(line=b"GET /livez /readyz HTTP/1.1"),
    "an absolute target": get(line=b"GET http://a/livez HTTP/1.1"),
    "an asterisk": get(line=b"OPTIONS * HTTP/1.1"),
    "an authority": get(line=b"GET a:80 HTTP/1.1"),
    "a target with two slashes": get(line=b"GET //a/livez HTTP/1.1"),
    "a fragment": get(line=b"GET /livez#x HTTP/1.1"),
    "a target in Unicode": get(line="GET /ä HTTP/1.1".encode()),
    "no method": get(line=b" /livez HTTP/1.1"),
    "a method with a colon": get(line=b"G:T /livez HTTP/1.1"),
    "an empty line first": b"\r\n" + GOOD,
    "nothing but empty lines": b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 32,
}

REFUSED = {
    "an unknown method": (get(line=b"BREW /livez HTTP/1.1"), 405, "METHOD_NOT_ALLOWED"),
    "a method in lower case": (get(line=b"get /livez HTTP/1.1"), 405, "METHOD_NOT_ALLOWED"),
    "TRACE": (get(line=b"TRACE /livez HTTP/1.1"), 405, "METHOD_NOT_ALLOWED"),
    "CONNECT": (get(line=b"CONNECT /livez HTTP/1.1"), 405, "METHOD_NOT_ALLOWED"),
    "a body that is too large": (post(b"Content-Length: 65537"), 413, "PAYLOAD_TOO_LARGE"),
    "a length beyond all sizes": (post(b"Content-Length: 999999999999999999"), 413, "PAYLOAD_TOO_LARGE"),
    "a chunk that is too large": (chunked(b"10001\r\n"), 413, "PAYLOAD_TOO_LARGE"),
    "a chunk beyond all sizes": (chunked(b"ffffffff\r\n"), 413, "PAYLOAD_TOO_LARGE"),
    "chunks that become too much": (
        chunked((b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 2 + b"1\r\n"), 413, "PAYLOAD_TOO_LARGE"),
    "a target that is too long": (get(line=b"GET /" + b"x" * 8192 + b" HTTP/1.1"), 414, "URI_TOO_LONG"),
    "a field that is too long": (get(b"X: " + b"x" * 8192), 431, "HEADERS_TOO_LARGE"),
    "fields that are too many": (get(*[b"X: 1"] * 100), 431, "HEADERS_TOO_LARGE"),
    "an expectation": (post(b"Expect: miracles", b"Content-Length: 1"), 417, "EXPECTATION_FAILED"),
}

ACCEPTED = {
    "HTTP/1.0 without a host": get(line=b"GET /livez HTTP/1.0", host=None),
    "an address as host": get(host=b"Host: 127.0.0.1:3000"),
    "an IPv6 address as host": get(host=b"Host: [::1]:3000"),
    "a value with blanks around it": get(b"X: \t 1 \t "),
    "a value of nothing": get(b"X:"),
    "a value in Latin-1": get(b"X: \xe9"),
    "a length of nothing": get(b"Content-Length: 0"),
    "a head of just 8 KiB": get(b"X: " + b"x" * (8192 - len(get(b"X: ")))),
    "just 100 fields": get(*[b"X: 1"] * 99),
    "an upgrade": get(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings"),
}


@pytest.fixture
def port(calm_mitrad):
    return calm_mitrad.public.port


def faults_of(port, cases, check):
    """{title: what was wrong} of those cases for which check(wire, case) fails."""
    faults = {}
    for title, case in cases.items():
        with Wire(port) as wire:
            try:
                check(wire, case)
            except (AssertionError, OSError, KeyError) as fault:
                faults[title] = repr(fault)
    return faults


def expect_refusal(wire, request, status, code):
    method = "HEAD" if request.startswith(b"HEAD") else "GET"
    answer = wire.answer(method)
    assert (answer.status, answer.headers["connection"]) == (status, "close"), answer
    if method != "HEAD":
        assert problem_of(answer)["code"] == code, answer
    assert wire.closed(), "there was more"


def test_an_ambiguous_request_is_answered_once_with_400_and_closed(port):
    def check(wire, request):
        wire.send(request + SMUGGLED)
        expect_refusal(wire, request, 400, "INVALID_REQUEST")

    assert not faults_of(port, AMBIGUOUS, check)


def test_an_ambiguous_request_is_refused_behind_a_good_one_too(port):
    def check(wire, request):
        wire.send(GOOD + request + SMUGGLED)
        assert wire.answer().status == 200
        expect_refusal(wire, request, 400, "INVALID_REQUEST")

    assert not faults_of(port, AMBIGUOUS, check)


def test_an_ambiguous_request_is_refused_in_pieces_too(port):
    def check(wire, request):
        middle = len(request) // 2
        wire.send(request[:middle], request[middle:-1], request[-1:])
        expect_refusal(wire, request, 400, "INVALID_REQUEST")

    # Some are refused by their first piece, and the rest then meets a closed socket.
    chosen = ("two lengths", "length and chunks", "no host", "a trailer", "bare LF everywhere")
    assert not faults_of(port, {title: AMBIGUOUS[title] for title in chosen}, check)


def test_what_cannot_be_served_has_a_status_of_its_own(port):
    def check(wire, case):
        request, status, code = case
        wire.send(request)
        expect_refusal(wire, request, status, code)

    assert not faults_of(port, REFUSED, check)


def test_a_refused_method_is_told_which_there_are(port):
    with Wire(port) as wire:
        assert "PATCH" in wire.send(get(line=b"BREW /livez HTTP/1.1")).answer().headers["allow"]


def test_what_is_only_unusual_is_served(port):
    def check(wire, request):
        wire.send(request)
        assert wire.answer().status == 200

    assert not faults_of(port, ACCEPTED, check)


def test_every_refusal_is_logged_under_its_request_id(calm_mitrad):
    with Wire(calm_mitrad.public.port) as wire:
        answer = wire.send(AMBIGUOUS["two hosts"]).answer()
    line = calm_mitrad.wait_log(lambda line: line.get("request_id") == answer.headers["x-request-id"])
    assert line["status"] == 400


def test_a_chunked_body_arrives_whole(calm_mitrad):
    pieces = (b'{"phone":"+62812', b'34567', b'89","display_name":"Chunky"}    ')
    sizes = (b"%x", b"00000%X", b"%X")
    body = b"".join(size % len(piece) + b"\r\n" + piece + b"\r\n" for size, piece in zip(sizes, pieces))
    request = get(
        b"Content-Type: application/json",
        b"Transfer-Encoding: Chunked",
        line=b"POST /internal/_test/seed-mitra HTTP/1.1",
    ) + body + b"0\r\n\r\n"
    with Wire(calm_mitrad.internal.port) as wire:
        answer = wire.send(*(request[i : i + 1] for i in range(len(request)))).answer()
        assert answer.status in (200, 201), answer
        assert "Chunky" in answer.text
        assert wire.send(GOOD).answer().status == 200


def test_a_client_that_waits_for_100_continue_gets_it(port):
    body = b"x" * 1000
    with Wire(port) as wire:
        wire.send(post(b"Expect: 100-continue", b"Content-Length: 1000"))
        assert wire.answer().status == 100
        assert wire.send(body).answer().status == 405
        # And on the same connection again, where evhttp alone would fail.
        wire.send(post(b"Expect: 100-continue", b"Content-Length: 1000"))
        assert wire.answer().status == 100
        assert wire.send(body).answer().status == 405


def test_a_client_that_waits_to_send_too_much_is_refused_at_once(port):
    with Wire(port) as wire:
        request = post(b"Expect: 100-continue", b"Content-Length: 65537")
        expect_refusal(wire.send(request), request, 413, "PAYLOAD_TOO_LARGE")


def test_a_client_that_sends_too_much_without_waiting_can_read_why(port):
    with Wire(port) as wire:
        wire.send(post(b"Content-Length: 400000"), b"x" * 400000)
        assert wire.answer().status == 413


def test_pipelined_requests_are_answered_one_by_one_in_order(port):
    names = [f"request-{number}" for number in range(50)]
    with Wire(port) as wire:
        wire.send(b"".join(get(f"X-Request-Id: {name}".encode()) for name in names))
        assert [wire.answer().headers["x-request-id"] for _ in names] == names
        assert wire.send(GOOD).answer().status == 200


def test_pipelined_requests_have_clear_bounds_however_they_are_cut(port):
    request = get(b"X-Request-Id: a") + post(b"X-Request-Id: b", b"Content-Length: 3", body=b"abc")
    for size in (1, 2, 3, 7, 50):
        with Wire(port) as wire:
            wire.send(*(request[i : i + size] for i in range(0, len(request), size)))
            assert [wire.answer().headers["x-request-id"] for _ in "ab"] == ["a", "b"]


def test_a_client_that_shuts_down_its_side_still_gets_all_its_answers(port):
    with Wire(port) as wire:
        wire.send(GOOD * 3).end()
        assert [wire.answer().status for _ in range(3)] == [200] * 3
        assert wire.closed()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_stays_or_ends_as_the_client_asks(port, version):
    line = f"GET /livez HTTP/{version}".encode()
    with Wire(port) as wire:
        wire.send(get(b"Connection: x, Close", line=line))
        assert wire.answer().headers["connection"] == "close"
        assert wire.closed()
    with Wire(port) as wire:
        for _ in range(3):
            assert wire.send(get(b"Connection: Keep-Alive", line=line)).answer().status == 200


def test_an_old_client_is_closed_after_its_answer(port):
    with Wire(port) as wire:
        wire.send(get(line=b"GET /livez HTTP/1.0"))
        assert wire.answer().status == 200
        assert wire.closed()
