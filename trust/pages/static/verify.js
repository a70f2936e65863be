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

/** What went wrong, for a person (`message`) and for a program (`code`). `where` names the part, if it helps. */
export class MusubiError extends Error {
  /** @type {string} */
  code = "error";

  /**
   * @param {string} message one sentence
   * @param {string} [where] which part of the file
   */
  constructor(message, where = "") {
    super(message);
    this.name = new.target.name;
    this.where = where;
  }
}

/** The bytes are not of the format they claim. */
export class Malformed extends MusubiError {
  code = "malformed";
}

/** More bytes or lines than is taken. */
export class TooLarge extends MusubiError {
  code = "too-large";
}

/** A signature is missing, bad, or by another key. */
export class SignatureInvalid extends MusubiError {
  code = "signature-invalid";
}

/** Too few of those who may decide have signed. */
export class NotPermitted extends MusubiError {
  code = "not-permitted";
}

/** A hash, proof or quorum does not verify. */
export class ProofInvalid extends MusubiError {
  code = "proof-invalid";
}

/** Two signed checkpoints that cannot both be true. */
export class HistoryForked extends MusubiError {
  code = "history-forked";
}

/** This browser cannot do what is needed. */
export class Unavailable extends MusubiError {
  code = "unavailable";
}

/**
 * A key that signs notes.
 * @typedef {object} VerifierKey
 * @property {string} name
 * @property {string} id the key ID, 8 hex digits
 * @property {number} type 1, 4, or 6 (which is read, but cannot be checked here)
 * @property {Uint8Array<ArrayBuffer>} publicKey
 */

/**
 * The keys of a log from one entry on. A list of these, in order, is the log's key history; the first stand at index 0.
 * @typedef {object} LogKeys
 * @property {bigint} index of the entry that brought them: they sign every tree that holds it
 * @property {VerifierKey} key of type 1
 * @property {VerifierKey | null} postQuantum of type 6
 */

/**
 * One signature line of a note.
 * @typedef {object} NoteSignature
 * @property {string} name
 * @property {string} id the key ID, 8 hex digits
 * @property {Uint8Array<ArrayBuffer>} signature without the key ID
 */

/**
 * @typedef {object} Note
 * @property {string} text ends in a newline
 * @property {NoteSignature[]} signatures
 */

/**
 * @typedef {object} Checkpoint
 * @property {string} origin
 * @property {bigint} size how many entries the log has
 * @property {Uint8Array<ArrayBuffer>} root 32 bytes
 */

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
 * @typedef {object} WitnessPolicy
 * @property {VerifierKey[]} logs
 * @property {Map<string, VerifierKey>} witnesses
 * @property {Map<string, {threshold: number, members: string[]}>} groups in the order of their lines
 * @property {string} quorum a witness's or group's name, or "none"
 */

/**
 * @typedef {object} Trust
 * @property {string} origin
 * @property {LogKeys[]} logKeys what the log began with: a key history without changes
 * @property {string} genesisSha256 hex
 * @property {WitnessPolicy} policy
 */

/**
 * What was proven, and by whom.
 * @typedef {object} Proven
 * @property {Checkpoint} checkpoint
 * @property {Map<string, bigint>} cosigned witnesses by their names in the policy, and when they signed (seconds since 1970)
 * @property {string[]} unchecked who signed in a way that cannot be checked here as well: the log, or witnesses by
 *   their names in the policy
 */

/**
 * @typedef {object} InForceProof
 * @property {bigint} index the grant's ledger index
 * @property {bigint} size the question's ledger index
 * @property {string} chunk 512 bytes in hex
 * @property {string[]} path hashes in hex
 */

/**
 * Whether a grant was in force for a policy version at a tree size. Its `root` counts for nothing by itself.
 * @typedef {object} InForce
 * @property {string} log
 * @property {string} policySha256 hex
 * @property {bigint} size
 * @property {bigint} at seconds since 1970
 * @property {bigint} charge nano-rho
 * @property {string} root hex
 * @property {InForceProof} proof
 */

export const TYPE_ED25519 = 1;
export const TYPE_COSIGNATURE = 4;
export const TYPE_ML_DSA_44 = 6;
export const NO_WITNESS = "none";
export const MAX_RECEIPT_BYTES = 2_000_000;
export const MAX_NOTE_BYTES = 1_000_000;
export const MAX_TRUST_BYTES = 1_200_000;
export const MAX_POLICY_CHARACTERS = 1_000_000;
export const MAX_ENTRY_BYTES = 65_535;
export const MAX_LOG_KEYS_BYTES = 20_000_000;

const MAX_SIZE = 2n ** 63n - 1n;
const MAX_SIGNATURES = 100;
const MAX_PROOF_HASHES = 63;
const MAX_OF_EACH = 256;
const HASH_BYTES = 32;
const KEY_BYTES = new Map([[TYPE_ED25519, 32], [TYPE_COSIGNATURE, 32], [TYPE_ML_DSA_44, 1312]]);
const CHUNK_BITS = 4096n;
const CHUNK_BYTES = 512;
const RECEIPT_HEADER = "c2sp.org/tlog-proof@v1";

// Bytes and text

const encoder = new TextEncoder();

/**
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
function toUtf8(text) {
  return encoder.encode(text);
}

/**
 * Decode UTF-8, all of it: a byte order mark is a character like any other, and a bad byte is an error.
 * @param {Uint8Array} bytes
 * @param {string} where
 * @returns {string}
 */
function fromUtf8(bytes, where) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Malformed("The file is not UTF-8 text.", where);
  }
}

/**
 * Write bytes as lower-case hexadecimal.
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {string} text lower-case hexadecimal
 * @returns {Uint8Array<ArrayBuffer>}
 */
function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/**
 * Decode standard base64, padded, with zero spare bits: each value has one text, and any other is refused.
 * @param {string} text
 * @param {string} where
 * @returns {Uint8Array<ArrayBuffer>}
 */
function fromBase64(text, where) {
  let raw;
  try {
    raw = atob(text);
  } catch {
    throw new Malformed("A part of the file is not base64.", where);
  }
  if (btoa(raw) !== text) {
    throw new Malformed("A part of the file is not in its one base64 form: padded, no spaces, spare bits zero.", where);
  }
  return Uint8Array.from(raw, (character) => character.charCodeAt(0));
}

/**
 * @param {string} text
 * @param {string} where
 * @returns {Uint8Array<ArrayBuffer>} 32 bytes
 */
function toHash(text, where) {
  const bytes = fromBase64(text, where);
  if (bytes.length !== HASH_BYTES) throw new Malformed("A hash in the file is not 32 bytes long.", where);
  return bytes;
}

/**
 * @param {string} text
 * @param {string} where
 * @returns {bigint} 0 to 2^63 - 1
 */
function toNumber(text, where) {
  // The length is bounded before BigInt does any arithmetic.
  if (!/^(?:0|[1-9][0-9]{0,18})$/.test(text)) {
    throw new Malformed("A number in the file is not a decimal number without sign or leading zeros.", where);
  }
  const number = BigInt(text);
  if (number > MAX_SIZE) throw new Malformed("A number in the file is larger than 2^63 - 1.", where);
  return number;
}

/**
 * @param {Uint8Array} left
 * @param {Uint8Array} right
 * @returns {boolean}
 */
function equal(left, right) {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}

/**
 * @param {...Uint8Array} parts
 * @returns {Uint8Array<ArrayBuffer>}
 */
function join(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * Find where one empty line first parts head and checkpoint; -1 if nowhere.
 * @param {Uint8Array} bytes
 * @returns {number}
 */
function firstGap(bytes) {
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) {
    if (bytes[at + 1] === 10) return at;
  }
  return -1;
}

/**
 * Split a receipt or history into its ASCII lines and its checkpoint.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {{lines: string[], checkpoint: Uint8Array<ArrayBuffer>}}
 */
function splitHead(bytes) {
  const gap = firstGap(bytes);
  const head = bytes.slice(0, Math.max(gap, 0));
  if (gap < 0 || head.some((byte) => byte > 127)) {
    throw new Malformed("The file is not ASCII lines, an empty line and a checkpoint.");
  }
  return { lines: fromUtf8(head, "head").split("\n"), checkpoint: bytes.slice(gap + 2) };
}

/**
 * The browser's cryptography. It is there on https, on localhost and in a file that was saved; not on plain http.
 * @returns {SubtleCrypto}
 */
function subtle() {
  const found = globalThis.crypto?.subtle;
  if (!found) {
    throw new Unavailable("This browser gives the page no cryptography here; save the page as a file and open that.");
  }
  return found;
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function sha256(bytes) {
  return new Uint8Array(await subtle().digest("SHA-256", bytes));
}

// Ed25519

/**
 * All encodings of points of low order (C2SP/CCTV ed25519). As a key or as R they can make one signature fit many
 * messages; browsers differ in whether they take them, libsodium does not, nor do we.
 */
const LOW_ORDER = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000080",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]);

/**
 * Whether 32 bytes are the one encoding of a point that is not of low order (its y is below 2^255 - 19).
 * @param {Uint8Array} point
 * @returns {boolean}
 */
function isSoundPoint(point) {
  const top = point[31] & 0x7f;
  const isBelowP = top < 0x7f || point[0] < 0xed || point.subarray(1, 31).some((byte) => byte !== 0xff);
  return isBelowP && !LOW_ORDER.has(toHex(point));
}

/**
 * Check an Ed25519 signature (RFC 8032), taking exactly what libsodium takes.
 * @param {Uint8Array<ArrayBuffer>} message
 * @param {Uint8Array<ArrayBuffer>} signature
 * @param {Uint8Array<ArrayBuffer>} publicKey
 * @returns {Promise<void>} throws SignatureInvalid; Unavailable where the browser has no Ed25519
 */
export async function checkEd25519(message, signature, publicKey) {
  if (signature.length !== 64) throw new SignatureInvalid("A signature is not 64 bytes long.");
  let good = false;
  if (publicKey.length === 32 && isSoundPoint(publicKey) && isSoundPoint(signature.subarray(0, 32))) {
    try {
      const key = await subtle().importKey("raw", publicKey, { name: "Ed25519" }, false, ["verify"]);
      good = await subtle().verify({ name: "Ed25519" }, key, signature, message);
    } catch (error) {
      if (error instanceof MusubiError) throw error;
      if (error instanceof DOMException && error.name === "NotSupportedError") {
        throw new Unavailable("This browser cannot check Ed25519 signatures; use a newer one.");
      }
      good = false; // a key that is no point of the curve: some browsers say so here, others when verifying
    }
  }
  if (!good) throw new SignatureInvalid("A signature is not by the key that the file names.");
}

// Notes

const CONTROL = /[\x00-\x09\x0b-\x1f]/;
/** What Unicode and Python call a space. JavaScript's own \s leaves some out and adds one. */
const SPACE = /[\x09-\x0d\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const LONE_SURROGATE = /\p{Cs}/u;

/**
 * @param {string} name
 * @returns {void}
 */
function checkName(name) {
  if (!name || name.includes("+") || CONTROL.test(name) || SPACE.test(name) || LONE_SURROGATE.test(name)) {
    throw new Malformed("A key's name is not empty and has no spaces, plus signs or control characters.");
  }
}

/**
 * Read a verifier key, `<name>+<key ID>+<base64 of type and public key>`.
 * @param {string} text
 * @returns {Promise<VerifierKey>} throws Malformed
 */
export async function parseVerifierKey(text) {
  const match = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text);
  if (!match) throw new Malformed("A verifier key is written <name>+<8 hex digits>+<base64>.");
  const [, name, id, encoded] = match;
  const bytes = fromBase64(encoded, "verifier key");
  checkName(name);
  const length = KEY_BYTES.get(bytes[0]);
  if (length === undefined) throw new Malformed("The verifier key is of a type that is not known here.");
  if (bytes.length !== 1 + length) throw new Malformed("The verifier key is not of the length of its type.");
  const hash = await sha256(join(toUtf8(`${name}\n`), bytes));
  if (toHex(hash.subarray(0, 4)) !== id) {
    throw new Malformed("The verifier key's ID does not belong to its name and public key.");
  }
  return { name, id, type: bytes[0], publicKey: bytes.slice(1) };
}

/**
 * Read a signed note, without checking signatures.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Note} throws Malformed or TooLarge
 */
export function parseNote(bytes) {
  if (bytes.length > MAX_NOTE_BYTES) throw new TooLarge("The signed note is larger than 1,000,000 bytes.");
  const whole = fromUtf8(bytes, "signed note");
  const cut = whole.lastIndexOf("\n\n");
  if (cut < 0 || !whole.endsWith("\n")) {
    throw new Malformed("A signed note is a text, an empty line and signature lines, each ended by a newline.");
  }
  const text = whole.slice(0, cut + 1);
  const lines = whole.slice(cut + 2, -1);
  if (CONTROL.test(text)) throw new Malformed("A note's text has a control character other than newline.");
  if (!lines) throw new Malformed("The signed note has no signatures.");
  const rows = lines.split("\n");
  if (rows.length > MAX_SIGNATURES) throw new TooLarge("The signed note has more than 100 signatures.");
  return { text, signatures: rows.map(parseSignature) };
}

/**
 * @param {string} line
 * @returns {NoteSignature}
 */
function parseSignature(line) {
  const match = /^\u2014 ([^ ]*) ([^]*)$/.exec(line);
  if (!match) {
    throw new Malformed("A note's signature line is an em dash, a name and base64, with one space between each.");
  }
  checkName(match[1]);
  const bytes = fromBase64(match[2], "note's signature");
  if (bytes.length <= 4) throw new Malformed("A note's signature is shorter than its key ID.");
  return { name: match[1], id: toHex(bytes.subarray(0, 4)), signature: bytes.slice(4) };
}

/**
 * The note's lines that name this key. They still have to be checked.
 * @param {Note} note
 * @param {VerifierKey} key
 * @returns {NoteSignature[]}
 */
function linesBy(note, key) {
  return note.signatures.filter((line) => line.name === key.name && line.id === key.id);
}

/**
 * When a cosignature says that it was made.
 * @param {Uint8Array<ArrayBuffer>} signature
 * @returns {bigint} seconds since 1970
 */
function cosignatureTime(signature) {
  if (signature.length !== 72) throw new SignatureInvalid("A cosignature is not 8 bytes of time and 64 of signature.");
  const time = new DataView(signature.buffer, signature.byteOffset, 8).getBigUint64(0);
  if (time > MAX_SIZE) throw new SignatureInvalid("A cosignature's time is larger than 2^63 - 1.");
  return time;
}

/**
 * Check a witness's cosignatures of a note; every line by it must be good. The latest time counts.
 * @param {Note} note
 * @param {VerifierKey} key of type 4
 * @returns {Promise<bigint | null>} seconds since 1970, or null if no line is by it; throws SignatureInvalid
 */
export async function checkCosignature(note, key) {
  /** @type {bigint | null} */
  let latest = null;
  for (const line of linesBy(note, key)) {
    const time = cosignatureTime(line.signature);
    const message = toUtf8(`cosignature/v1\ntime ${time}\n${note.text}`);
    await checkEd25519(message, line.signature.slice(8), key.publicKey);
    if (latest === null || time > latest) latest = time;
  }
  return latest;
}

// Checkpoints

/**
 * Read a checkpoint's three lines: origin, size, root.
 * @param {string} text
 * @returns {Checkpoint} throws Malformed
 */
export function parseCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.length !== 4 || lines[3]) {
    throw new Malformed("A checkpoint has three lines: origin, tree size and root hash.");
  }
  const size = toNumber(lines[1], "checkpoint's size");
  const root = toHash(lines[2], "checkpoint's root");
  checkName(lines[0]);
  return { origin: lines[0], size, root };
}

/**
 * Read a signed checkpoint and check the log's own signature, by the keys that sign trees of its size.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {VerifierKey | LogKeys[]} logKeys one key, or the log's key history
 * @returns {Promise<{checkpoint: Checkpoint, note: Note, unchecked: string[]}>} `unchecked` holds the log's name where
 *   its post-quantum signature is there but cannot be checked; throws Malformed, TooLarge or SignatureInvalid
 */
export async function openCheckpoint(bytes, logKeys) {
  const note = parseNote(bytes);
  const checkpoint = parseCheckpoint(note.text);
  const history = Array.isArray(logKeys) ? logKeys : [{ index: 0n, key: logKeys, postQuantum: null }];
  const { key, postQuantum } = keysAt(history, checkpoint.size);
  if (key.type !== TYPE_ED25519) throw new Malformed("A log's key is of type 1 (Ed25519).");
  if (checkpoint.origin !== key.name) {
    throw new SignatureInvalid("The checkpoint is for another log than the key that it is checked with.");
  }
  const lines = linesBy(note, key);
  for (const line of lines) await checkEd25519(toUtf8(note.text), line.signature, key.publicKey);
  if (!lines.length || (postQuantum && !linesBy(note, postQuantum).length)) {
    throw new SignatureInvalid("The checkpoint is not signed by the keys that the log signs trees of its size with.");
  }
  return { checkpoint, note, unchecked: postQuantum ? [key.name] : [] };
}

/**
 * The keys that sign a tree of that size: those of the last change at an index below it.
 * @param {LogKeys[]} history
 * @param {bigint} size
 * @returns {LogKeys}
 */
function keysAt(history, size) {
  return history.findLast((keys) => keys.index < size) ?? history[0];
}

// Witness policies

/**
 * Read a witness policy (C2SP tlog-policy).
 * @param {string} text
 * @returns {Promise<WitnessPolicy>} throws Malformed or TooLarge
 */
export async function parsePolicy(text) {
  if (text.length > MAX_POLICY_CHARACTERS && [...text].length > MAX_POLICY_CHARACTERS) {
    throw new TooLarge("The witness policy is larger than 1,000,000 characters.");
  }
  if (/[\x00-\x08\x0b-\x1f\x7f]/.test(text) || (text && !text.endsWith("\n"))) {
    throw new Malformed("A witness policy is lines ended by newlines, without other control characters than tab.");
  }
  /** @type {WitnessPolicy} */
  const policy = { logs: [], witnesses: new Map(), groups: new Map(), quorum: "" };
  for (const line of text.split("\n")) {
    const items = line.replace(/^[ \t]+|[ \t]+$/g, "").split(/[ \t]+/);
    if (items[0] && !items[0].startsWith("#")) await readPolicyLine(policy, items);
  }
  if (!policy.quorum) throw new Malformed("A witness policy has exactly one quorum line; 'quorum none' asks for no witness.");
  checkPolicyParts(policy);
  return policy;
}

/**
 * @param {WitnessPolicy} policy what the lines before this one said
 * @param {string[]} items
 * @returns {Promise<void>}
 */
async function readPolicyLine(policy, items) {
  const isKnown = (/** @type {string} */ name) => policy.witnesses.has(name) || policy.groups.has(name);
  const checkNew = (/** @type {string} */ name) => {
    if (isKnown(name)) throw new Malformed("The witness policy gives one name to two witnesses or groups.");
  };
  const checkKnown = (/** @type {string[]} */ names) => {
    if (!names.every(isKnown)) {
      throw new Malformed("A line of the witness policy names a witness or group that no earlier line defines.");
    }
  };
  const [kind, first, second, ...rest] = items;
  if (kind === "log" && (items.length === 2 || items.length === 3)) {
    policy.logs.push(await parseVerifierKey(first));
  } else if (kind === "witness" && (items.length === 3 || items.length === 4)) {
    checkNew(first);
    policy.witnesses.set(first, await parseVerifierKey(second));
  } else if (kind === "group" && items.length >= 4) {
    checkNew(first);
    checkKnown(rest);
    const members = BigInt(rest.length);
    const threshold = second === "any" ? 1n : second === "all" ? members : toNumber(second, "group's threshold");
    if (threshold < 1n || threshold > members) {
      throw new Malformed("A group's threshold is between 1 and the number of its members.");
    }
    policy.groups.set(first, { threshold: Number(threshold), members: rest });
  } else if (kind === "quorum" && items.length === 2 && !policy.quorum) {
    if (first !== NO_WITNESS) checkKnown([first]);
    policy.quorum = first;
  } else {
    throw new Malformed("A line of the witness policy is not a log, witness, group or one quorum line.");
  }
}

/**
 * @param {WitnessPolicy} policy
 * @returns {void}
 */
function checkPolicyParts(policy) {
  if (Math.max(policy.logs.length, policy.witnesses.size, policy.groups.size) > MAX_OF_EACH) {
    throw new TooLarge("A witness policy has at most 256 logs, 256 witnesses and 256 groups.");
  }
  if (policy.logs.some((key) => key.type === TYPE_COSIGNATURE)) {
    throw new Malformed("A log's key in a witness policy is of type 1 or 6.");
  }
  if ([...policy.witnesses.values()].some((key) => key.type === TYPE_ED25519)) {
    throw new Malformed("A witness's key in a witness policy is of type 4 or 6.");
  }
  for (const keys of [policy.logs, [...policy.witnesses.values()]]) {
    if (new Set(keys.map((key) => toHex(key.publicKey))).size !== keys.length) {
      throw new Malformed("The witness policy lists one public key twice.");
    }
  }
  if (policy.witnesses.has(NO_WITNESS) || policy.groups.has(NO_WITNESS)) {
    throw new Malformed("No witness or group of a policy is named 'none'.");
  }
  const members = [...policy.groups.values()].flatMap((group) => group.members);
  if (new Set(members).size !== members.length) {
    throw new Malformed("Each member of a group in a witness policy is a member only once.");
  }
}

/**
 * Check that the policy's quorum of witnesses cosigned a checkpoint's note. The log's own signature is
 * `openCheckpoint`'s: a log's keys change, and the policy's log lines do not.
 * @param {WitnessPolicy} policy
 * @param {Note} note
 * @returns {Promise<{cosigned: Map<string, bigint>, unchecked: string[]}>} who cosigned and when (seconds since 1970),
 *   and whose signature cannot be checked here; throws SignatureInvalid or ProofInvalid
 */
export async function checkQuorum(policy, note) {
  /** @type {Map<string, bigint>} */
  const cosigned = new Map();
  /** @type {string[]} */
  const unchecked = [];
  for (const [name, key] of policy.witnesses) {
    if (key.type !== TYPE_COSIGNATURE) {
      if (linesBy(note, key).length) unchecked.push(name);
      continue;
    }
    const time = await checkCosignature(note, key);
    if (time !== null) cosigned.set(name, time);
  }
  // Groups stand after their members, so one pass settles them all.
  const holds = new Set(cosigned.keys());
  for (const [name, group] of policy.groups) {
    if (group.members.filter((member) => holds.has(member)).length >= group.threshold) holds.add(name);
  }
  if (policy.quorum !== NO_WITNESS && !holds.has(policy.quorum)) {
    throw new ProofInvalid("The checkpoint is not cosigned by the quorum of witnesses that can be checked here.");
  }
  return { cosigned, unchecked };
}

// Trees (RFC 9162, sections 2.1.3.2 and 2.1.4.2)

/**
 * The hash of an entry as a leaf of the log.
 * @param {Uint8Array<ArrayBuffer>} entry
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export function leafHash(entry) {
  return sha256(join(Uint8Array.of(0), entry));
}

/**
 * @param {Uint8Array<ArrayBuffer>} left
 * @param {Uint8Array<ArrayBuffer>} right
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
function nodeHash(left, right) {
  return sha256(join(Uint8Array.of(1), left, right));
}

/**
 * @param {Uint8Array[]} hashes
 * @returns {void}
 */
function checkLengths(hashes) {
  if (hashes.some((hash) => hash.length !== HASH_BYTES)) {
    throw new ProofInvalid("The proof holds a hash that is not 32 bytes long.");
  }
}

/**
 * Check that a leaf is at `index` of the tree of `size` leaves with that root.
 * @param {Uint8Array<ArrayBuffer>} leaf its hash
 * @param {bigint} index
 * @param {bigint} size
 * @param {Uint8Array<ArrayBuffer>[]} proof from the leaf's sibling to the root's child
 * @param {Uint8Array<ArrayBuffer>} root
 * @returns {Promise<void>} throws ProofInvalid
 */
export async function checkInclusion(leaf, index, size, proof, root) {
  if (index < 0n || index >= size) throw new ProofInvalid("The proof is for an index that the tree does not have.");
  checkLengths([leaf, ...proof]);
  // fn walks up from the leaf, sn from the last leaf. Where fn is odd, or both are the last node of their level, the
  // sibling is at the left; levels without a sibling are skipped.
  let [fn, sn] = [index, size - 1n];
  let made = leaf;
  for (const sibling of proof) {
    if (sn === 0n) throw new ProofInvalid("The inclusion proof is too long for its tree.");
    if (fn & 1n || fn === sn) {
      made = await nodeHash(sibling, made);
      while (fn && !(fn & 1n)) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      made = await nodeHash(made, sibling);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  if (sn !== 0n) throw new ProofInvalid("The inclusion proof is too short for its tree.");
  if (!equal(made, root)) throw new ProofInvalid("The entry is not in the tree with that root, at that index.");
}

/**
 * Check that the tree of `old` leaves begins the tree of `size` leaves. An old size of 0 proves nothing and is refused.
 * @param {bigint} old
 * @param {bigint} size
 * @param {Uint8Array<ArrayBuffer>} oldRoot
 * @param {Uint8Array<ArrayBuffer>} root
 * @param {Uint8Array<ArrayBuffer>[]} proof
 * @returns {Promise<void>} throws ProofInvalid
 */
export async function checkConsistency(old, size, oldRoot, root, proof) {
  if (old <= 0n || old > size) {
    throw new ProofInvalid("Consistency is proven from a tree with entries to one at least as large.");
  }
  if (old === size) {
    if (proof.length || !equal(oldRoot, root)) {
      throw new ProofInvalid("Between equal sizes the roots are equal and the consistency proof is empty.");
    }
    return;
  }
  if (!proof.length) throw new ProofInvalid("The consistency proof is missing.");
  checkLengths([oldRoot, root, ...proof]);
  // Where old is a power of two, its root is itself the first node, and the proof leaves it out.
  const path = (old & (old - 1n)) === 0n ? [oldRoot, ...proof] : proof;
  let [fn, sn] = [old - 1n, size - 1n];
  while (fn & 1n) [fn, sn] = [fn >> 1n, sn >> 1n];
  let [first, second] = [path[0], path[0]];
  for (const sibling of path.slice(1)) {
    if (sn === 0n) throw new ProofInvalid("The consistency proof is too long for its trees.");
    if (fn & 1n || fn === sn) {
      first = await nodeHash(sibling, first);
      second = await nodeHash(sibling, second);
      while (fn && !(fn & 1n)) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      second = await nodeHash(second, sibling);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  if (sn !== 0n) throw new ProofInvalid("The consistency proof is too short for its trees.");
  if (!equal(first, oldRoot) || !equal(second, root)) {
    throw new ProofInvalid("The larger tree does not extend the smaller one.");
  }
}

// Receipts and histories

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
 * @returns {Promise<Proven>} throws Malformed, SignatureInvalid, ProofInvalid or Unavailable
 */
export async function checkReceipt(receipt, entry, logKeys, policy = null) {
  const { checkpoint, note, unchecked } = await openCheckpoint(receipt.checkpoint, logKeys);
  await checkInclusion(await leafHash(entry), receipt.index, checkpoint.size, receipt.proof, checkpoint.root);
  if (policy === null) return { checkpoint, cosigned: new Map(), unchecked };
  const { cosigned, unchecked: more } = await checkQuorum(policy, note);
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

// JSON: trust files, entries, in-force proofs

/**
 * Read canonical JSON (RFC 8785) without floating-point numbers; any other bytes are refused.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {unknown} throws Malformed
 */
export function parseCanonical(bytes) {
  const text = fromUtf8(bytes, "JSON");
  let value;
  let again;
  try {
    value = JSON.parse(text);
    again = writeCanonical(value);
  } catch {
    // A SyntaxError, a RangeError of too deep nesting, or a value that canonical JSON does not have.
  }
  if (again !== text) {
    throw new Malformed("The file is not canonical JSON (RFC 8785): sorted keys, no white space, no repeated keys.");
  }
  return value;
}

/**
 * @param {unknown} value
 * @returns {string}
 */
function writeCanonical(value) {
  if (Array.isArray(value)) return `[${value.map(writeCanonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const fields = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
    return `{${fields.map(([key, each]) => `${writeCanonical(key)}:${writeCanonical(each)}`).join(",")}}`;
  }
  if (typeof value === "number" && !Number.isSafeInteger(value)) throw new Malformed("A number is not a whole number.");
  if (typeof value === "string" && LONE_SURROGATE.test(value)) throw new Malformed("A text is not Unicode.");
  return JSON.stringify(value);
}

/**
 * @param {unknown} value
 * @param {string[]} fields all of these
 * @param {string[]} [perhaps] and none but these
 * @returns {Record<string, unknown>}
 */
function fieldsOf(value, fields, perhaps = []) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Malformed("A part of the file is not a JSON object.");
  }
  const isTaken = (/** @type {string} */ name) => fields.includes(name) || perhaps.includes(name);
  if (!fields.every((name) => Object.hasOwn(value, name)) || !Object.keys(value).every(isTaken)) {
    throw new Malformed("The file does not have the fields of its format.");
  }
  return /** @type {Record<string, unknown>} */ (value);
}

/**
 * @param {unknown} value
 * @param {number} most
 * @param {string} where
 * @returns {bigint} 0 to `most`
 */
function wholeOf(value, most, where) {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0 || value > most) {
    throw new Malformed("A number in the file is outside its format.", where);
  }
  return BigInt(value);
}

/**
 * @param {unknown} value
 * @param {number} most characters
 * @param {string} where
 * @returns {string}
 */
function textOf(value, most, where) {
  if (typeof value !== "string" || (value.length > most && [...value].length > most)) {
    throw new Malformed("A field of the file is not of its format.", where);
  }
  return value;
}

/**
 * @param {unknown} value
 * @param {string} where
 * @returns {string} 64 hex digits
 */
function hashOf(value, where) {
  if (typeof value !== "string" || !/^[0-9a-f]{64}$/.test(value)) {
    throw new Malformed("A hash in the file is not 64 hexadecimal digits.", where);
  }
  return value;
}

/**
 * Read a trust file (trust.json): what its reader believes before anything is checked.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Trust>} throws Malformed or TooLarge
 */
export async function parseTrust(bytes) {
  if (bytes.length > MAX_TRUST_BYTES) throw new TooLarge("The trust file is larger than 1,200,000 bytes.");
  let end = bytes.length;
  while (bytes[end - 1] === 10) end -= 1;
  const value = parseCanonical(bytes.slice(0, end));
  const trust = fieldsOf(value, ["genesis_sha256", "log_key", "origin", "v", "witness_policy"], ["log_key_pq"]);
  if (trust.v !== 1) throw new Malformed("The trust file is of another version.");
  const origin = textOf(trust.origin, 200, "origin");
  const genesisSha256 = hashOf(trust.genesis_sha256, "genesis_sha256");
  const policyText = textOf(trust.witness_policy, MAX_POLICY_CHARACTERS, "witness_policy");
  const keys = await readLogKeys(0n, trust.log_key, trust.log_key_pq);
  if (!origin || keys.key.name !== origin) throw new Malformed("The trust file's log key is not named for its origin.");
  const policy = await parsePolicy(policyText);
  const isOwn = (/** @type {VerifierKey} */ key) => key.id === keys.key.id && equal(key.publicKey, keys.key.publicKey);
  if (policy.logs.length && !policy.logs.some(isOwn)) {
    throw new Malformed("The trust file's witness policy does not name its own log.");
  }
  return { origin, logKeys: [keys], genesisSha256, policy };
}

/**
 * Read what the service answers about a consent in a question (docs/reference/resident-proofs.md).
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {InForce} throws Malformed or TooLarge
 */
export function parseInForce(bytes) {
  if (bytes.length > MAX_ENTRY_BYTES) throw new TooLarge("The in-force proof is larger than 65,535 bytes.");
  const fields = ["at", "charge", "day", "log", "policy_sha256", "proof", "root", "size", "v"];
  const answer = fieldsOf(parseCanonical(bytes), fields);
  const { index, size, chunk, path } = fieldsOf(answer.proof, ["chunk", "index", "path", "size"]);
  const isShaped = Number.isSafeInteger(index) && Number.isSafeInteger(size) && typeof chunk === "string";
  if (answer.v !== 1 || !isShaped || !Array.isArray(path) || typeof answer.day !== "string") {
    throw new Malformed("The in-force proof is not of its shape.");
  }
  if (!/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(answer.day)) throw new Malformed("The in-force proof names no day.");
  const steps = path.map((step) => hashOf(step, "path"));
  return {
    log: textOf(answer.log, MAX_ENTRY_BYTES, "log"),
    policySha256: hashOf(answer.policy_sha256, "policy_sha256"),
    size: wholeOf(answer.size, Number.MAX_SAFE_INTEGER, "size"),
    at: wholeOf(answer.at, 2 ** 37, "at"),
    charge: wholeOf(answer.charge, Number.MAX_SAFE_INTEGER, "charge"),
    root: hashOf(answer.root, "root"),
    proof: { index: BigInt(Number(index)), size: BigInt(Number(size)), chunk, path: steps },
  };
}

/**
 * Whether the grant at `index` could be counted by a question, by the root in the question's own entry.
 * @param {InForce} answer
 * @param {Uint8Array<ArrayBuffer>} admit the exact bytes of the question's `admit` entry, which a receipt has proven
 * @param {bigint} place the question's ledger index
 * @param {string} log the log's origin
 * @param {bigint} index the grant's ledger index
 * @returns {Promise<boolean>} throws Malformed or ProofInvalid
 */
export async function checkUse(answer, admit, place, log, index) {
  const question = /** @type {Record<string, unknown> | null} */ (parseCanonical(admit));
  if (question?.kind !== "admit") throw new ProofInvalid("The entry is not a question that was let in.");
  if (
    question.at !== Number(answer.at) || question.charge !== Number(answer.charge) ||
    question.in_force_root !== answer.root || question.policy_sha256 !== answer.policySha256
  ) {
    throw new ProofInvalid("The in-force proof is not about the question in the ledger.");
  }
  if (answer.log !== log || answer.size !== place) {
    throw new ProofInvalid("The in-force proof is about another ledger or tree size.");
  }
  return checkInForce(answer.proof, answer.root, index, place);
}

/**
 * What a proven bit says: whether the grant at `index` could count in the question at `size`.
 *
 * The reader brings both numbers, from what was checked before: the root does not bind the size.
 * @param {InForceProof} proof
 * @param {string} root hex: `in_force_root` of the question's own entry
 * @param {bigint} index the grant's
 * @param {bigint} size the question's
 * @returns {Promise<boolean>} throws ProofInvalid
 */
export async function checkInForce(proof, root, index, size) {
  if (proof.index !== index || proof.size !== size) {
    throw new ProofInvalid("The in-force proof is for another grant or another question.");
  }
  if (!/^[0-9a-f]*$/.test(proof.chunk) || proof.chunk.length !== 2 * CHUNK_BYTES || index < 0n || index >= size) {
    throw new ProofInvalid("The in-force proof is not of its shape.");
  }
  const chunk = fromHex(proof.chunk);
  const chunks = (size + CHUNK_BITS - 1n) / CHUNK_BITS;
  await checkInclusion(await leafHash(chunk), index / CHUNK_BITS, chunks, proof.path.map(fromHex), fromHex(root));
  const bit = Number(index % CHUNK_BITS);
  return ((chunk[bit >> 3] >> (bit & 7)) & 1) === 1;
}

// Changes of the log's key

const JWS = /^(eyJhbGciOiJFZDI1NTE5In0\.([A-Za-z0-9_-]+))\.([A-Za-z0-9_-]{86})$/;

/**
 * Decode base64url without padding, in its one form.
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
function fromBase64Url(text) {
  const standard = text.replaceAll("-", "+").replaceAll("_", "/");
  return fromBase64(standard.padEnd(Math.ceil(text.length / 4) * 4, "="), "signed message");
}

/**
 * Read and check a log's key history, as the service gives it at `/v1/log-keys`: the genesis entry, whose hash the trust
 * file pins, and every entry that changed the key, signed by the quorum of stewards that the genesis entry names and with
 * its receipt. It cannot show that no later change was left out; the witnesses stand for that.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {Trust} trust
 * @returns {Promise<LogKeys[]>} the key history, to check receipts with; throws Malformed, TooLarge, SignatureInvalid,
 *   NotPermitted (too few stewards) or ProofInvalid
 */
export async function checkLogKeys(bytes, trust) {
  if (bytes.length > MAX_LOG_KEYS_BYTES) throw new TooLarge("The key history is larger than 20,000,000 bytes.");
  const given = fieldsOf(parseCanonical(bytes), ["changes", "genesis", "v"]);
  if (given.v !== 1 || !Array.isArray(given.changes)) throw new Malformed("The key history is not of its shape.");
  if (toHex(await sha256(toUtf8(writeCanonical(given.genesis)))) !== trust.genesisSha256) {
    throw new ProofInvalid("The key history does not begin with the first entry that the trust file names.");
  }
  const genesis = /** @type {Record<string, any>} */ (given.genesis);
  if (genesis?.kind !== "genesis" || genesis.origin !== trust.origin || !Array.isArray(genesis.stewards)) {
    throw new Malformed("The first entry does not name the log and its stewards.");
  }
  const history = [await readLogKeys(0n, genesis.log_key, genesis.log_key_pq)];
  if (history[0].key.name !== trust.origin) throw new ProofInvalid("The log's key is not named for its origin.");
  const proofs = [];
  for (const each of given.changes) {
    const change = fieldsOf(each, ["entry", "index", "receipt"]);
    const index = wholeOf(change.index, Number.MAX_SAFE_INTEGER, "index");
    const entry = fieldsOf(change.entry, ["at", "kind", "log_key", "signatures", "v"]);
    const body = fieldsOf(entry.log_key, ["key", "number"], ["key_pq"]);
    if (entry.kind !== "log-key" || entry.v !== 1 || !Array.isArray(entry.signatures)) {
      throw new Malformed("The key history holds an entry that changes no key.");
    }
    await checkStewards(genesis, body, entry.signatures);
    if (body.number !== history.length + 1) {
      throw new ProofInvalid("The number of the log's key does not follow the last one.");
    }
    const keys = await readLogKeys(index, body.key, body.key_pq);
    checkKeysFollow(history, keys);
    history.push(keys);
    const receipt = parseReceipt(toUtf8(textOf(change.receipt, MAX_RECEIPT_BYTES, "receipt")));
    if (receipt.index !== index) throw new ProofInvalid("The key history holds a receipt for another entry.");
    proofs.push({ receipt, entry: toUtf8(writeCanonical(entry)) });
  }
  for (const { receipt, entry } of proofs) await checkReceipt(receipt, entry, history, trust.policy);
  return history;
}

/**
 * @param {bigint} index
 * @param {unknown} key
 * @param {unknown} postQuantum undefined where there is none
 * @returns {Promise<LogKeys>}
 */
async function readLogKeys(index, key, postQuantum) {
  const keys = {
    index,
    key: await parseVerifierKey(textOf(key, 400, "log key")),
    postQuantum: postQuantum === undefined ? null : await parseVerifierKey(textOf(postQuantum, 2200, "log key")),
  };
  if (keys.key.type !== TYPE_ED25519 || (keys.postQuantum && keys.postQuantum.type !== TYPE_ML_DSA_44)) {
    throw new Malformed("A log's keys are of type 1 and, for the post-quantum one, of type 6.");
  }
  if (keys.postQuantum && keys.postQuantum.name !== keys.key.name) {
    throw new Malformed("A log's two keys are not under one name.");
  }
  return keys;
}

/**
 * @param {LogKeys[]} history
 * @param {LogKeys} keys
 * @returns {void} throws ProofInvalid where they cannot be the next ones
 */
function checkKeysFollow(history, keys) {
  const texts = (/** @type {LogKeys} */ each) =>
    [each.key, each.postQuantum].flatMap((key) => (key ? [toHex(key.publicKey)] : []));
  const newest = history[history.length - 1];
  const standing = texts(newest);
  const laidDown = history.flatMap(texts).filter((key) => !standing.includes(key));
  const isSame = texts(keys).join() === standing.join();
  if (keys.key.name !== newest.key.name) throw new ProofInvalid("A change of the log's key is for another log.");
  if (keys.index <= newest.index || isSame || texts(keys).some((key) => laidDown.includes(key))) {
    throw new ProofInvalid("A change of the log's key is out of turn, changes nothing, or brings an old key back.");
  }
}

/**
 * Check that the quorum of the genesis entry's stewards signed a change of the log's key, and nobody else did.
 * @param {Record<string, any>} genesis
 * @param {unknown} body
 * @param {unknown[]} signatures compact JWS
 * @returns {Promise<void>} throws Malformed, SignatureInvalid or NotPermitted
 */
async function checkStewards(genesis, body, signatures) {
  const digest = toHex(await sha256(toUtf8(writeCanonical(body))));
  const signed = new Set();
  for (const token of signatures) {
    const match = JWS.exec(textOf(token, 60_000, "approval"));
    if (!match) throw new Malformed('An approval is not a compact JWS with the header {"alg":"Ed25519"}.');
    const said = fieldsOf(parseCanonical(fromBase64Url(match[2])), ["for", "from", "log", "sha256", "v"]);
    const steward = genesis.stewards.find((/** @type {any} */ each) => each?.alias === said.from);
    if (!steward) throw new SignatureInvalid("An approval is not by a steward that the first entry names.");
    await checkEd25519(toUtf8(match[1]), fromBase64Url(match[3]), fromHex(hashOf(steward.key, "steward's key")));
    if (said.for !== "log-key" || said.log !== genesis.origin || said.sha256 !== digest || said.v !== 1) {
      throw new SignatureInvalid("A steward's approval is for another document.");
    }
    signed.add(said.from);
  }
  if (!Number.isSafeInteger(genesis.quorum) || genesis.quorum < 1 || signed.size < genesis.quorum) {
    throw new NotPermitted("A change of the log's key needs the approval of more stewards.");
  }
}
