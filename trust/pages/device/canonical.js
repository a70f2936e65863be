// @ts-check
/**
 * Canonical JSON (RFC 8785), and reading the fields of what was parsed.
 */

import { LONE_SURROGATE, Malformed, fromUtf8 } from "./bytes.js";

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
export function writeCanonical(value) {
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
export function fieldsOf(value, fields, perhaps = []) {
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
export function wholeOf(value, most, where) {
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
export function textOf(value, most, where) {
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
export function hashOf(value, where) {
  if (typeof value !== "string" || !/^[0-9a-f]{64}$/.test(value)) {
    throw new Malformed("A hash in the file is not 64 hexadecimal digits.", where);
  }
  return value;
}
