"""Which grants count: the in-force set, as bits over ledger indices, with a root that proves each bit.

Bit i says whether the grant at ledger index i counts. Bits are kept in chunks of 4,096 (512 bytes; index i is bit
``i % 4096`` of chunk ``i // 4096``, least significant bit of the first byte first). The root is the RFC 6962 tree hash
over all chunks from 0 to the one that holds index N - 1, as leaves ``H(0x00 || 512 bytes)``; a chunk where nothing is
set is 512 zero bytes. So a proof that a grant was, or was not, eligible is 512 bytes and a short path.

For one policy version, bits are grouped by the last day (``until``) and the yearly cap that the resident chose,
because both decide for whole groups:

- a group whose last day is past at the ``admit``'s day counts for nothing;
- **yearly cap.** Against the grant at index g count the charges of all ``admit`` entries of the policy after g in the
  same calendar year that were not refunded, whether or not the grant was eligible for each. The grant is eligible if
  that sum plus the new charge is at most its cap. Later grants have seen fewer charges, so in each group all from one
  threshold index on are eligible. (Counting a charge that did not touch the resident errs on the resident's side.)
- **replacing.** A grant that replaces another counts as if it stood at the first index of its chain
  (``policies.in_force.chains``), also where that is in an older version of the policy: so a new version's set begins
  with the charges of the version before it. (For a grant that replaces none, they are all before it.)

**What is kept.** Which grants were given, by group, and which were ended: two bitmaps of which neither ever loses a
bit, so the set as it was at any earlier tree size can be made from them (``copy_grants``). And the in-force sets last
asked for, with their trees (``policies.in_force.chunk_tree``): between two questions, only the chunks that a grant, a
revocation or a cap touched are hashed again. Sets are told apart by the groups that count in them; the few last ones
are kept.
"""

from collections import OrderedDict
from collections.abc import Iterable

from msgspec import Struct

from ledger.entries import Grant, Hex32
from ledger.errors import ProofInvalid
from ledger.hashing import leaf_hash
from ledger.tlog.proofs import check_inclusion
from policies.in_force.chains import Chains
from policies.in_force.chunk_tree import CHUNK_BITS, CHUNK_BYTES, Chunks, ChunkTree
from policies.in_force.yearly_charges import YearlyCharges

Group = tuple[str, int]
"""The last day and the yearly cap: both decide for whole groups."""

KEPT_SETS = 4
"""How many sets are kept with their trees: 2 MiB each at 10 million ledger indices."""


class InForceProof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shows what bit ``index`` was in an in-force set of ``size`` bits: its chunk (hex) and the path to the root."""

    index: int
    size: int
    chunk: str
    path: list[Hex32]


class _KeptSet:
    """One in-force set as it was last asked for. ``firsts`` are the least grant indices that count, by group."""

    def __init__(self) -> None:
        self.tree = ChunkTree()
        self.firsts: dict[Group, int] = {}
        self.stale: set[int] = set()
        """Chunks in which something changed since."""


class InForce:
    """The grants of one policy version, which of them ended, and the charges that count against their yearly caps."""

    def __init__(self) -> None:
        self.granted: dict[Group, Chunks] = {}
        self.ended: Chunks = {}
        self.standing: Chunks = {}
        """What was granted and not ended, whatever its day and its cap. To read only."""
        self.chains = Chains()
        self.charges: dict[int, YearlyCharges] = {}
        """By calendar year; of the latest year and the one before."""
        self._kept: OrderedDict[frozenset[Group], _KeptSet] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        """Return what is known; kept sets only save time."""
        return {name: value for name, value in vars(self).items() if name != "_kept"} | {"_kept": OrderedDict()}

    def copy(self) -> "InForce":
        """Return what is known as a set that goes on by itself."""
        other = InForce()
        other.granted = {group: dict(chunks) for group, chunks in self.granted.items()}
        other.ended = dict(self.ended)
        other.standing = dict(self.standing)
        other.chains = self.chains.copy()
        other.charges = {year: charges.copy() for year, charges in self.charges.items()}
        return other

    def next_version(self) -> "InForce":
        """Return the set of a new version of the policy: no grants yet, and the charges so far."""
        other = InForce()
        other.charges = {year: charges.copy() for year, charges in self.charges.items()}
        return other

    # What happened

    def add(self, index: int, grant: Grant, first: int | None = None) -> None:
        """Bring the grant at ``index`` into force; ``first`` is where its chain begins, if it replaces another."""
        number, bit = divmod(index, CHUNK_BITS)
        if first is not None:
            self.chains.add(index, first)
        self._add_bits((grant.until, grant.yearly_cap), number, 1 << bit)

    def _add_bits(self, group: Group, number: int, bits: int) -> None:
        chunks = self.granted.get(group)
        if chunks is None:
            chunks = self.granted[group] = {}
        chunks[number] = chunks.get(number, 0) | bits
        self.standing[number] = self.standing.get(number, 0) | bits & ~self.ended.get(number, 0)
        for kept in self._kept.values():
            kept.stale.add(number)

    def copy_grants(self, source: "InForce", first: int, end: int) -> None:
        """Bring those grants of another set's history into force whose index is ``first`` or more and below ``end``."""
        numbers = range(first // CHUNK_BITS, -(-end // CHUNK_BITS))
        for index, standing_at in source.chains.between(first, end):
            self.chains.add(index, standing_at)
        for group, chunks in source.granted.items():
            for number in numbers if len(numbers) < len(chunks) else list(chunks):
                bits = _between(chunks.get(number, 0), number, first, end)
                if bits:
                    self._add_bits(group, number, bits)

    def end(self, index: int) -> bool:
        """Take the grant at ``index`` out; return whether it was in."""
        if not self.holds(index):
            return False
        number, bit = divmod(index, CHUNK_BITS)
        self.ended[number] = self.ended.get(number, 0) | 1 << bit
        self.standing[number] &= ~(1 << bit)
        for kept in self._kept.values():
            kept.stale.add(number)
        return True

    def holds(self, index: int) -> bool:
        """Return whether the grant at ``index`` was not ended (it may still be past its day or yearly cap)."""
        number, bit = divmod(index, CHUNK_BITS)
        return bool(self.standing.get(number, 0) >> bit & 1)

    def last_day(self, index: int) -> str:
        """Return the last day of the grant at ``index``, ended or not; "" where there is none."""
        number, bit = divmod(index, CHUNK_BITS)
        return next((group[0] for group, bits in self.granted.items() if bits.get(number, 0) >> bit & 1), "")

    def charge(self, admit: int, year: int, charge: int) -> None:
        """Count the charge of the ``admit`` at an index above all others against the yearly caps of one year."""
        if year not in self.charges:
            self.charges = {old: charges for old, charges in self.charges.items() if old >= year - 1}
            self.charges[year] = YearlyCharges()
        self.charges[year].add(admit, charge)

    def refund(self, admit: int) -> None:
        """Give the charge of one ``admit`` back."""
        for charges in self.charges.values():
            if charges.refund(admit):
                return

    # What counts

    def threshold(self, yearly_cap: int, year: int, charge: int) -> int | None:
        """Return the least grant index that a new ``charge`` may still count at this yearly cap; None if none may."""
        return self.charges.get(year, _NO_CHARGES).first(yearly_cap, charge)

    def eligible(self, day: str, charge: int) -> Chunks:
        """Return the in-force set for a question of ``charge`` nano-rho on ``day`` (``YYYY-MM-DD``, town time)."""
        return dict(self._set(day, charge).chunks)

    def count(self, day: str, charge: int) -> int:
        """Return how many grants are in that set."""
        return self._set(day, charge).count

    def root(self, day: str, charge: int, size: int) -> Hex32:
        """Return the root of that set over the bits of indices 0 to ``size`` - 1."""
        return self._set(day, charge).root(size)

    def prove(self, day: str, charge: int, size: int, index: int) -> "InForceProof":
        """Make the proof for bit ``index`` of that set of ``size`` bits."""
        return prove_in_force(self._set(day, charge), size, index)

    def _set(self, day: str, charge: int) -> ChunkTree:
        """Bring the kept set of the same groups up to date, or make it."""
        year = int(day[:4])
        firsts: dict[Group, int] = {}
        for group in self.granted:
            first = self.threshold(group[1], year, charge) if group[0] >= day else None
            if first is not None:
                firsts[group] = first
        groups = frozenset(firsts)
        kept = self._kept.get(groups)
        if kept is None:
            kept = self._kept[groups] = _KeptSet()
            if len(self._kept) > KEPT_SETS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(groups)
        for group, first in firsts.items():
            kept.stale.update(self._moved(group, kept.firsts.get(group), first))
        kept.firsts = firsts
        for number in kept.stale:
            kept.tree.put(number, self._bits(number, firsts))
        kept.stale.clear()
        return kept.tree

    def _moved(self, group: Group, old: int | None, new: int) -> Iterable[int]:
        """Return the chunks of a group that change when the least index that counts goes from ``old`` to ``new``."""
        chunks = self.granted[group]
        if old is None:
            return chunks
        if old == new:
            return ()
        low, high = min(old, new), max(old, new)
        numbers = range(low // CHUNK_BITS, high // CHUNK_BITS + 1)
        moved = set(numbers) if len(numbers) < len(chunks) else {number for number in chunks if number in numbers}
        return moved | self.chains.chunks_standing(low, high)

    def _bits(self, number: int, firsts: dict[Group, int]) -> int:
        result, base = 0, number * CHUNK_BITS
        replacing = list(self.chains.between(base, base + CHUNK_BITS))
        for group, first in firsts.items():
            bits = _between(self.granted[group].get(number, 0), number, first, base + CHUNK_BITS)
            for index, standing_at in replacing:
                if standing_at < first:
                    bits &= ~(1 << index - base)
            result |= bits
        return result & ~self.ended.get(number, 0)


_NO_CHARGES = YearlyCharges()


def _between(bits: int, number: int, first: int, end: int) -> int:
    """Return those bits of a chunk whose index is ``first`` or more and below ``end``."""
    base = number * CHUNK_BITS
    if first > base:
        skip = first - base
        bits = bits >> skip << skip
    if end < base + CHUNK_BITS:
        bits &= (1 << max(0, end - base)) - 1
    return bits


def prove_in_force(tree: ChunkTree, size: int, index: int) -> InForceProof:
    """Make the proof for bit ``index`` of a set of ``size`` bits. Raises ProofInvalid where there is no such bit."""
    if not 0 <= index < size:
        raise ProofInvalid("The in-force set has no such index.")
    number = index // CHUNK_BITS
    path = tree.path(size, number)
    return InForceProof(index=index, size=size, chunk=tree.chunk(number).hex(), path=[step.hex() for step in path])


def check_in_force(proof: InForceProof, root: Hex32, *, index: int, size: int) -> bool:
    """Return what the proven bit says: whether the grant at ``index`` was eligible for the ``admit`` at ``size``.

    The reader brings both numbers: the root does not bind the size, and at the right edge of the tree a path for
    another size would show another chunk's bits. Raises ProofInvalid.
    """
    if (proof.index, proof.size) != (index, size):
        raise ProofInvalid("The in-force proof is for another grant or another question.")
    try:
        chunk = bytes.fromhex(proof.chunk)
        path = [bytes.fromhex(step) for step in proof.path]
    except ValueError:
        raise ProofInvalid("The in-force proof is not hexadecimal.") from None
    if len(chunk) != CHUNK_BYTES or chunk.hex() != proof.chunk or not 0 <= proof.index < proof.size:
        raise ProofInvalid("The in-force proof is not of its shape.")
    number, bit = divmod(proof.index, CHUNK_BITS)
    check_inclusion(leaf_hash(chunk), number, -(-proof.size // CHUNK_BITS), path, bytes.fromhex(root))
    return bool(int.from_bytes(chunk, "little") >> bit & 1)


def indices_in_force(chunks: Chunks) -> list[int]:
    """Return the ledger indices in the set, rising."""
    found: list[int] = []
    for number in sorted(chunks):
        base, bits = number * CHUNK_BITS, chunks[number]
        while bits:
            low = bits & -bits
            found.append(base + low.bit_length() - 1)
            bits ^= low
    return found
