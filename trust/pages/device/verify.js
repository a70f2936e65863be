// @ts-check
/**
 * Checks what a Musubi ledger hands out, in a browser, without asking anyone: one ES module, no dependency, no network.
 *
 * It reads the same C2SP formats as the Python in `ledger/`, as strictly, with the same errors, and is tested against
 * it: signed notes, checkpoints, receipts (tlog-proof), witness policies (tlog-policy), histories (a tlog-witness
 * request: a consistency proof and the newer checkpoint), trust files (trust.json) and in-force proofs.
 *
 *     import { parseTrust, parseReceipt, checkReceipt } from "./verify.js";
 *     const trust = await parseTrust(trustBytes);
 *     const proven = await checkReceipt(parseReceipt(receiptBytes), entryBytes, trust.logKeys, trust.policy);
 *     proven.checkpoint.size; proven.cosigned.get("library"); // when that witness signed, in seconds since 1970
 *
 * A check that fails throws; nothing is returned that could be overlooked. Every error has a `code` that is the same as
 * in Python, and one sentence for people. SHA-256 and Ed25519 are the browser's own (WebCrypto).
 *
 * Signatures of type 0x01 (Ed25519) and 0x04 (Ed25519 cosignature) are checked. Type 0x06 (ML-DSA-44) cannot be:
 * WebCrypto has no such signatures. Such a key may stand in a policy; its lines are passed over like those by keys that
 * nobody knows, never count towards a quorum, and are named in `unchecked`, so that a page can say so.
 *
 * Sizes, indices and times are BigInt: they reach 2^63 - 1.
 */

export {
  ClockSkew,
  HistoryForked,
  Malformed,
  MusubiError,
  NotPermitted,
  ProofInvalid,
  SignatureInvalid,
  TooLarge,
  Unavailable,
  sha256,
  toHex,
} from "./bytes.js";
export { parseCanonical } from "./canonical.js";
export { checkInForce, checkUse, parseInForce } from "./in_force.js";
export { MAX_LOG_KEYS_BYTES, MAX_TRUST_BYTES, checkLogKeys, parseTrust } from "./log_keys.js";
export {
  MAX_NOTE_BYTES,
  TYPE_COSIGNATURE,
  TYPE_ED25519,
  TYPE_ML_DSA_44,
  checkCosignature,
  checkEd25519,
  openCheckpoint,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
} from "./notes.js";
export { checkConsistency, checkInclusion, leafHash } from "./proofs.js";
export {
  MAX_ENTRY_BYTES,
  MAX_RECEIPT_BYTES,
  checkHistory,
  checkNoFork,
  checkReceipt,
  parseHistory,
  parseReceipt,
} from "./receipts.js";
export { MAX_AHEAD_SECONDS, MAX_POLICY_CHARACTERS, NO_WITNESS, byWitness, checkQuorum, parsePolicy } from "./witness_policy.js";
