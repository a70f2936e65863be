// @ts-check
/**
 * Receipts (C2SP tlog-proof): an entry is in the log. Histories (tlog-witness): a log only grew.
 */

import {
  HistoryForked,
  Malformed,
  ProofInvalid,
  TooLarge,
  equal,
  fromBase64,
  splitHead,
  toHash,
  toNumber,
} from "./bytes.js";
import { MAX_NOTE_BYTES, openCheckpoint, parseNote } from "./notes.js";
import { MAX_PROOF_HASHES, checkConsistency, checkInclusion, leafHash } from "./proofs.js";
import { checkQuorum } from "./witness_policy.js";

/** @import { Checkpoint, LogKeys, VerifierKey } from "./notes.js" */
/** @import { WitnessPolicy } from "./witness_policy.js" */

/**
 * @typedef {object} Receipt
 * @property {bigint} index
 * @property {Uint8Array<ArrayBuffer>[]} proof
 * @property {Uint8Array<ArrayBuffer>} checkpoint a signed note's bytes
 * @property {Uint8Array<ArrayBuffer> | null} extra signed by nobody
 */

/**
 * A proof that a log only grew: from `old` entries to the checkpoint's.
 * @typedef {object} History
 * @property {bigint} old
 * @property {Uint8Array<ArrayBuffer>[]} proof
 * @property {Uint8Array<ArrayBuffer>} checkpoint a signed note's bytes
 */

/**
 * What was proven, and by whom.
 * @typedef {object} Proven
 * @property {Checkpoint} checkpoint
 * @property {Map<string, bigint>} cosigned witnesses by their names in the policy, and when they signed (seconds since 1970)
 * @property {string[]} unchecked who signed in a way that cannot be checked here as well: the log, or witnesses by
 *   their names in the policy
 */

export const MAX_RECEIPT_BYTES = 2_000_000;
export const MAX_ENTRY_BYTES = 65_535;
const RECEIPT_HEADER = "c2sp.org/tlog-proof@v1";

/**
 * Read a receipt (C2SP tlog-proof), without checking what it proves.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Receipt} throws Malformed or TooLarge
 */
export function parseReceipt(bytes) {
  if (bytes.length > MAX_RECEIPT_BYTES) throw new TooLarge("The receipt is larger than 2,000,000 bytes.");
  const { lines, checkpoint } = splitHead(bytes);
  if (lines.shift() !== RECEIPT_HEADER) {
    throw new Malformed("A receipt begins with the line c2sp.org/tlog-proof@v1.");
  }
  let extra = null;
  if (lines[0]?.startsWith("extra ")) {
    extra = fromBase64(/** @type {string} */ (lines.shift()).slice("extra ".length), "receipt's extra data");
    if (!extra.length) throw new Malformed("A receipt without extra data leaves the line out.");
  }
  const indexLine = lines.shift();
  if (!indexLine?.startsWith("index ")) throw new Malformed("A receipt gives the entry's index before its proof.");
  const index = toNumber(indexLine.slice("index ".length), "receipt's index");
  if (lines.length > MAX_PROOF_HASHES) throw new Malformed("A receipt has at most 63 proof hashes.");
  const proof = lines.map((line) => toHash(line, "receipt's proof hash"));
  parseNote(checkpoint);
  return { index, proof, checkpoint, extra };
}

/**
 * Check that an entry is in the log at the receipt's index: the log's signature, the path, and the witnesses' quorum.
 * @param {Receipt} receipt
 * @param {Uint8Array<ArrayBuffer>} entry its exact bytes
 * @param {VerifierKey | LogKeys[]} logKeys one key, or the log's key history
 * @param {WitnessPolicy | null} [policy] without one, no witness is asked for
 * @param {bigint | null} [now] seconds since 1970, by the reader's clock: the witnesses' times are held against it
 * @returns {Promise<Proven>} throws Malformed, SignatureInvalid, ProofInvalid, ClockSkew or Unavailable
 */
export async function checkReceipt(receipt, entry, logKeys, policy = null, now = null) {
  const { checkpoint, note, unchecked } = await openCheckpoint(receipt.checkpoint, logKeys);
  await checkInclusion(await leafHash(entry), receipt.index, checkpoint.size, receipt.proof, checkpoint.root);
  if (policy === null) return { checkpoint, cosigned: new Map(), unchecked };
  const { cosigned, unchecked: more } = await checkQuorum(policy, note, now);
  return { checkpoint, cosigned, unchecked: [...unchecked, ...more] };
}

/**
 * Read a history: `old <size>`, a consistency proof, an empty line, the newer checkpoint (C2SP tlog-witness).
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {History} throws Malformed or TooLarge
 */
export function parseHistory(bytes) {
  if (bytes.length > MAX_NOTE_BYTES) throw new TooLarge("The history is larger than 1,000,000 bytes.");
  const { lines, checkpoint } = splitHead(bytes);
  const first = lines.shift();
  if (!first?.startsWith("old ")) throw new Malformed("A history begins with the line 'old <size>'.");
  if (lines.length > MAX_PROOF_HASHES) throw new Malformed("A history has at most 63 proof hashes.");
  const old = toNumber(first.slice("old ".length), "history's old size");
  const proof = lines.map((line) => toHash(line, "history's proof hash"));
  parseNote(checkpoint);
  return { old, proof, checkpoint };
}

/**
 * Check that a log only grew from an older checkpoint, whose signature was checked, to the history's own.
 * @param {History} history
 * @param {Checkpoint} older
 * @param {VerifierKey | LogKeys[]} logKeys one key, or the log's key history
 * @returns {Promise<Checkpoint>} the newer one; throws Malformed, SignatureInvalid, ProofInvalid, or HistoryForked
 *   where both are of one size with different roots: those two checkpoints convict the log
 */
export async function checkHistory(history, older, logKeys) {
  const { checkpoint } = await openCheckpoint(history.checkpoint, logKeys);
  if (older.origin !== checkpoint.origin) throw new ProofInvalid("The two checkpoints are of different logs.");
  if (history.old !== older.size) throw new ProofInvalid("The history begins at another size than the older checkpoint.");
  checkNoFork(older, checkpoint);
  await checkConsistency(older.size, checkpoint.size, older.root, checkpoint.root, history.proof);
  return checkpoint;
}

/**
 * Check that two checkpoints of one log, whose signatures were checked, do not have one size and different roots.
 * @param {Checkpoint} one
 * @param {Checkpoint} other
 * @returns {void} throws HistoryForked
 */
export function checkNoFork(one, other) {
  if (one.origin === other.origin && one.size === other.size && !equal(one.root, other.root)) {
    throw new HistoryForked("The log signed two different histories of one length. Keep both files: they prove it.");
  }
}
