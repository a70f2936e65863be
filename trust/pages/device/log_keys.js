// @ts-check
/**
 * Trust files (trust.json): what a reader believes before anything is checked. And how a log's key changed since.
 */

import {
  Malformed,
  NotPermitted,
  ProofInvalid,
  SignatureInvalid,
  TooLarge,
  equal,
  fromBase64Url,
  fromHex,
  sha256,
  toHex,
  toUtf8,
} from "./bytes.js";
import { fieldsOf, hashOf, parseCanonical, textOf, wholeOf, writeCanonical } from "./canonical.js";
import { TYPE_ED25519, TYPE_ML_DSA_44, checkEd25519, parseVerifierKey } from "./notes.js";
import { MAX_RECEIPT_BYTES, checkReceipt, parseReceipt } from "./receipts.js";
import { MAX_POLICY_CHARACTERS, parsePolicy } from "./witness_policy.js";

/** @import { LogKeys, VerifierKey } from "./notes.js" */
/** @import { WitnessPolicy } from "./witness_policy.js" */

/**
 * @typedef {object} Trust
 * @property {string} origin
 * @property {LogKeys[]} logKeys what the log began with: a key history without changes
 * @property {string} genesisSha256 hex
 * @property {WitnessPolicy} policy
 */

export const MAX_TRUST_BYTES = 1_200_000;
export const MAX_LOG_KEYS_BYTES = 20_000_000;
const JWS = /^(eyJhbGciOiJFZDI1NTE5In0\.([A-Za-z0-9_-]+))\.([A-Za-z0-9_-]{86})$/;

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
 * Read and check a log's key history, as the service gives it at `/v1/log-keys`: the genesis entry, whose hash the trust
 * file pins, and every entry that changed the key, signed by the quorum of stewards that the genesis entry names and with
 * its receipt. It cannot show that no later change was left out; the witnesses stand for that.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {Trust} trust
 * @param {bigint | null} [now] seconds since 1970, by the reader's clock
 * @returns {Promise<LogKeys[]>} the key history, to check receipts with; throws Malformed, TooLarge, SignatureInvalid,
 *   NotPermitted (too few stewards), ClockSkew or ProofInvalid
 */
export async function checkLogKeys(bytes, trust, now = null) {
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
  for (const { receipt, entry } of proofs) await checkReceipt(receipt, entry, history, trust.policy, now);
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
