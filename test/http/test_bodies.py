"""Bodies: what JSON is taken, what is refused, and that a refused one changes nothing."""

import json
import uuid

import pytest

from harness.api import fields_of, problem_of

MITRAS = "/internal/mitras"
LARGEST = 64 * 1024


@pytest.fixture
def count(database):
    return lambda: database.value("SELECT count(*) FROM mitras")


@pytest.fixture
def send(mitrad, operator_token):
    """send(body, …): a body as it is, to where mitras are created."""

    def send(body, content_type="application/json", **more):
        headers = {} if content_type is None else {"Content-Type": content_type}
        return mitrad.internal.post(MITRAS, token=operator_token, body=body, headers=headers, **more)

    return send


@pytest.fixture
def create(mitrad, operator_token):
    """create(phone=…, display_name=…): asks for a mitra of his own phone, unless another is given."""

    def create(**members):
        body = {"phone": f"+1555{uuid.uuid4().int % 10**9:09}", "display_name": "Somebody", **members}
        return mitrad.internal.post(MITRAS, token=operator_token, json=body)

    return create


def padded(length):
    """A good body of exactly so many bytes."""
    body = json.dumps({"phone": f"+1556{uuid.uuid4().int % 10**9:09}", "display_name": "Padded"})
    return body + " " * (length - len(body))


NOT_JSON = {
    "empty": "",
    "blank": "  \r\n",
    "word": "hello",
    "cut short": '{"phone":"+6281200000001","display_name":"Cut',
    "two values": '{"phone":"+6281200000001","display_name":"A"}{}',
    "trailing comma": '{"phone":"+6281200000001","display_name":"A",}',
    "comment": '{"phone":"+6281200000001",/* no */"display_name":"A"}',
    "single quotes": "{'phone':'+6281200000001','display_name':'A'}",
    "NaN": '{"phone":"+6281200000001","display_name":NaN}',
    "deep arrays": "[" * 20000 + "]" * 20000,
    "deep objects": '{"a":' * 10000 + "1" + "}" * 10000,
    "deep and open": "[" * 60000,
    "seventeen deep": "[" * 17 + "]" * 17,
    "duplicate keys": '{"phone":"+6281200000001","phone":"+6281200000002","display_name":"A"}',
    "duplicate keys, one escaped": '{"phone":"+6281200000001","ph\\u006fne":"+6281200000002","display_name":"A"}',
    "NUL escaped": '{"phone":"+6281200000001","display_name":"A\\u0000B"}',
    "NUL in a key": '{"phone\\u0000":"+6281200000001","display_name":"A"}',
    "NUL raw": b'{"phone":"+6281200000001","display_name":"A\0B"}',
    "NUL behind": b'{"phone":"+6281200000001","display_name":"A"}\0',
    "high surrogate alone": '{"phone":"+6281200000001","display_name":"\\ud800"}',
    "low surrogate alone": '{"phone":"+6281200000001","display_name":"\\udc00"}',
    "surrogates swapped": '{"phone":"+6281200000001","display_name":"\\udc00\\ud800"}',
    "control character raw": '{"phone":"+6281200000001","display_name":"A\nB"}',
    "bad escape": '{"phone":"+6281200000001","display_name":"\\x41"}',
    "number out of range": '{"phone":"+6281200000001","display_name":"A","x":1e999}',
    "integer out of range": '{"phone":"+6281200000001","display_name":"A","x":99999999999999999999999}',
    "not UTF-8": b'{"phone":"+6281200000001","display_name":"\xff\xfe"}',
    "UTF-8 overlong": b'{"phone":"+6281200000001","display_name":"\xc0\xaf"}',
    "UTF-8 surrogate": b'{"phone":"+6281200000001","display_name":"\xed\xa0\x80"}',
    "Latin-1": '{"phone":"+6281200000001","display_name":"Jörg"}'.encode("latin-1"),
    "UTF-16": '{"phone":"+6281200000001","display_name":"A"}'.encode("utf-16"),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_no_strict_json_is_refused_and_changes_nothing(send, count, name):
    before = count()
    problem_of(send(NOT_JSON[name]), 400, "INVALID_JSON")
    assert count() == before


@pytest.mark.parametrize(
    "body", ["[]", "null", "true", "7", '"text"', '[{"phone":"+6281200000001","display_name":"A"}]']
)
def test_what_is_no_object_is_refused(send, count, body):
    before = count()
    problem_of(send(body), 400, "INVALID_REQUEST")
    assert count() == before


def test_a_body_of_64_kib_is_taken(send):
    assert send(padded(LARGEST)).status == 201


def test_a_body_of_one_byte_more_is_too_large(send, count):
    before = count()
    problem_of(send(padded(LARGEST + 1)), 413, "PAYLOAD_TOO_LARGE")
    assert count() == before


def test_who_sends_ten_megabytes_before_he_reads_is_told_that_they_are_too_many(send):
    problem_of(send(padded(10_000_000)), 413, "PAYLOAD_TOO_LARGE")


def test_a_body_of_more_chunks_than_64_kib_is_too_large(mitrad, operator_token, count):
    before = count()
    body = padded(LARGEST + 1).encode()
    chunks = [body[at : at + 5000] for at in range(0, len(body), 5000)]
    answer = mitrad.internal.post(
        MITRAS, token=operator_token, body=iter(chunks), headers={"Content-Type": "application/json"}
    )
    problem_of(answer, 413, "PAYLOAD_TOO_LARGE")
    assert count() == before


def test_a_body_in_chunks_is_taken(mitrad, operator_token):
    body = padded(3000).encode()
    chunks = [body[at : at + 7] for at in range(0, len(body), 7)]
    answer = mitrad.internal.post(
        MITRAS, token=operator_token, body=iter(chunks), headers={"Content-Type": "application/json"}
    )
    assert answer.status == 201


@pytest.mark.parametrize(
    "content_type",
    [
        *(None, "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
        *("application/json-patch+json", "application/jsonx", "application/", "json"),
        "application/xml, application/json",
    ],
)
def test_a_body_that_does_not_say_it_is_json_is_refused(send, count, content_type):
    before = count()
    problem_of(send(padded(100), content_type), 415, "UNSUPPORTED_MEDIA_TYPE")
    assert count() == before


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"),
        "application/json ;x=y",
    ],
)
def test_parameters_and_case_of_the_content_type_do_not_matter(send, content_type):
    assert send(padded(100), content_type).status == 201


def test_where_no_body_is_expected_an_empty_object_does_no_harm(mitrad, make_mitra):
    mitra = make_mitra()
    assert mitrad.post("/api/mitra/status/online", token=mitra.token, json={}).status == 200
    assert mitrad.post("/api/mitra/status/heartbeat", token=mitra.token, json={}).json == {"online": True}
    answer = mitrad.post(
        "/api/mitra/status/offline", token=mitra.token, body="{", headers={"Content-Type": "application/json"}
    )
    problem_of(answer, 400, "INVALID_JSON")
    assert mitrad.get("/api/mitra/status", token=mitra.token).json["online"] is True


def test_every_fault_of_a_body_is_named(create):
    answer = create(phone=7, display_name="", is_activ=True, role="admin")
    assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == ["display_name", "is_activ", "phone", "role"]


def test_a_member_that_is_missing_is_named(send):
    assert fields_of(problem_of(send("{}"), 400, "INVALID_REQUEST")) == ["display_name", "phone"]


def test_a_member_that_is_null_is_not_taken_for_missing(create):
    answer = create(phone=None, display_name=None)
    assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == ["display_name", "phone"]


def test_names_of_members_that_are_strange_come_back_as_json(send):
    body = json.dumps({"phone": "+15550001", "display_name": "A", 'a"b\\c\u2028<é': 1, "": 2, "k" * 5000: 3})
    document = problem_of(send(body), 400, "INVALID_REQUEST")
    assert fields_of(document) == sorted(["", 'a"b\\c\u2028<é', "k" * 5000])


SAME_PHONE = [
    *("081277700001", "6281277700001", "+6281277700001", "81277700001", "006281277700001", "+62 081277700001"),
    *("0812-7770-0001", "+62 812 7770 0001", "(0812) 7770.0001", " 081277700001 "),
]


def test_the_habits_of_writing_a_phone_are_one_phone(create):
    first = create(phone=SAME_PHONE[0])
    assert first.status == 201 and first.json["phone"] == "+6281277700001"
    for phone in SAME_PHONE:
        problem_of(create(phone=phone), 409, "PHONE_IN_USE")


@pytest.mark.parametrize(
    "phone, kept",
    [("+6598765432", "+6598765432"), ("006598765433", "+6598765433"), ("+1 (415) 555-2671", "+14155552671")],
)
def test_a_phone_of_another_country_keeps_its_code(create, phone, kept):
    answer = create(phone=phone)
    assert answer.status == 201 and answer.json["phone"] == kept


@pytest.mark.parametrize(
    "phone",
    [
        *("", "+", "0", "abc", "0812", "+62", "+0812345678", "14155552671", "+6281234567890123", "0" * 30),
        *("0812345678x", "++6281234567", "62+81234567", "+62812\n3456789", "０８１２３４５６７８９", "08123456789;ext=1"),
        *(81234567890, True, ["081234567890"], {"number": "081234567890"}),
    ],
    ids=str,
)
def test_what_is_no_phone_is_refused(create, count, phone):
    before = count()
    assert fields_of(problem_of(create(phone=phone), 400, "INVALID_REQUEST")) == ["phone"]
    assert count() == before


@pytest.mark.parametrize(
    "name, kept",
    [
        ("A", "A"),
        ("x" * 80, "x" * 80),
        ("é" * 80, "é" * 80),
        ("😀" * 80, "😀" * 80),
        ("  Budi Santoso  ", "Budi Santoso"),
        ('"; DROP TABLE mitras; --', '"; DROP TABLE mitras; --'),
        ("<b>&amp;\\n</b>", "<b>&amp;\\n</b>"),
        ("山田 太郎", "山田 太郎"),
        ("سارة", "سارة"),
    ],
)
def test_a_name_has_1_to_80_characters_and_comes_back_as_it_was(mitrad, create, operator_token, name, kept):
    answer = create(display_name=name)
    assert answer.status == 201 and answer.json["display_name"] == kept
    read = mitrad.internal.get(f"{MITRAS}/{answer.json['id']}", token=operator_token)
    assert read.json["display_name"] == kept


@pytest.mark.parametrize(
    "name",
    [
        *("", "   ", "x" * 81, "é" * 81, "😀" * 81, "a\nb", "a\tb", "\x1b[31m", "a\x7fb", "a\x85b", "\x9b31m"),
        *(7, None, ["Budi"], {"first": "Budi"}, False),
    ],
    ids=ascii,
)
def test_what_is_no_name_is_refused(create, count, name):
    before = count()
    assert fields_of(problem_of(create(display_name=name), 400, "INVALID_REQUEST")) == ["display_name"]
    assert count() == before
