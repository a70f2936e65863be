"""Other people's answers: transparency-dev/merkle's proofs, C2SP/CCTV's Ed25519 edge cases, and published notes."""

import json
from base64 import b64decode
from pathlib import Path

from ledger import ed25519
from ledger.errors import ProofInvalid, SignatureInvalid
from ledger.notes.note import VerifierKey, cosignature_time, format_note, parse_note, verify_note
from ledger.tlog.proofs import check_consistency, check_inclusion


def hashes(case: dict[str, list[str] | None]) -> list[bytes]:
    return [b64decode(each) for each in case["proof"] or []]


def test_every_published_inclusion_proof_verifies_or_fails_as_its_case_says(shared_data: Path) -> None:
    files = sorted((shared_data / "vectors/merkle/inclusion").rglob("*.json"))
    verdicts = []
    for file in files:
        case = json.loads(file.read_text())
        leaf, root = b64decode(case["leafHash"] or ""), b64decode(case["root"] or "")
        try:
            check_inclusion(leaf, case["leafIdx"], case["treeSize"], hashes(case), root)
            verdicts.append(True)
        except ProofInvalid:
            verdicts.append(False)
        assert verdicts[-1] != case["wantErr"], file
    assert len(files) > 90
    assert set(verdicts) == {True, False}


def test_every_published_consistency_proof_verifies_or_fails_as_its_case_says(shared_data: Path) -> None:
    files = sorted((shared_data / "vectors/merkle/consistency").rglob("*.json"))
    verdicts = []
    for file in files:
        case = json.loads(file.read_text())
        roots = b64decode(case["root1"] or ""), b64decode(case["root2"] or "")
        try:
            check_consistency(case["size1"], case["size2"], *roots, hashes(case))
            verdicts.append(True)
        except ProofInvalid:
            verdicts.append(False)
        assert verdicts[-1] != case["wantErr"], file
    assert len(files) > 80
    assert set(verdicts) == {True, False}


def test_no_published_vector_is_left_out(shared_data: Path) -> None:
    """The tests here run two folders and one file; whatever else came along would not be run."""
    root = shared_data / "vectors"
    merkle = {*(root / "merkle/inclusion").rglob("*.json"), *(root / "merkle/consistency").rglob("*.json")}
    everything = {file for file in root.rglob("*") if file.is_file() and file.name not in ("LICENSE", "README.md")}
    assert everything == merkle | {root / "ed25519/ed25519vectors.json"}


def test_an_ed25519_signature_is_taken_exactly_when_its_only_oddity_is_a_low_order_component(shared_data: Path) -> None:
    """Our stance, for all 914 cases.

    Refused: a low-order key or R, any encoding of a point that is not the canonical one, and what would verify only
    after multiplying by the cofactor. Taken: points of mixed order whose low-order parts cancel out.
    """
    cases = json.loads((shared_data / "vectors/ed25519/ed25519vectors.json").read_text())
    verdicts = []
    for case in cases:
        signature, key = bytes.fromhex(case["sig"]), bytes.fromhex(case["key"])
        expected = set(case["flags"] or []) <= {"low_order_component_A", "low_order_component_R"}
        try:
            ed25519.check(case["msg"].encode(), signature, key)
            verdicts.append(True)
        except SignatureInvalid:
            verdicts.append(False)
        assert verdicts[-1] == expected, case["number"]
    assert len(cases) == 914
    assert set(verdicts) == {True, False}


def test_the_note_of_the_go_checksum_tools_verifies_under_its_published_key() -> None:
    """From golang.org/x/mod/sumdb/note, example_test.go."""
    key = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    data = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    ).encode()
    assert verify_note(parse_note(data), [key]) == [key]
    assert format_note(parse_note(data)) == data


def test_the_cosigned_checkpoint_of_the_c2sp_specification_parses_and_shows_its_time() -> None:
    """From C2SP tlog-cosignature, which shows 1679315147 as the time signed."""
    data = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 "
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    ).encode()
    note = parse_note(data)
    assert cosignature_time(note.signatures[1].signature) == 1679315147
    assert format_note(note) == data
