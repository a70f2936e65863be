// @ts-check
/**
 * Signed notes (C2SP signed-note): keys, signatures, a log's checkpoints (tlog-checkpoint) and witnesses' cosignatures
 * (tlog-cosignature).
 */

import {
  LONE_SURROGATE,
  MAX_SIZE,
  Malformed,
  MusubiError,
  SignatureInvalid,
  TooLarge,
  Unavailable,
  fromBase64,
  fromUtf8,
  join,
  sha256,
  subtle,
  toHash,
  toHex,
  toNumber,
  toUtf8,
} from "./bytes.js";

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

export const TYPE_ED25519 = 1;
export const TYPE_COSIGNATURE = 4;
export const TYPE_ML_DSA_44 = 6;
export const MAX_NOTE_BYTES = 1_000_000;
const MAX_SIGNATURES = 100;
const KEY_BYTES = new Map([[TYPE_ED25519, 32], [TYPE_COSIGNATURE, 32], [TYPE_ML_DSA_44, 1312]]);

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
export function linesBy(note, key) {
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
 * Check a witness's cosignatures of a note; every line by it must be good, and all of one time. The time 0 says nothing.
 * @param {Note} note
 * @param {VerifierKey} key of type 4
 * @returns {Promise<bigint | null>} seconds since 1970, or null if no line is by it; throws SignatureInvalid
 */
export async function checkCosignature(note, key) {
  /** @type {Set<bigint>} */
  const times = new Set();
  for (const line of linesBy(note, key)) {
    const time = cosignatureTime(line.signature);
    const message = toUtf8(`cosignature/v1\ntime ${time}\n${note.text}`);
    await checkEd25519(message, line.signature.slice(8), key.publicKey);
    if (time !== 0n) times.add(time);
  }
  if (times.size > 1) {
    throw new SignatureInvalid("One witness's key signed the checkpoint twice, at two times; only one of them may stand.");
  }
  return [...times][0] ?? null;
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
