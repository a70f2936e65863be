"""What a browser is asked to check, good and bad, and what the Python in ``ledger/`` says of it.

A case is plain JSON: which check, and its arguments (bytes in hex, texts as they are). ``judge`` runs one in Python;
``verify_judge.js`` runs the same in a browser. A verdict is what was proven, or the error's code.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Raw
from nacl.signing import SigningKey

from ledger import canonical, ed25519
from ledger import entries as e
from ledger.errors import HistoryForked, MusubiError, ProofInvalid
from ledger.hashing import leaf_hash, node_hash
from ledger.notes import ml_dsa
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.cosignatures import cosign
from ledger.notes.log_keys import LogKeyHistory, LogKeys
from ledger.notes.note import NoteSignature, VerifierKey, parse_note
from ledger.notes.receipts import Receipt, check_receipt
from ledger.notes.witness_policy import WitnessPolicy
from ledger.notes.witness_protocol import AddCheckpoint
from ledger.text_forms import to_base64
from ledger.tlog.proofs import check_consistency, check_inclusion
from ledger.tlog.tree import merkle_root
from policies.governance import approve
from policies.log_key_changes import make_log_key_body
from queries.answers.uses import InForceAt, check_in_force_at, check_use
from tests.kit.logs.small_trees import merkle_path
from tests.kit.parties.witnesses import timeless
from trust.log.pins import Trust, decode_trust
from trust.log.proven_keys import ProvenChange, ProvenLogKeys, check_log_keys, decode_log_keys

ORIGIN = "example.town/log"
LOG = SigningKey(bytes(32))
LOG_KEY = VerifierKey.ed25519(ORIGIN, bytes(LOG.verify_key))
WITNESSES = {name: SigningKey(bytes([n]) * 32) for n, name in enumerate(("city", "library", "school"), start=1)}
WITNESS_KEYS = {
    name: VerifierKey.cosignature(f"{name}.example/w", bytes(key.verify_key)) for name, key in WITNESSES.items()
}
TIME = 1_790_000_000
POLICY = "".join(
    [
        f"# Two of three must have signed.\nlog {LOG_KEY} https://example.town/log\n",
        *(f"witness {name} {key}\n" for name, key in WITNESS_KEYS.items()),
        "group two 2 city library school\nquorum two\n",
    ]
)
ENTRIES = [canonical.encode({"at": TIME + n, "kind": "sample", "n": n}) for n in range(21)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
INDEX = 13

POLICY_SHA256 = "22" * 32

Case = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A tree of the first ``size`` entries, as its log and its witnesses signed it."""

    size: int = 21
    root: bytes | None = None
    """Another root than that of the samples."""

    @property
    def checkpoint(self) -> Checkpoint:
        """What was signed."""
        return Checkpoint(ORIGIN, self.size, self.root or merkle_root(LEAVES[: self.size]))

    def note(self, *cosigners: str, time: int = TIME) -> bytes:
        """Return the signed checkpoint, cosigned by some witnesses."""
        lines = [
            str(cosign(self.checkpoint.text, WITNESS_KEYS[name].name, WITNESSES[name], time)) for name in cosigners
        ]
        return sign_checkpoint(self.checkpoint, LOG) + "".join(f"{line}\n" for line in lines).encode()

    def receipt(self, index: int = INDEX, *, checkpoint: bytes | None = None, extra: bytes | None = None) -> bytes:
        """Return the receipt of one entry."""
        path = merkle_path(LEAVES[: self.size], index)
        return Receipt(index, path, checkpoint or self.note("city", "library"), extra).format()


def receipt_case(
    receipt: bytes, *, entry: bytes = ENTRIES[INDEX], key: str = str(LOG_KEY), policy: str | None = POLICY
) -> Case:
    """Return the case of one receipt."""
    return {"check": "receipt", "receipt": receipt.hex(), "entry": entry.hex(), "key": key, "policy": policy}


def judge(case: Case) -> Any:
    """Return Python's verdict: what was proven, or the error's code."""
    try:
        return _CHECKS[case["check"]](case)
    except MusubiError as error:
        return error.code


def _receipt(case: Case) -> Any:
    receipt = Receipt.parse(bytes.fromhex(case["receipt"]))
    key = VerifierKey.parse(case["key"])
    policy = None if case["policy"] is None else WitnessPolicy.parse(case["policy"])
    checkpoint = check_receipt(receipt, bytes.fromhex(case["entry"]), key, policy)
    times = {} if policy is None else policy.check_quorum(parse_note(receipt.checkpoint))
    extra = None if receipt.extra is None else receipt.extra.hex()
    return [str(receipt.index), str(checkpoint.size), {name: str(time) for name, time in times.items()}, extra]


def _trust(case: Case) -> Any:
    trust = decode_trust(bytes.fromhex(case["trust"]))
    policy = trust.witnesses
    keys = [key.key_id.hex() for key in trust.log_keys.history.newest.all]
    return [trust.origin, keys, list(policy.witnesses), list(policy.groups), policy.quorum]


def _history(case: Case) -> Any:
    key = VerifierKey.parse(case["key"])
    older, _ = LogKeyHistory.of(key).open(bytes.fromhex(case["older"]))
    history = AddCheckpoint.parse(bytes.fromhex(case["history"]))
    newer, _ = LogKeyHistory.of(key).open(history.checkpoint)
    if older.origin != newer.origin or history.old != older.size:
        raise ProofInvalid("The history begins elsewhere.")
    if older.size == newer.size and older.root != newer.root:
        raise HistoryForked("One size, two roots.")
    check_consistency(older.size, newer.size, older.root, newer.root, history.proof)
    return str(newer.size)


def _in_force(case: Case) -> Any:
    answer = canonical.decode(bytes.fromhex(case["answer"]), InForceAt)
    if "admit" in case:
        admit = e.decode(bytes.fromhex(case["admit"]))
        if not isinstance(admit, e.Admit):
            raise ProofInvalid("That is no question.")
        return check_use(answer, admit, int(case["size"]), log=ORIGIN, index=int(case["index"]))
    return check_in_force_at(
        answer, log=ORIGIN, policy_sha256=POLICY_SHA256, size=int(case["size"]), index=int(case["index"])
    )


def _log_keys(case: Case) -> Any:
    trust = decode_trust(bytes.fromhex(case["trust"]))
    history = check_log_keys(decode_log_keys(bytes.fromhex(case["log_keys"])), trust.log_keys, trust.witnesses)
    return [[str(index), *[key.key_id.hex() for key in keys.all]] for index, keys in history.changes]


def _inclusion(case: Case) -> Any:
    leaf, root, *proof = map(bytes.fromhex, (case["leaf"], case["root"], *case["proof"]))
    check_inclusion(leaf, int(case["index"]), int(case["size"]), proof, root)
    return True


def _consistency(case: Case) -> Any:
    old_root, root, *proof = map(bytes.fromhex, (case["old_root"], case["root"], *case["proof"]))
    check_consistency(int(case["old"]), int(case["size"]), old_root, root, proof)
    return True


def _ed25519(case: Case) -> Any:
    ed25519.check(*(bytes.fromhex(case[part]) for part in ("message", "signature", "key")))
    return True


_CHECKS: dict[str, Callable[[Case], Any]] = {
    "receipt": _receipt,
    "trust": _trust,
    "history": _history,
    "in_force": _in_force,
    "log_keys": _log_keys,
    "inclusion": _inclusion,
    "consistency": _consistency,
    "ed25519": _ed25519,
}


def receipts() -> dict[str, Case]:
    """Return receipts by what is right or wrong with them."""
    world = World()
    good = world.receipt()
    head, _, note = good.partition(b"\n\n")
    lines = head.split(b"\n")
    text, _, signatures = note.partition(b"\n\n")
    rows = signatures.decode().splitlines()
    forged = NoteSignature.parse(rows[0])
    bad_log = str(NoteSignature(forged.name, forged.key_id, bytes(64)))
    witness = NoteSignature.parse(rows[1])
    flipped = bytes([*witness.signature[:-1], witness.signature[-1] ^ 1])
    later = str(cosign(world.checkpoint.text, WITNESS_KEYS["city"].name, WITNESSES["city"], TIME + 9))
    stranger = f"— a.example {to_base64(b'1234' + bytes(64))}"
    ml_dsa = f"— {WITNESS_KEYS['city'].name} {to_base64(b'6666' + bytes(8 + 2420))}"

    def signed(*with_rows: str) -> bytes:
        return head + b"\n\n" + text + b"\n\n" + "".join(f"{row}\n" for row in with_rows).encode()

    def headed(*with_lines: bytes) -> bytes:
        return b"\n".join(with_lines) + b"\n\n" + note

    def early(time: int) -> str:
        return str(cosign(world.checkpoint.text, WITNESS_KEYS["city"].name, WITNESSES["city"], time))

    no_time = str(timeless(world.checkpoint.text, WITNESS_KEYS["city"].name, WITNESSES["city"]))
    other_log = Checkpoint("other.example/log", 21, world.checkpoint.root)
    bad_text = f"{ORIGIN}\n021\n{to_base64(world.checkpoint.root)}\n"
    wrong_size = sign_checkpoint(Checkpoint(ORIGIN, 20, world.checkpoint.root), LOG)
    return {
        "good": receipt_case(good),
        **{f"good_at_{n}": receipt_case(world.receipt(n), entry=ENTRIES[n]) for n in range(21)},
        **{f"good_of_size_{n}": receipt_case(World(n).receipt(n - 1), entry=ENTRIES[n - 1]) for n in range(1, 21)},
        "good_with_extra": receipt_case(world.receipt(extra=ENTRIES[INDEX])),
        "good_without_witnesses": receipt_case(world.receipt(checkpoint=world.note()), policy=None),
        "good_by_all": receipt_case(world.receipt(checkpoint=world.note("city", "library", "school"))),
        "stranger_signed_too": receipt_case(signed(*rows, stranger)),
        "ml_dsa_line_of_unknown_id": receipt_case(signed(*rows, ml_dsa)),
        "duplicate_signature": receipt_case(signed(*rows, rows[1])),
        "duplicate_log_signature": receipt_case(signed(rows[0], *rows)),
        "witness_signed_twice": receipt_case(signed(*rows, later)),
        "witness_signed_twice_once_badly": receipt_case(
            signed(*rows, str(NoteSignature(witness.name, witness.key_id, flipped)))
        ),
        "cosignature_at_time_zero": receipt_case(signed(rows[0], no_time, rows[2])),
        "cosignature_at_time_zero_beside_a_true_one": receipt_case(signed(*rows, no_time)),
        "good_before_noon_of_the_first_day": receipt_case(signed(rows[0], early(1), rows[2])),
        "cosignature_at_the_last_time": receipt_case(signed(rows[0], early(2**63 - 1), rows[2])),
        "cosignature_past_the_last_time": receipt_case(
            signed(*rows, str(NoteSignature(witness.name, witness.key_id, b"\xff" * 8 + bytes(64))))
        ),
        "cosignature_too_short": receipt_case(
            signed(*rows, str(NoteSignature(witness.name, witness.key_id, bytes(71))))
        ),
        "bad_log_signature": receipt_case(signed(bad_log, *rows[1:])),
        "bad_log_signature_beside_a_good_one": receipt_case(signed(*rows, bad_log)),
        "log_did_not_sign": receipt_case(signed(*rows[1:])),
        "quorum_missing": receipt_case(world.receipt(checkpoint=world.note("school"))),
        "no_witness": receipt_case(world.receipt(checkpoint=world.note())),
        "wrong_entry": receipt_case(good, entry=ENTRIES[INDEX + 1]),
        "empty_entry": receipt_case(good, entry=b""),
        "node_as_entry": receipt_case(good, entry=b"\x01" + LEAVES[12] + LEAVES[13]),
        "wrong_index": receipt_case(headed(lines[0], b"index 12", *lines[2:])),
        "index_past_the_end": receipt_case(headed(lines[0], b"index 21", *lines[2:])),
        "largest_index": receipt_case(headed(lines[0], b"index 9223372036854775807", *lines[2:])),
        "index_too_large": receipt_case(headed(lines[0], b"index 9223372036854775808", *lines[2:])),
        "index_of_20_digits": receipt_case(headed(lines[0], b"index 10000000000000000000", *lines[2:])),
        "index_with_leading_zero": receipt_case(headed(lines[0], b"index 013", *lines[2:])),
        "index_with_sign": receipt_case(headed(lines[0], b"index +13", *lines[2:])),
        "index_in_hexadecimal": receipt_case(headed(lines[0], b"index 0xd", *lines[2:])),
        "index_with_space": receipt_case(headed(lines[0], b"index 13 ", *lines[2:])),
        "index_missing": receipt_case(headed(lines[0], *lines[2:])),
        "index_twice": receipt_case(headed(lines[0], lines[1], *lines[1:])),
        "header_of_version_2": receipt_case(good.replace(b"@v1", b"@v2")),
        "header_missing": receipt_case(headed(*lines[1:])),
        "path_too_short": receipt_case(headed(*lines[:-1])),
        "path_too_long": receipt_case(headed(*lines, lines[-1])),
        "path_empty": receipt_case(headed(*lines[:2])),
        "path_of_64": receipt_case(headed(*lines[:2], *[lines[2]] * 64)),
        "path_of_63": receipt_case(headed(*lines[:2], *[lines[2]] * 63)),
        "path_swapped": receipt_case(headed(*lines[:2], lines[3], lines[2], *lines[4:])),
        "hash_of_31_bytes": receipt_case(headed(*lines[:2], to_base64(bytes(31)).encode(), *lines[3:])),
        "hash_of_33_bytes": receipt_case(headed(*lines[:2], to_base64(bytes(33)).encode(), *lines[3:])),
        "hash_with_spare_bits": receipt_case(headed(*lines[:2], b"A" * 42 + b"B=", *lines[3:])),
        "hash_without_padding": receipt_case(headed(*lines[:2], lines[2][:-1], *lines[3:])),
        "hash_with_space": receipt_case(headed(*lines[:2], lines[2] + b" ", *lines[3:])),
        "hash_in_base64url": receipt_case(headed(*lines[:2], b"_" * 42 + b"8=", *lines[3:])),
        "other_size": receipt_case(World(20).receipt(), entry=ENTRIES[INDEX + 1]),
        "checkpoint_of_another_size": receipt_case(headed(*lines).replace(b"\n21\n", b"\n22\n")),
        "root_signed_with_another_size": receipt_case(head + b"\n\n" + wrong_size, policy=None),
        "checkpoint_of_another_log": receipt_case(head + b"\n\n" + sign_checkpoint(other_log, LOG), policy=None),
        "other_log_key": receipt_case(good, key=str(VerifierKey.ed25519(ORIGIN, b"\x08" * 32))),
        "low_order_log_key": receipt_case(good, key=str(VerifierKey.ed25519(ORIGIN, bytes(32)))),
        "checkpoint_with_leading_zero": receipt_case(_signed_as_it_is(head, bad_text), policy=None),
        "checkpoint_of_two_lines": receipt_case(_signed_as_it_is(head, f"{ORIGIN}\n21\n"), policy=None),
        "checkpoint_of_four_lines": receipt_case(_signed_as_it_is(head, world.checkpoint.text + "more\n"), policy=None),
        "checkpoint_of_size_zero": receipt_case(
            head + b"\n\n" + sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), LOG), policy=None
        ),
        "extra_empty": receipt_case(headed(lines[0], b"extra ", *lines[1:])),
        "extra_not_canonical": receipt_case(headed(lines[0], b"extra ZXh0cmF=", *lines[1:])),
        "extra_twice": receipt_case(headed(lines[0], b"extra ZXh0", b"extra ZXh0", *lines[1:])),
        "extra_after_index": receipt_case(headed(*lines[:2], b"extra ZXh0", *lines[2:])),
        "carriage_returns": receipt_case(good.replace(b"\n", b"\r\n")),
        "control_character_in_text": receipt_case(good.replace(b"\n21\n", b"\n21\x0b\n")),
        "control_character_in_name": receipt_case(signed(*rows, stranger.replace("a.example", "a.\x01example"))),
        "delete_character_in_name": receipt_case(signed(*rows, stranger.replace("a.example", "a.\x7fexample"))),
        **{
            f"space_{ord(space):04x}_in_name": receipt_case(signed(*rows, stranger.replace("a.ex", f"a{space}ex")))
            for space in "\x1c\x85\xa0\u1680\u2003\u200b\u2028\u3000\ufeff\u180e"
        },
        "plus_in_name": receipt_case(signed(*rows, stranger.replace("a.ex", "a+ex"))),
        "name_missing": receipt_case(signed(*rows, stranger.replace("a.example", ""))),
        "hyphen_for_dash": receipt_case(signed(*rows, stranger.replace("—", "-"))),
        "two_spaces": receipt_case(signed(*rows, stranger.replace("a.example ", "a.example  "))),
        "signature_of_key_id_only": receipt_case(signed(*rows, f"— a.example {to_base64(b'1234')}")),
        "signature_of_one_byte": receipt_case(signed(*rows, f"— a.example {to_base64(b'12345')}")),
        "signature_not_canonical": receipt_case(signed(*rows, "— a.example MTIzNDV=")),
        "signature_empty": receipt_case(signed(*rows, "— a.example ")),
        "empty_line_among_signatures": receipt_case(signed(*rows, "")),
        "signatures_100": receipt_case(signed(*rows, *[stranger] * 97)),
        "signatures_101": receipt_case(signed(*rows, *[stranger] * 98)),
        "last_newline_missing": receipt_case(good[:-1]),
        "no_signatures": receipt_case(signed()),
        "no_checkpoint": receipt_case(head),
        "not_utf8": receipt_case(good.replace(b"\xe2\x80\x94", b"\xff\x80\x94")),
        "overlong_utf8": receipt_case(good + "— ".encode() + b"\xc0\xaf MTIzNDU2\n"),
        "surrogate_in_utf8": receipt_case(good + "— ".encode() + b"\xed\xa0\x80 MTIzNDU2\n"),
        "byte_order_mark": receipt_case(b"\xef\xbb\xbf" + good),
        "byte_order_mark_in_note": receipt_case(head + b"\n\n\xef\xbb\xbf" + note),
        "not_ascii_head": receipt_case(good.replace(b"index 13", "index １３".encode())),
        "nul": receipt_case(good.replace(b"index 13", b"index 13\0")),
        "empty": receipt_case(b""),
        "newlines": receipt_case(b"\n" * 40),
        "receipt_too_large": receipt_case(bytes(2_000_001)),
        "note_too_large": receipt_case(head + b"\n\n" + b"a" * 1_000_001),
        "note_as_large_as_can_be": receipt_case(head + b"\n\n" + b"a" * 1_000_000),
    }


def _signed_as_it_is(head: bytes, text: str) -> bytes:
    """Return a receipt whose log signed a text that is no checkpoint."""
    line = NoteSignature(ORIGIN, LOG_KEY.key_id, LOG.sign(text.encode()).signature)
    return head + f"\n\n{text}\n{line}\n".encode()


def keys_and_policies() -> dict[str, Case]:
    """Return good receipts with log keys and witness policies that are good or bad."""
    good = World().receipt()
    city, library = WITNESS_KEYS["city"], WITNESS_KEYS["library"]
    base = f"witness city {city}\nwitness library {library}\n"
    three = base + f"witness school {WITNESS_KEYS['school']}\n"
    again = f"witness again {VerifierKey.cosignature(city.name, bytes(SigningKey(bytes([44]) * 32).verify_key))}\n"
    raw = bytes([7]) + LOG_KEY.public_key
    policies = {
        "none": "quorum none\n",
        "one": base + "quorum city\n",
        "any": base + "group g any city library\nquorum g\n",
        "all": base + "group g all city library\nquorum g\n",
        "all_of_three_missing": three + "group g all city library school\nquorum g\n",
        "nested": three + "group a any city school\ngroup b all library a\nquorum b\n",
        "nested_missing": three + "group a 2 city school\ngroup b 1 a\nquorum b\n",
        "tabs_and_comments": f"#c\n\n \twitness\tcity  {city}\t \n  # c\nquorum\tcity\n",
        "empty": "",
        "no_quorum": base,
        "two_quorums": base + "quorum city\nquorum city\n",
        "no_last_newline": base + "quorum city",
        "unknown_quorum": base + "quorum school\n",
        "quorum_before": "quorum city\n" + base,
        "threshold_zero": base + "group g 0 city\nquorum g\n",
        "threshold_too_large": base + "group g 3 city library\nquorum g\n",
        "threshold_of_19_digits": base + "group g 9223372036854775807 city\nquorum g\n",
        "threshold_of_many_digits": base + f"group g {'9' * 400} city\nquorum g\n",
        "threshold_with_zero": base + "group g 01 city\nquorum g\n",
        "threshold_word": base + "group g most city\nquorum g\n",
        "member_twice": base + "group g 1 city city\nquorum g\n",
        "member_in_two_groups": base + "group g 1 city\ngroup h 1 city\nquorum h\n",
        "group_of_itself": base + "group g 1 g\nquorum g\n",
        "group_without_members": base + "group g 1\nquorum none\n",
        "name_twice": base + f"witness city {WITNESS_KEYS['school']}\nquorum city\n",
        "group_named_as_witness": base + "group city 1 library\nquorum city\n",
        "named_none": f"witness none {city}\nquorum none\n",
        "group_named_none": base + "group none 1 city\nquorum none\n",
        "key_twice": base + f"witness again {city}\nquorum city\n",
        "log_twice": f"log {LOG_KEY}\nlog {LOG_KEY}\nquorum none\n",
        "other_log": f"log {VerifierKey.ed25519('b.example', bytes(range(32)))}\nquorum none\n",
        "log_of_another_name": f"log {VerifierKey.ed25519('b.example', LOG_KEY.public_key)}\nquorum none\n",
        "log_key_as_witness": f"witness a {LOG_KEY}\nquorum a\n",
        "witness_key_as_log": f"log {city}\nquorum none\n",
        "unknown_line": base + "quorum city\nwitnes x\n",
        "too_many_items": base + "quorum city library\n",
        "address": f"witness city {city} https://a.example/\nquorum city\n",
        "two_addresses": f"witness city {city} https://a.example/ b\nquorum city\n",
        "carriage_return": base + "quorum city\r\n",
        "delete_character": base + "quorum city\n# \x7f\n",
        "no_break_space": base + "quorum\u00a0city\n",
        "own_group": base + f"{again}group own any city again\ngroup g 2 own library\nquorum g\n",
        "both_of_own_group": base + f"{again}group own all city again\ngroup g 1 own library\nquorum g\n",
        "one_of_all_keys": base + f"{again}group g any city again library\nquorum g\n",
        "one_witness_counted_twice": base + f"{again}group g 2 city again library\nquorum g\n",
        "one_witness_in_all": base + f"{again}group g all city again library\nquorum g\n",
        "one_witness_in_two_groups": base
        + f"{again}group a any city\ngroup b any again library\ngroup g 2 a b\nquorum g\n",
        "one_address_counted_twice": f"witness city {city} https://w.example\nwitness library {library} "
        "https://w.example/\ngroup g 2 city library\ngroup h any g\nquorum h\n",
        "one_address_of_three": f"witness city {city} https://w.example\nwitness library {library} https://w.example/\n"
        f"witness school {WITNESS_KEYS['school']}\ngroup g 2 city library school\nquorum g\n",
        "two_made_one_by_a_third": f"witness city {city}\nwitness library {library} https://w.example\n"
        f"{again.rstrip()} https://w.example\ngroup o any again\ngroup g 2 city library o\nquorum g\n",
        "too_many_witnesses": "".join(
            f"witness w{n} {VerifierKey.cosignature('w.example', n.to_bytes(32, 'big'))}\n" for n in range(257)
        )
        + "quorum none\n",
        "too_large": "#" * 1_000_000 + "\nquorum none\n",
        "large_beyond_the_basic_plane": "# " + "𠮷" * 600_000 + f"\nwitness city {city}\nquorum city\n",
    }
    keys = {
        "not_a_key": "hello",
        "newline": f"{LOG_KEY}\n",
        "id_upper_case": str(LOG_KEY).replace(LOG_KEY.key_id.hex(), LOG_KEY.key_id.hex().upper()),
        "wrong_id": str(LOG_KEY).replace(LOG_KEY.key_id.hex(), "00000000"),
        "wrong_name": str(LOG_KEY).replace("town", "city"),
        "not_canonical": f"{ORIGIN}+00000000+AB==",
        "only_padding": f"{ORIGIN}+00000000+=",
        "type_only": f"{ORIGIN}+00000000+AQ==",
        "unknown_type": f"{ORIGIN}+00000000+{to_base64(raw)}",
        "too_long": f"{ORIGIN}+00000000+{to_base64(bytes([1]) + bytes(33))}",
        "witness_key": str(city),
        "name_with_space": str(LOG_KEY).replace("town", "to wn"),
    }
    return {f"policy_{name}": receipt_case(good, policy=text) for name, text in policies.items()} | {
        f"key_{name}": receipt_case(good, key=text) for name, text in keys.items()
    }


def trust_files() -> dict[str, Case]:
    """Return trust files by what is right or wrong with them."""
    fields: dict[str, Any] = {
        "genesis_sha256": "5f" * 32,
        "log_key": str(LOG_KEY),
        "origin": ORIGIN,
        "v": 1,
        "witness_policy": POLICY,
    }
    good = canonical.encode(fields)

    def but(**other: object) -> bytes:
        return canonical.encode(fields | other)

    named = {
        "good": good,
        "good_with_post_quantum_key": but(log_key_pq=PQ_TEXT),
        "post_quantum_key_of_another_name": but(log_key_pq=PQ_TEXT.replace("town", "city")),
        "post_quantum_key_of_type_1": but(log_key_pq=str(LOG_KEY)),
        "post_quantum_key_empty": but(log_key_pq=""),
        "post_quantum_key_null": but(log_key_pq=None),
        "good_with_newlines": good + b"\n\n",
        "leading_space": b" " + good,
        "trailing_space": good + b" ",
        "inner_space": good.replace(b":1,", b": 1,"),
        "unsorted": json.dumps(dict(reversed(fields.items())), separators=(",", ":")).encode(),
        "key_twice": good.replace(b'"v":1', b'"v":1,"v":1'),
        "float": good.replace(b'"v":1', b'"v":1.0'),
        "exponent": good.replace(b'"v":1', b'"v":1e0'),
        "boolean": but(v=True),
        "version_2": but(v=2),
        "field_missing": canonical.encode({k: v for k, v in fields.items() if k != "origin"}),
        "field_too_many": but(more=1),
        "prototype": good.replace(b'"v":1', b'"__proto__":1,"v":1'),
        "escape": good.replace(b'"origin":"e', b'"origin":"\\u0065'),
        "slash_escape": good.replace(b"town/log", b"town\\/log"),
        "hash_upper_case": but(genesis_sha256="5F" * 32),
        "hash_short": but(genesis_sha256="5f" * 31),
        "hash_with_newline": but(genesis_sha256="5f" * 32 + "\n"),
        "hash_a_list": but(genesis_sha256=["5f" * 32]),
        "origin_empty": but(origin=""),
        "origin_other": but(origin="other.example/log"),
        "origin_too_long": but(origin="a" * 201),
        "key_of_a_witness": but(log_key=str(WITNESS_KEYS["city"])),
        "key_bad": but(log_key="hello"),
        "policy_of_another_log": but(
            witness_policy=f"log {VerifierKey.ed25519('b.example', bytes(range(32)))}\nquorum none\n"
        ),
        "policy_without_log": but(witness_policy="quorum none\n"),
        "policy_with_odd_characters": but(witness_policy='# "\\/\u2028\u00e9𠮷\nquorum none\n'),
        "policy_with_tab": but(witness_policy="quorum\tnone\n"),
        "policy_bad": but(witness_policy="quorum\n"),
        "lone_surrogate": good.replace(b'"witness_policy":"', b'"witness_policy":"\\ud800'),
        "not_json": b"{",
        "array": b"[]",
        "null": b"null",
        "deep": b"[" * 100_000 + b"]" * 100_000,
        "empty": b"",
        "newlines": b"\n\n",
        "byte_order_mark": b"\xef\xbb\xbf" + good,
        "not_utf8": good.replace(b"Two", b"\xff\xfe!"),
        "too_large": b" " * 1_200_001,
    }
    return {f"trust_{name}": {"check": "trust", "trust": data.hex()} for name, data in named.items()}


def histories() -> dict[str, Case]:
    """Return histories by what is right or wrong with them."""
    newer = World(21)

    def case(older: bytes, history: bytes) -> Case:
        return {"check": "history", "older": older.hex(), "history": history.hex(), "key": str(LOG_KEY)}

    def grown(start: int, size: int = 21, **other: Any) -> bytes:
        proof = consistency_path(start, size)
        return AddCheckpoint(other.get("old", start), other.get("proof", proof), World(size).note()).format()

    eleven = World(11).note()
    forked = sign_checkpoint(Checkpoint(ORIGIN, 21, bytes(32)), LOG)
    path = consistency_path(11, 21)
    return {
        **{f"history_{n}_to_21": case(World(n).note(), grown(n)) for n in range(1, 22)},
        "history_16_to_17": case(World(16).note(), grown(16, 17)),
        "history_other_old": case(eleven, grown(11, old=12)),
        "history_old_of_the_proof": case(eleven, grown(12)),
        "history_short": case(eleven, grown(11, proof=path[:-1])),
        "history_long": case(eleven, grown(11, proof=[*path, bytes(32)])),
        "history_empty": case(eleven, grown(11, proof=[])),
        "history_swapped": case(eleven, grown(11, proof=path[::-1])),
        "history_other_root": case(sign_checkpoint(Checkpoint(ORIGIN, 11, bytes(32)), LOG), grown(11)),
        "history_backwards": case(newer.note(), AddCheckpoint(21, [], eleven).format()),
        "history_forked": case(forked, grown(21)),
        "history_same_with_a_proof": case(newer.note(), grown(21, proof=[bytes(32)])),
        "history_from_zero": case(
            sign_checkpoint(Checkpoint(ORIGIN, 0, leaf_hash(b"")), LOG), AddCheckpoint(0, [], newer.note()).format()
        ),
        "history_unsigned": case(eleven, grown(11).replace(b"\n21\n", b"\n22\n")),
        "history_of_64": case(eleven, b"old 11\n" + to_base64(bytes(32)).encode() * 64),
        "history_with_64_lines": case(
            eleven, b"old 11\n" + (to_base64(bytes(32)).encode() + b"\n") * 64 + b"\n" + newer.note()
        ),
        "history_with_zero": case(eleven, grown(11).replace(b"old 11", b"old 011")),
        "history_without_old": case(eleven, grown(11).replace(b"old 11", b"new 11")),
        "history_without_checkpoint": case(eleven, b"old 11\n\n"),
        "history_too_large": case(eleven, b"\n" * 1_000_001),
    }


def consistency_path(old: int, new: int) -> list[bytes]:
    """Return the consistency proof between two sizes by RFC 6962's own recursion (section 2.1.2)."""

    def prove(m: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
        n = len(leaves)
        if m == n:
            return [] if whole else [merkle_root(leaves)]
        k = 1 << (n - 1).bit_length() - 1
        if m <= k:
            return [*prove(m, leaves[:k], whole=whole), merkle_root(leaves[k:])]
        return [*prove(m - k, leaves[k:], whole=False), merkle_root(leaves[:k])]

    return prove(old, LEAVES[:new], whole=True)


CHUNKS = [bytes(512), bytes([0b101]) + bytes(510) + b"\x80", b"\xff" * 512]
"""Bits 4096, 4098 and 8191 are set, and all of the third chunk."""
CHUNK_LEAVES = [leaf_hash(chunk) for chunk in CHUNKS]


def in_force_proof(index: int, size: int = 3 * 4096 - 5) -> dict[str, Any]:
    """Return the service's answer about one bit, as JSON data."""
    number = index // 4096
    proof = {
        "index": index,
        "size": size,
        "chunk": CHUNKS[number].hex(),
        "path": [step.hex() for step in merkle_path(CHUNK_LEAVES, number)],
    }
    return {
        "v": 1,
        "log": ORIGIN,
        "policy_sha256": POLICY_SHA256,
        "size": size,
        "at": TIME,
        "day": "2026-09-21",
        "charge": 1_000,
        "root": merkle_root(CHUNK_LEAVES).hex(),
        "proof": proof,
    }


def admit(**other: object) -> bytes:
    """Return the bytes of the question that the in-force proofs are about."""
    fields = {
        "v": 1,
        "kind": "admit",
        "at": TIME,
        "question": "x",
        "query": {"v": 1},
        "query_sha256": "33" * 32,
        "by": "city_lab",
        "policy": "mobility_demand",
        "version": 3,
        "policy_sha256": POLICY_SHA256,
        "in_force_root": merkle_root(CHUNK_LEAVES).hex(),
        "noise": [{"primitive": "rows", "scale": "28.5"}],
        "participants": ["bus_co"],
        "charge": 1_000,
        "expires": TIME + 60,
    }
    return canonical.encode(fields | other)


def in_force_proofs() -> dict[str, Case]:
    """Return in-force proofs by what is right or wrong with them."""
    size = 3 * 4096 - 5

    def case(answer: object, index: int, at: int = size) -> Case:
        data = answer if isinstance(answer, bytes) else canonical.encode(answer)
        return {"check": "in_force", "answer": data.hex(), "index": str(index), "size": str(at)}

    def but(**other: object) -> dict[str, Any]:
        """Change the proof, and the answer's own size with it."""
        answer = in_force_proof(4098)
        size = other.get("size", answer["size"])
        return answer | {"proof": answer["proof"] | other, "size": size}

    def asked(question: bytes, answer: dict[str, Any] | None = None) -> Case:
        return case(answer or good, 4098) | {"admit": question.hex()}

    good = in_force_proof(4098)
    path = good["proof"]["path"]
    return {
        **{f"in_force_{n}": case(in_force_proof(n), n) for n in (0, 4095, 4096, 4097, 4098, 8190, 8191, 8192, 12282)},
        "in_force_other_index": case(good, 4096),
        "in_force_other_size": case(good, 4098, size - 1),
        "in_force_claims_other_index": case(but(index=4096 * 2), 4096 * 2),
        "in_force_index_of_another_chunk": case(but(index=2), 2),
        "in_force_past_the_end": case(but(index=size), size),
        "in_force_negative": case(but(index=-1), -1),
        "in_force_other_tree": case(but(size=4096), 4098, 4096),
        "in_force_larger_tree": case(but(size=4096 * 5), 4098, 4096 * 5),
        "in_force_flipped": case(but(chunk="ff" + good["proof"]["chunk"][2:]), 4098),
        "in_force_short_chunk": case(but(chunk=good["proof"]["chunk"][2:]), 4098),
        "in_force_long_chunk": case(but(chunk=good["proof"]["chunk"] + "00"), 4098),
        "in_force_chunk_no_hex": case(but(chunk="x" + good["proof"]["chunk"][1:]), 4098),
        "in_force_chunk_odd": case(but(chunk=good["proof"]["chunk"][1:]), 4098),
        "in_force_path_short": case(but(path=path[:-1]), 4098),
        "in_force_path_long": case(but(path=[*path, "00" * 32]), 4098),
        "in_force_path_swapped": case(but(path=path[::-1]), 4098),
        "in_force_path_upper_case": case(but(path=[path[0].upper(), *path[1:]]), 4098),
        "in_force_path_no_text": case(but(path=[1]), 4098),
        "in_force_path_no_list": case(but(path="00"), 4098),
        "in_force_index_text": case(but(index="4098"), 4098),
        "in_force_index_float": case(canonical.encode(good).replace(b":4098", b":4098.0"), 4098),
        "in_force_more_fields": case(but(more=1), 4098),
        "in_force_root_other": case(good | {"root": "00" * 32}, 4098),
        "in_force_root_short": case(good | {"root": "00" * 31}, 4098),
        "in_force_root_missing": case({k: v for k, v in good.items() if k != "root"}, 4098),
        "in_force_other_log": case(good | {"log": "other.example/log"}, 4098),
        "in_force_other_policy": case(good | {"policy_sha256": "23" * 32}, 4098),
        "in_force_other_size_outside": case(good | {"size": size - 1}, 4098),
        "in_force_version_2": case(good | {"v": 2}, 4098),
        "in_force_day": case(good | {"day": "2026-9-21"}, 4098),
        "in_force_negative_charge": case(good | {"charge": -1}, 4098),
        "in_force_charge_too_large": case(canonical.encode(good).replace(b":1000", b":9007199254740992"), 4098),
        "in_force_question": asked(admit()),
        "in_force_question_not_counted": case(in_force_proof(4097), 4097) | {"admit": admit().hex()},
        "in_force_question_of_another_root": asked(admit(in_force_root="00" * 32)),
        "in_force_question_of_another_policy": asked(admit(policy_sha256="23" * 32)),
        "in_force_question_of_another_charge": asked(admit(charge=1_001)),
        "in_force_question_of_another_time": asked(admit(at=TIME + 1)),
        "in_force_question_in_another_log": asked(admit(), good | {"log": "other.example/log"}),
        "in_force_question_at_another_place": case(good, 4098, size - 1) | {"admit": admit().hex()},
        "in_force_no_question": asked(
            canonical.encode({"v": 1, "kind": "erase", "at": TIME, "index": 3, "reason": "requested"})
        ),
        "in_force_not_canonical": case(json.dumps(good).encode(), 4098),
        "in_force_empty": case(b"", 4098),
        "in_force_swapped_children": case(
            good | {"root": node_hash(CHUNK_LEAVES[2], node_hash(*CHUNK_LEAVES[:2])).hex()}, 4098
        ),
    }


STEWARDS = {name: SigningKey(bytes([n]) * 32) for n, name in enumerate(("city", "firms", "residents"), start=101)}
NEW_LOG = SigningKey(bytes([77]) * 32)
NEWEST_LOG = SigningKey(bytes([78]) * 32)
PQ_LOG = ml_dsa.key_from_seed(bytes([79]) * 32)


PQ_TEXT = str(VerifierKey.ml_dsa_44(ORIGIN, ml_dsa.public_bytes(PQ_LOG)))


class ChangedLog:
    """A log whose key changed at index 1, and whose key and post-quantum key changed at index 3."""

    def __init__(self) -> None:
        self.keys = [
            LogKeys(LOG_KEY),
            LogKeys(VerifierKey.ed25519(ORIGIN, bytes(NEW_LOG.verify_key))),
            LogKeys(
                VerifierKey.ed25519(ORIGIN, bytes(NEWEST_LOG.verify_key)),
                VerifierKey.ml_dsa_44(ORIGIN, ml_dsa.public_bytes(PQ_LOG)),
            ),
        ]
        text = {"en": "T"}
        stewards = [
            e.Steward(alias=name, title=text, key=bytes(key.verify_key).hex()) for name, key in STEWARDS.items()
        ]
        genesis = e.Genesis(
            at=TIME,
            origin=ORIGIN,
            title=text,
            log_key=str(LOG_KEY),
            time_zone="Asia/Tokyo",
            stewards=stewards,
            quorum=2,
        )
        filler = e.Erase(at=TIME, index=0, reason="requested")
        entries: list[e.AnyEntry] = [genesis, self.change(2), filler, self.change(3), filler]
        self.entries = [e.encode(entry) for entry in entries]
        self.leaves = [leaf_hash(entry) for entry in self.entries]

    def change(self, number: int, stewards: tuple[str, ...] = ("city", "firms"), **other: Any) -> e.LogKey:
        """Return the entry that brings the ``number``-th keys."""
        body = make_log_key_body(other.get("says", number), other.get("keys", self.keys[number - 1]))
        signed_body = other.get("signed_body", body)
        log = other.get("log", ORIGIN)
        subject = other.get("subject", "log-key")
        tokens = [approve(subject, signed_body, log=log, steward=who, key=STEWARDS[who]) for who in stewards]
        return e.LogKey(at=TIME, log_key=body, signatures=tokens)

    def note(self, size: int, key: SigningKey, *, post_quantum: bool = False, witnesses: bool = True) -> bytes:
        """Return a checkpoint of the first ``size`` entries, signed with any key."""
        checkpoint = Checkpoint(ORIGIN, size, merkle_root(self.leaves[:size]))
        signed = sign_checkpoint(checkpoint, key, PQ_LOG if post_quantum else None)
        for name in ("city", "library") if witnesses else ():
            line = cosign(checkpoint.text, WITNESS_KEYS[name].name, WITNESSES[name], TIME)
            signed += f"{line}\n".encode()
        return signed

    def receipt(self, index: int, size: int, note: bytes, extra: bytes | None = None) -> bytes:
        """Return the receipt of one entry under a checkpoint."""
        return Receipt(index, merkle_path(self.leaves[:size], index), note, extra).format()

    def proven(self, at: int, size: int, note: bytes, entry: e.LogKey | None = None) -> ProvenChange:
        """Return one change with its receipt."""
        data = self.entries[at] if entry is None else e.encode(entry)
        return ProvenChange(index=at, entry=Raw(data), receipt=self.receipt(at, size, note).decode())

    @property
    def changes(self) -> list[ProvenChange]:
        """Both changes, as the service proves them."""
        return [
            self.proven(1, 3, self.note(3, NEW_LOG)),
            self.proven(3, 5, self.note(5, NEWEST_LOG, post_quantum=True)),
        ]

    def document(self, *changes: ProvenChange) -> bytes:
        """Return the service's answer at ``/v1/log-keys``."""
        return canonical.encode(ProvenLogKeys(genesis=Raw(self.entries[0]), changes=list(changes)))

    @property
    def trust(self) -> bytes:
        """The trust file of this log."""
        pinned = hashlib.sha256(self.entries[0]).hexdigest()
        return canonical.encode(
            Trust(origin=ORIGIN, log_key=str(LOG_KEY), genesis_sha256=pinned, witness_policy=POLICY)
        )


def key_histories() -> dict[str, Case]:
    """Return key histories by what is right or wrong with them."""
    log = ChangedLog()
    first, second = log.changes

    def case(document: bytes, trust: bytes = log.trust) -> Case:
        return {"check": "log_keys", "log_keys": document.hex(), "trust": trust.hex()}

    def changed(**other: Any) -> Case:
        return case(log.document(log.proven(1, 3, log.note(3, NEW_LOG), log.change(2, **other))))

    whole = log.document(first, second)
    old = LogKeys(LOG_KEY)
    return {
        "keys_good": case(whole),
        "keys_without_change": case(log.document()),
        "keys_first_change_only": case(log.document(first)),
        "keys_change_missing": case(log.document(second)),
        "keys_out_of_order": case(log.document(second, first)),
        "keys_twice": case(log.document(first, first)),
        "keys_of_another_town": case(
            whole, log.trust.replace(hashlib.sha256(log.entries[0]).hexdigest().encode(), b"00" * 32)
        ),
        "keys_receipt_by_the_old_key": case(log.document(log.proven(1, 3, log.note(3, LOG)))),
        "keys_receipt_without_witnesses": case(log.document(log.proven(1, 3, log.note(3, NEW_LOG, witnesses=False)))),
        "keys_receipt_without_post_quantum": case(log.document(first, log.proven(3, 5, log.note(5, NEWEST_LOG)))),
        "keys_receipt_of_another_entry": case(
            log.document(
                ProvenChange(
                    index=1, entry=Raw(log.entries[1]), receipt=log.receipt(2, 3, log.note(3, NEW_LOG)).decode()
                )
            )
        ),
        "keys_other_index": case(log.document(ProvenChange(index=2, entry=first.entry, receipt=first.receipt))),
        "keys_no_quorum": changed(stewards=("city",)),
        "keys_one_steward_twice": changed(stewards=("city", "city")),
        "keys_nobody": changed(stewards=()),
        "keys_another_body_signed": changed(signed_body=make_log_key_body(2, log.keys[2])),
        "keys_signed_for_another_log": changed(log="other.example/log"),
        "keys_signed_as_a_member": changed(subject="member"),
        "keys_wrong_number": changed(says=3),
        "keys_changing_nothing": changed(keys=old),
        "keys_brought_back": case(log.document(first, log.proven(3, 5, log.note(5, LOG), log.change(3, keys=old)))),
        "keys_of_another_name": changed(
            keys=LogKeys(VerifierKey.ed25519("other.example/log", bytes(NEW_LOG.verify_key)))
        ),
        "keys_entry_of_another_kind": case(
            log.document(ProvenChange(index=1, entry=Raw(log.entries[2]), receipt=first.receipt))
        ),
        "keys_not_canonical": case(b" " + whole),
        "keys_cut": case(whole[:-1]),
        "keys_more_fields": case(whole[:-1] + b',"w":1}'),
        "keys_empty": case(b""),
    }


def all_cases() -> dict[str, Case]:
    """Return every made case by name."""
    return receipts() | keys_and_policies() | trust_files() | histories() | in_force_proofs() | key_histories()
