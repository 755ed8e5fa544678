"""What EDN text means, what is refused and where, and how values are written."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from factstore import edn
from factstore.edn.write import MAX_DEPTH
from factstore.errors import FactStoreError, ReadError
from factstore.values.exact import ExactSet
from factstore.values.numerals import MAX_DIGITS
from factstore.values.types import Keyword, Symbol, Uri

K, S = Keyword, Symbol

# text, its value; the text is also exactly what is written for the value
IDENTITIES: list[tuple[str, Any]] = [
    ("nil", None),
    ("true", True),
    ("false", False),
    ("0", 0),
    ("-17", -17),
    ("123456789012345678901234567890", 123456789012345678901234567890),
    ("1.0", 1.0),
    ("-0.0", -0.0),
    ("1e+22", 1e22),
    ("5e-324", 5e-324),
    ("##Inf", math.inf),
    ("##-Inf", -math.inf),
    ("1.50M", Decimal("1.50")),
    ("1E+3M", Decimal("1E+3")),
    ('""', ""),
    (r'"a\"b\\c\n\t\r\b\f\u0000"', 'a"b\\c\n\t\r\b\f\0'),
    ('"é 😀"', "é 😀"),
    (":a", K(":a")),
    (":person/first-name", K(":person/first-name")),
    (":a.b/_c", K(":a.b/_c")),
    ("?e", S("?e")),
    ("$", S("$")),
    ("$2", S("$2")),
    ("%", S("%")),
    ("_", S("_")),
    ("...", S("...")),
    (".", S(".")),
    ("*", S("*")),
    ("+", S("+")),
    ("-", S("-")),
    ("/", S("/")),
    ("<=", S("<=")),
    ("not=", S("not=")),
    ("-a", S("-a")),
    ("clojure.string/upper-case", S("clojure.string/upper-case")),
    ("()", ()),
    ("[]", []),
    ("{}", {}),
    ("#{}", frozenset()),
    ("(1 [2 (3)])", (1, [2, (3,)])),
    ("{:a 1, nil {:b [2]}}", {K(":a"): 1, None: {K(":b"): [2]}}),
    ("#{1 2 3}", frozenset({1, 2, 3})),
    ('[:find ?e . :where [?e :a "x"]]', [K(":find"), S("?e"), S("."), K(":where"), [S("?e"), K(":a"), "x"]]),
    ('#inst "2026-01-31T12:30:00.000Z"', datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
    ('#inst "0001-01-01T00:00:00.000001Z"', datetime(1, 1, 1, microsecond=1, tzinfo=UTC)),
    ('#uuid "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"', uuid.UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")),
    ('#uri "https://example.org/?q=1"', Uri("https://example.org/?q=1")),
    ('#base64 "AP8="', b"\x00\xff"),
    *((f'#symbol "{name}"', S(name)) for name in ("true", "nil", "", "two words", "1a", ":k", "#inst")),
]

# text, its value; written differently
READINGS: list[tuple[str, Any]] = [
    ("#{1 true 1.0}", ExactSet([1, True, 1.0])),
    ('#{:a ":a" #{a "a"}}', ExactSet([K(":a"), ":a", ExactSet([S("a"), "a"])])),
    ("{#{0 0.0} 1}", {ExactSet([0, 0.0]): 1}),
    (" , 1 ,, ", 1),
    ("; a comment\n1 ; another", 1),
    ("[1,2\n,3]", [1, 2, 3]),
    ("+5", 5),
    ("-0", 0),
    ("7N", 7),
    ("1M", Decimal(1)),
    ("1.5e3", 1500.0),
    ("2E-3", 0.002),
    (r"\a", "a"),
    (r"\(", "("),
    (r"\\", "\\"),
    (r"\newline", "\n"),
    (r"\u0041", "A"),
    (r"[\a\b]", ["a", "b"]),
    (r'"\u00e9"', "é"),
    (r'"\ud83d\ude00"', "😀"),
    ('"two\nlines"', "two\nlines"),
    ('["a""b"]', ["a", "b"]),
    ("[a[b]c]", [S("a"), [S("b")], S("c")]),
    ("#_ 1 2", 2),
    ("[1 #_ [2 {:a 1}] 3 #_4]", [1, 3]),
    ("#_ #_ 1 2 3", 3),
    ("{:a #_ 0 1}", {K(":a"): 1}),
    ("#_ #unknown 1 2", 2),
    ('#inst #_ 1 "2026"', datetime(2026, 1, 1, tzinfo=UTC)),
    ('#inst "2026-01"', datetime(2026, 1, 1, tzinfo=UTC)),
    ('#inst "2026-01-02T03"', datetime(2026, 1, 2, 3, tzinfo=UTC)),
    ('#inst "2026-01-02T03:04:05.5+01:30"', datetime(2026, 1, 2, 1, 34, 5, 500000, tzinfo=UTC)),
    ('#inst "2026-01-02T03:04:05.123456000-00:00"', datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
    ('#:a{:b 1, :c/d 2, :_/e 3, "f" 4}', {K(":a/b"): 1, K(":c/d"): 2, K(":e"): 3, "f": 4}),
    ("#{[1 [2]] {:a [3]}}", frozenset({(1, (2,)), next(iter(edn.read("#{{:a [3]}}")))})),
    ("{[:k 1] :v}", {(K(":k"), 1): K(":v")}),
    ("{:a [1]}", {K(":a"): [1]}),
]

# text, line, column, a part of the message
REFUSALS: list[tuple[str, int, int, str]] = [
    ("", 1, 1, "expected a value"),
    (" ; nothing\n ", 2, 2, "expected a value"),
    ("1 2", 1, 3, "the end of the text after one value"),
    ('1 #inst "2026"', 1, 3, "the end of the text after one value"),
    ("[1]\n  [2]", 2, 3, "the end of the text after one value"),
    ("[1 [2]", 1, 1, "expected ] to close [, got the end of the text"),
    ("[1\n (2]", 2, 4, "expected ) to close (, got ]"),
    ("1 ]", 1, 3, "] closes nothing"),
    ("{:a 1 :b}", 1, 1, "a value for every key"),
    ("{:a 1 :a 2}", 1, 1, "a map holds :a twice"),
    ("[#{1 2 1}]", 1, 2, "a set holds 1 twice"),
    ("#{1 true 1}", 1, 1, "a set holds 1 twice"),
    ("{1 :a true :b}", 1, 1, "1 (int) and True (bool), which are equal in Python"),
    ("{1 :a 1.0 :b}", 1, 1, "1 (int) and 1.0 (float)"),
    ('{:a 1 ":a" 2}', 1, 1, "(Keyword) and ':a' (str)"),
    ("#:a{:b 1 :a/b 2}", 1, 1, "two keys become the same"),
    ("#:a [1]", 1, 1, "expected a map"),
    ("007", 1, 1, "expected a number"),
    ("[1 1.]", 1, 4, "expected a number"),
    ("1x", 1, 1, "expected a number"),
    (".5", 1, 1, "expected a number"),
    ("1/2", 1, 1, "expected a number"),
    ("1.5N", 1, 1, "expected a number"),
    ("0x1F", 1, 1, "expected a number"),
    ("1e999", 1, 1, "a 64-bit float"),
    ("9" * (MAX_DIGITS + 1), 1, 1, "a number of at most 1,000,000 digits"),
    (r"\abc", 1, 1, "expected a character"),
    (r"[\u12]", 1, 2, "expected a character"),
    ("\\ ", 1, 1, "expected a character"),
    (r'"a\qb"', 1, 1, r"got \q"),
    (r'"\u12"', 1, 1, r"got \u"),
    ('[\n"abc', 2, 1, 'expected a " that ends this string'),
    ("#_", 1, 1, "expected a form after #_"),
    ("[1 #_]", 1, 6, "expected a form after #_, got ]"),
    ("[#inst]", 1, 7, "expected a form after #inst, got ]"),
    ("[#nope 1]", 1, 2, "got #nope"),
    ("#", 1, 1, "reader syntax of Clojure source"),
    ('[#"a.b"]', 1, 2, "reader syntax of Clojure source"),
    ("[1 #(inc %)]", 1, 4, "reader syntax of Clojure source"),
    ("[#'a/b]", 1, 2, "reader syntax of Clojure source"),
    ("[1\n #?(:clj 2)]", 2, 2, "a reader conditional of Clojure source"),
    ("[#?@(:clj [2])]", 1, 2, "a reader conditional of Clojure source"),
    ("{:a ^:dynamic b}", 1, 5, "metadata of Clojure source"),
    ("[^{:doc 1} b]", 1, 2, "metadata of Clojure source"),
    ("[`a]", 1, 2, "a syntax quote of Clojure source"),
    ("[~a]", 1, 2, "an unquote of Clojure source"),
    ("[@a]", 1, 2, "a dereference of Clojure source"),
    ("[1 '[a]]", 1, 4, "a quote of Clojure source"),
    ("[#db/fn {}]", 1, 2, "expected one of the tags"),
    ("##Nope", 1, 1, "expected a symbol"),
    ('#inst "yesterday"', 1, 1, "expected an instant"),
    ('#inst "2026-02-30"', 1, 1, "day is out of range"),
    ('#inst "2026-01-01T00:00:00.0000001Z"', 1, 1, "at most microseconds"),
    ('#inst "0001-01-01T00:00:00+23:00"', 1, 1, "#inst cannot read"),
    ("#inst 2026", 1, 1, "expected a string"),
    ('#uuid "{f81d4fae-7dec-11d0-a765-00a0c91e6bf6}"', 1, 1, "hexadecimal"),
    ('#base64 "A"', 1, 1, "#base64 cannot read"),
    ("#symbol nil", 1, 1, "#symbol cannot read"),
    (":", 1, 1, "a keyword looks like"),
    ("::a", 1, 1, "a keyword looks like"),
    (":a/", 1, 1, "a keyword looks like"),
    ("a/", 1, 1, "expected a symbol"),
    ("'a", 1, 1, "a quote of Clojure source"),
    ("#{" + "[" * 200, 1, 103, "at most 100 levels"),
]


def same(expected: Any, got: Any) -> bool:
    """Tell whether two values are equal and of equal types, all the way down."""
    if type(expected) is not type(got) or expected != got:
        return False
    if isinstance(expected, list | tuple):
        return all(map(same, expected, got))
    if isinstance(expected, dict):
        return all(same(value, got[key]) for key, value in expected.items())
    return not isinstance(expected, float) or math.copysign(1, expected) == math.copysign(1, got)


@pytest.mark.parametrize(("text", "value"), IDENTITIES, ids=[text for text, _ in IDENTITIES])
def test_a_text_and_its_value_stand_for_each_other(text: str, value: Any) -> None:
    assert same(value, edn.read(text))
    assert text == edn.write(value)


@pytest.mark.parametrize(("text", "value"), READINGS, ids=[text for text, _ in READINGS])
def test_other_spellings_are_read_as_the_same_values(text: str, value: Any) -> None:
    assert same(value, edn.read(text))


@pytest.mark.parametrize(("text", "line", "column", "part"), REFUSALS, ids=[text[:40] for text, *_ in REFUSALS])
def test_what_is_wrong_with_a_text_is_refused_with_its_place(text: str, line: int, column: int, part: str) -> None:
    with pytest.raises(ReadError) as caught:
        edn.read(text)
    assert ":db.error/invalid-edn" == caught.value.code
    assert line == caught.value.line
    assert column == caught.value.column
    assert part in caught.value.message


def test_a_quoted_form_is_read_where_quotes_are_allowed() -> None:
    quote = Symbol("quote")
    assert (Symbol("q"), (quote, [K(":find"), Symbol("?x'")]), (quote, Symbol("a"))) == edn.read("(q '[:find ?x'] 'a)", quotes=True)
    for text, column in (("[']", 3), ("'", 1)):
        with pytest.raises(ReadError, match="expected a form after '") as caught:
            edn.read(text, quotes=True)
        assert column == caught.value.column


def test_not_a_number_is_read_and_written() -> None:
    assert math.isnan(edn.read("##NaN"))
    assert "##NaN" == edn.write(math.nan)


def test_read_all_returns_every_value() -> None:
    assert [1, [2], K(":c")] == edn.read_all("1 [2] ; three\n :c")
    assert [] == edn.read_all(" ; none")


def test_something_else_than_text_is_refused() -> None:
    with pytest.raises(ReadError, match="expected text, got bytes"):
        edn.read(b"1")  # type: ignore[arg-type]


def test_a_tag_given_for_one_call_reads_what_follows_it() -> None:
    assert [("point", [1, 2])] == edn.read("[#point [1 2]]", tags={"point": lambda xy: ("point", xy)})
    with pytest.raises(ReadError, match="got #point"):
        edn.read("[#point [1 2]]")


def test_a_tag_given_for_one_call_comes_before_a_built_in_one() -> None:
    assert "2026" == edn.read('#inst "2026"', tags={"inst": lambda text: text})


def test_the_error_of_a_given_tag_says_where_it_stood() -> None:
    with pytest.raises(ReadError, match="#half cannot read 'x'") as caught:
        edn.read('[1\n #half "x"]', tags={"half": lambda number: number / 2})
    assert 2 == caught.value.line
    assert 2 == caught.value.column


def test_a_tag_in_a_discarded_form_is_not_called() -> None:
    assert [] == edn.read("[#_ #boom 1]", tags={"boom": lambda _: pytest.fail("called")})


def test_a_tag_whose_value_cannot_be_hashed_is_refused_as_a_key() -> None:
    with pytest.raises(ReadError, match="expected values that Python can hash"):
        edn.read("#{#l 1}", tags={"l": lambda value: [value]})


def test_deep_nesting_is_read_and_written() -> None:
    deep = edn.read("[" * 50_000 + "]" * 50_000)
    assert "[" * 50_000 + "]" * 50_000 == edn.write(deep)


def test_a_value_nested_deeper_than_any_writing_goes_is_not_written() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH):
        deep = [deep]
    with pytest.raises(FactStoreError, match="at most 100,000 levels of nesting"):
        edn.write(deep)


def _circles() -> list[Any]:
    a_list: list[Any] = [1]
    a_list.append(a_list)
    a_dict: dict[Any, Any] = {}
    a_dict["self"] = [a_dict]
    in_a_tuple: list[Any] = []
    in_a_tuple.append((in_a_tuple,))
    far: list[Any] = []
    inner = far
    for _ in range(1000):
        inner.append([])
        inner = inner[-1]
    inner.append(far)
    return [a_list, a_dict, in_a_tuple, far]


@pytest.mark.parametrize("value", _circles(), ids=["list", "dict", "tuple", "far"])
def test_a_value_that_contains_itself_is_not_written(value: Any) -> None:
    with pytest.raises(FactStoreError, match="a value that does not contain itself") as caught:
        edn.write(value)
    assert ":db.error/not-edn" == caught.value.code


def test_a_value_that_occurs_twice_and_not_in_itself_is_written() -> None:
    shared = [1]
    assert "[[1] [1] {:a [1]}]" == edn.write([shared, shared, {K(":a"): shared}])


def test_sets_within_sets_are_written_in_time_that_grows_with_their_text() -> None:
    nested: frozenset[Any] = frozenset()
    for _ in range(100):
        nested = frozenset([nested])
    assert nested == edn.read(edn.write(nested))
    with pytest.raises(FactStoreError, match="at most 100 levels inside a set"):
        edn.write(frozenset([nested]))


def test_a_text_longer_than_allowed_is_not_written() -> None:
    assert "[1 2]" == edn.write([1, 2], longest=5)
    doubled: list[Any] = [1]
    for _ in range(60):  # its text would have 2^60 numbers
        doubled = [doubled, doubled]
    for value, longest in (([1, 2], 4), ("abc", 4), (doubled, 1000)):
        with pytest.raises(FactStoreError, match="a value whose text has at most") as caught:
            edn.write(value, longest=longest)
        assert ":db.error/not-edn" == caught.value.code
        assert longest == caught.value.longest


@pytest.mark.parametrize("n", [10**4300, -(10**4300), 10**5000 + 7, 1 << 100_000], ids=int.bit_length)
def test_whole_numbers_that_python_does_not_show_are_written_and_read(n: int) -> None:
    assert [n] == edn.read(edn.write([n]))


class Failing(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def test_an_exception_of_a_collection_of_the_caller_is_an_error_of_the_family() -> None:
    with pytest.raises(FactStoreError, match="reading it raised RuntimeError"):
        edn.write([Failing(a=1)])


def test_a_map_inside_a_set_can_be_looked_up() -> None:
    (inner,) = edn.read("#{{:a 1}}")
    assert 1 == inner[":a"]
    assert inner in edn.read("#{{:a 1} {:a 2}}")


def test_equal_sets_are_written_alike() -> None:
    assert '#{"a" "b" 1 10 9 :k}' == edn.write({K(":k"), 10, "b", 9, 1, "a"})


def test_an_instant_of_another_zone_is_written_in_utc() -> None:
    paris = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert '#inst "2026-01-01T00:00:00.000Z"' == edn.write(paris)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (object(), "a value of EDN"),
        ([1, {2: object}], "a value of EDN"),
        (datetime(2026, 1, 1), "an aware datetime"),
        ({math.nan: 1, float("nan"): 2}, "with different texts"),
        ([{(float("nan"), 1), (float("nan"), 1)}], "with different texts"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "the years 1 to 9999"),
        (Decimal("NaN"), "a finite decimal"),
    ],
)
def test_a_value_that_no_text_means_is_not_written(value: Any, part: str) -> None:
    with pytest.raises(FactStoreError, match=part) as caught:
        edn.write(value)
    assert ":db.error/not-edn" == caught.value.code
