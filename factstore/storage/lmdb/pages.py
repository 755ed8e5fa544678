"""An LMDB file as bytes: checks of its pages before LMDB reads them.

    header 0, header 1 ──► the newer one ──► trees: main (the log and the names of the others), blocks, roots, free

LMDB trusts its file. It ends the process if a page that it follows is not of the expected kind, or is beyond the end of
the file. Here pages are read by `pread`, and each problem is a sentence. Each page is checked once: later writes of a
running process are not damage of the file.
"""

from __future__ import annotations

import os
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from time import sleep
from typing import Final, NamedTuple

MAGIC: Final = 0xBEEFC0DE
VERSION: Final = 1
_HEADERS: Final = 2  # pages
_NO_PAGE: Final = (1 << 64) - 1
_DEEPEST: Final = 32
_LARGEST_PAGE: Final = 1 << 15
_BRANCH, _LEAF, _OVERFLOW, _META = 1, 2, 4, 8
_KINDS: Final = {_BRANCH: "a branch", _LEAF: "a leaf"}
_BIG, _TREE = 1, 2  # flags of a node: its value has separate pages, or is another tree
_FREE_FLAGS: Final = 8  # of the tree of free pages: its keys are integers
_TREE_FLAGS: Final = 0x7F  # the first header also has flags of the environment there

# page number, flags, …, magic, version, address, map size, free, main, last, txnid
_META_PAGE: Final = struct.Struct("=Q2xHHHIIQQ48s48sQQ")
_PAGE: Final = struct.Struct("=Q2xHHH")  # page number, flags, lower, upper
_NODE: Final = struct.Struct(
    "=HHHH"
)  # low and high half of a size, flags, size of the key; in a branch the first three are a page number
_TREE_RECORD: Final = struct.Struct("=IHHQQQQQ")
_NUMBER: Final = struct.Struct("=Q")


class Broken(Exception):
    """A problem of a file, as a sentence."""


class Tree(NamedTuple):
    """The root page and the counts of a tree."""

    pad: int  # in the header's first tree: the size of a page
    flags: int
    depth: int
    branches: int
    leaves: int
    overflow: int
    entries: int
    root: int


class Header(NamedTuple):
    """The content of a meta page: one state of the file."""

    txnid: int
    page_size: int
    last_page: int
    free: Tree
    main: Tree


class Node(NamedTuple):
    """An entry of a leaf."""

    key: bytes
    flags: int
    size: int  # of the value, in bytes
    value: bytes  # for a value with separate pages: the number of the first one


Read = Callable[[int], bytes]  # a page by its number; shorter beyond the end of the file


def is_lmdb(fd: int) -> bool:
    """Return whether one of the first two pages of a file is a header of LMDB."""
    starts = [os.pread(fd, _META_PAGE.size, at) for at in (0, os.sysconf("SC_PAGE_SIZE"))]
    return any(len(start) == _META_PAGE.size and _META_PAGE.unpack(start)[4:6] == (MAGIC, VERSION) for start in starts)


def newest_header(fd: int) -> Header:
    """Return the newer header of a file. Raises: Broken unless both are intact and of two consecutive transactions."""
    read = b""
    while True:
        before, read = read, os.pread(fd, _HEADERS * _LARGEST_PAGE, 0)
        try:
            return max(_headers(read))
        except (Broken, struct.error) as error:
            if read == before:  # no other process is writing it
                raise Broken(str(error)) from error
            sleep(0.01)


def header_of(fd: int, txnid: int) -> Header | None:
    """Return the header that a transaction wrote; None if a later transaction has overwritten it."""
    page_size = newest_header(fd).page_size
    header = _header(os.pread(fd, page_size, (txnid & 1) * page_size), txnid & 1)
    return header if header.txnid == txnid else None


def _headers(start: bytes) -> tuple[Header, Header]:
    first = _header(start, 0)
    second = _header(start[first.page_size :], 1)
    older, newer = sorted((first, second))
    # Neither the log nor the file ever becomes shorter; if a header is shorter, it was replaced by an older one.
    grows = older.last_page <= newer.last_page and older.main.entries <= newer.main.entries
    if first.page_size != second.page_size or not grows or (newer.txnid - older.txnid != 1 and newer.txnid):
        raise Broken(
            f"its two header pages do not belong together: they are of transactions {first.txnid} and {second.txnid}"
        )
    return first, second


def _header(page: bytes, number: int) -> Header:
    if len(page) < _META_PAGE.size:
        raise Broken(f"it ends within header page {number}")
    pgno, flags, _, _, magic, version, _, _, free, main, last, txnid = _META_PAGE.unpack_from(page)
    free, main = Tree(*_TREE_RECORD.unpack(free)), Tree(*_TREE_RECORD.unpack(main))
    if (pgno, flags, magic, version) != (number, _META, MAGIC, VERSION):
        raise Broken(f"header page {number} is not one")
    size = free.pad
    if size & (size - 1) or not 512 <= size <= _LARGEST_PAGE or last < 1 or (txnid % 2 != number and txnid):
        raise Broken(
            f"header page {number} says that pages have {size} bytes, the last is {last}, and the transaction {txnid}"
        )
    for name, tree, known in (("free", free, _FREE_FLAGS), ("main", main, 0)):
        if (
            tree.flags & _TREE_FLAGS != known
            or tree.depth > _DEEPEST
            or not (tree.root == _NO_PAGE or _HEADERS <= tree.root <= last)
        ):
            raise Broken(
                f"header page {number} describes no tree under {name!r}: flags {tree.flags}, depth {tree.depth},"
                f" root {tree.root}"
            )
    return Header(txnid, size, last, free, main)


def check_length(fd: int) -> None:
    """Raise Broken if pages that the newest header counts, and that are not free, are beyond the end of the file."""
    while True:
        header = newest_header(fd)
        length = os.fstat(fd).st_size
        there = length // header.page_size
        if there > header.last_page:
            return
        # Pages at the end that were free by the end of their first transaction have never been written.
        try:
            unwritten = sum(number >= there for number in set(free_pages(reader(fd, header), header)))
            cause = ""
        except Broken as error:
            unwritten, cause = 0, f" ({error})"
        if newest_header(fd).txnid != header.txnid:
            continue
        if there + unwritten <= header.last_page:
            wanted = (header.last_page + 1) * header.page_size
            raise Broken(f"it has {length:,} bytes where its header counts {wanted:,}: it was cut short{cause}")
        return


def reader(fd: int, header: Header) -> Read:
    """Return a function that reads pages of a file."""
    size = header.page_size
    return lambda number: os.pread(fd, size, number * size)


# -- trees


def nodes(read: Read, header: Header, tree: Tree, name: str, seen: set[int] | None = None) -> Iterator[Node]:
    """Yield the entries of a tree in order, and check every page. Raises: Broken for the first faulty page.

    Args:
        seen: the numbers of all pages of the tree are added; a page that is already in it was reached twice.
    """
    if tree.root == _NO_PAGE:
        return
    seen = set() if seen is None else seen
    entries, before = 0, b""
    for node in _nodes_below(read, header, tree, name, tree.root, 1, seen):
        entries += 1
        key = node.key[::-1] if name == "free" else node.key  # there it is an integer, in little-endian bytes
        if entries > 1 and key <= before:
            raise Broken(f"{name} has the key {key.hex()} behind {before.hex()}")
        before = key
        if node.flags & _BIG:
            _note_overflow(header, name, node, seen)
        yield node
    if entries != tree.entries:
        raise Broken(f"{name} has {entries} entries where {tree.entries} are counted")


def _nodes_below(
    read: Read, header: Header, tree: Tree, name: str, number: int, level: int, seen: set[int]
) -> Iterator[Node]:
    page = _sound_page(read, header, tree, name, number, level, seen)
    starts = _starts(page, name, number)
    if level == tree.depth:
        for at in starts:
            yield _node(page, at, name, number)
    else:
        if len(starts) < 2 and name != "free":
            raise Broken(f"page {number} of {name} is a branch with {len(starts)} entries")
        for at in starts:
            low, high, top, _ = _NODE.unpack_from(page, at)
            yield from _nodes_below(read, header, tree, name, low | high << 16 | top << 32, level + 1, seen)


def _sound_page(read: Read, header: Header, tree: Tree, name: str, number: int, level: int, seen: set[int]) -> bytes:
    if not _HEADERS <= number <= header.last_page:
        raise Broken(f"{name} refers to page {number}, which is none of its {header.last_page + 1}")
    if number in seen:
        raise Broken(f"{name} comes to page {number} a second time")
    seen.add(number)
    page = read(number)
    if len(page) < header.page_size:
        raise Broken(f"page {number} of {name} lies beyond the end of the file")
    kind = _LEAF if level == tree.depth else _BRANCH
    stored, flags, lower, upper = _PAGE.unpack_from(page)
    if (stored, flags) != (number, kind) or not _PAGE.size <= lower <= upper <= header.page_size:
        raise Broken(f"page {number} of {name} is not {_KINDS[kind]}: its header states page {stored} of kind {flags}")
    return page


def _starts(page: bytes, name: str, number: int) -> tuple[int, ...]:
    """Return the offsets of the nodes of a page."""
    _, _, lower, upper = _PAGE.unpack_from(page)
    starts = struct.unpack_from(f"={(lower - _PAGE.size) // 2}H", page, _PAGE.size)
    if starts and (min(starts) < upper or max(starts) > len(page) - _NODE.size):
        raise Broken(f"page {number} of {name} has an entry outside of itself")
    return starts


def _node(page: bytes, at: int, name: str, number: int) -> Node:
    low, high, flags, key_size = _NODE.unpack_from(page, at)
    size = low | high << 16
    start = at + _NODE.size + key_size
    length = _NUMBER.size if flags & _BIG else size
    if flags not in (0, _BIG, _TREE) or start + length > len(page) or (flags == _TREE and size != _TREE_RECORD.size):
        raise Broken(f"page {number} of {name} has an entry that is none: flags {flags}, {key_size} and {size} bytes")
    return Node(page[at + _NODE.size : start], flags, size, page[start : start + length])


def _note_overflow(header: Header, name: str, node: Node, seen: set[int]) -> None:
    first = _NUMBER.unpack(node.value)[0]
    pages = range(first, first + (_PAGE.size - 1 + node.size) // header.page_size + 1)
    if first < _HEADERS or pages[-1] > header.last_page:
        raise Broken(
            f"{name} keeps a value of {node.size} bytes at page {first}, which is none of its {header.last_page + 1}"
        )
    if not seen.isdisjoint(pages):
        raise Broken(f"{name} keeps a value at page {first}, which something else is kept at too")
    seen.update(pages)


def named_trees(read: Read, header: Header, names: tuple[bytes, ...]) -> dict[str, Tree]:
    """Return the trees that the main tree names; their keys come before the log, so only the first page is read."""
    number = header.main.root
    for level in range(1, header.main.depth):
        page = _sound_page(read, header, header.main, "the log", number, level, set())
        low, high, top, _ = _NODE.unpack_from(page, _starts(page, "the log", number)[0])
        number = low | high << 16 | top << 32
    page = _sound_page(read, header, header.main, "the log", number, header.main.depth, set())
    trees = {}
    for at in _starts(page, "the log", number):
        node = _node(page, at, "the log", number)
        if node.key in names and node.flags == _TREE:
            tree = trees[node.key.decode()] = Tree(*_TREE_RECORD.unpack(node.value))
            if tree.flags or tree.depth > _DEEPEST:
                raise Broken(
                    f"the record of {node.key.decode()} describes no tree: flags {tree.flags}, depth {tree.depth}"
                )
    if len(trees) < len(names):
        raise Broken(f"page {number} does not name all of {', '.join(name.decode() for name in names)}")
    return trees


def free_pages(read: Read, header: Header, seen: set[int] | None = None) -> Iterator[int]:
    """Yield the numbers of the free pages."""
    for node in nodes(read, header, header.free, "free", seen):
        value = node.value
        if node.flags & _BIG:
            first = _NUMBER.unpack(node.value)[0]
            pages = b"".join(read(first + i) for i in range((_PAGE.size - 1 + node.size) // header.page_size + 1))
            value = pages[_PAGE.size : _PAGE.size + node.size]
        if len(value) < node.size or node.size % _NUMBER.size or not node.size:
            raise Broken("the list of free pages is cut short")
        count, *numbers = struct.unpack(f"={node.size // _NUMBER.size}Q", value)
        if count != len(numbers) or any(not _HEADERS <= number <= header.last_page for number in numbers):
            raise Broken("the list of free pages has entries that are none")
        yield from numbers


def check_free(read: Read, header: Header) -> None:
    """Raise Broken if the list of free pages is faulty or old: its pages would be overwritten."""
    *_, newest = nodes(read, header, header.free, "free") if header.free.entries else [None]
    if (
        newest is not None and int.from_bytes(newest.key, sys.byteorder) != header.txnid
    ):  # almost every transaction frees pages
        used: set[int] = set()
        for name, tree in trees(read, header).items():
            deque(nodes(read, header, tree, name, used), 0)
        if not used.isdisjoint(free_pages(read, header, used)):
            raise Broken("the list of free pages has pages that are in use")


def trees(read: Read, header: Header) -> dict[str, Tree]:
    """Return all trees except the tree of free pages."""
    return {"the log": header.main} | named_trees(read, header, (b"blocks", b"roots"))


def problems(fd: int, header: Header) -> Iterator[str]:
    """Yield the first problem of each tree in one state of a file; its pages must not be reused meanwhile."""
    read, used = reader(fd, header), set[int]()
    try:
        all_trees = trees(read, header)
    except Broken as error:
        yield str(error)
        return
    for name, tree in all_trees.items():
        try:
            deque(nodes(read, header, tree, name, used), 0)
        except Broken as error:
            yield str(error)
    try:
        free = set(free_pages(read, header, used))
    except Broken as error:
        yield str(error)
        return
    if both := sorted(free & used):
        yield f"page {both[0]} and {len(both) - 1} others are in use and in the list of free pages too"
