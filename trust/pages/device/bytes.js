// @ts-check
/**
 * Bytes and text, as the C2SP formats write them, and what can be wrong with them: the errors of every check.
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

/** A time is still to come, by this device's clock: one of the two is wrong. */
export class ClockSkew extends MusubiError {
  code = "clock-skew";
}

/** This browser cannot do what is needed. */
export class Unavailable extends MusubiError {
  code = "unavailable";
}

export const MAX_SIZE = 2n ** 63n - 1n;
export const HASH_BYTES = 32;
export const LONE_SURROGATE = /\p{Cs}/u;
const encoder = new TextEncoder();

/**
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function toUtf8(text) {
  return encoder.encode(text);
}

/**
 * Decode UTF-8, all of it: a byte order mark is a character like any other, and a bad byte is an error.
 * @param {Uint8Array} bytes
 * @param {string} where
 * @returns {string}
 */
export function fromUtf8(bytes, where) {
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
export function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/**
 * Decode standard base64, padded, with zero spare bits: each value has one text, and any other is refused.
 * @param {string} text
 * @param {string} where
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function fromBase64(text, where) {
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
 * Decode base64url without padding, in its one form.
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function fromBase64Url(text) {
  const standard = text.replaceAll("-", "+").replaceAll("_", "/");
  return fromBase64(standard.padEnd(Math.ceil(text.length / 4) * 4, "="), "signed message");
}

/**
 * @param {string} text
 * @param {string} where
 * @returns {Uint8Array<ArrayBuffer>} 32 bytes
 */
export function toHash(text, where) {
  const bytes = fromBase64(text, where);
  if (bytes.length !== HASH_BYTES) throw new Malformed("A hash in the file is not 32 bytes long.", where);
  return bytes;
}

/**
 * @param {string} text
 * @param {string} where
 * @returns {bigint} 0 to 2^63 - 1
 */
export function toNumber(text, where) {
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
export function equal(left, right) {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}

/**
 * @param {...Uint8Array} parts
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function join(...parts) {
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
export function splitHead(bytes) {
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
export function subtle() {
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
