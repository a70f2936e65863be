// @ts-check
/**
 * Witness policies (C2SP tlog-policy): how many of which witnesses must have cosigned a checkpoint.
 */

import { ClockSkew, Malformed, ProofInvalid, TooLarge, toHex, toNumber } from "./bytes.js";
import { TYPE_COSIGNATURE, TYPE_ED25519, checkCosignature, linesBy, parseVerifierKey } from "./notes.js";

/** @import { Note, VerifierKey } from "./notes.js" */

/**
 * @typedef {object} WitnessPolicy
 * @property {VerifierKey[]} logs
 * @property {Map<string, VerifierKey>} witnesses
 * @property {Map<string, {threshold: number, members: string[]}>} groups in the order of their lines
 * @property {string} quorum a witness's or group's name, or "none"
 * @property {Map<string, string>} witnessOf each witness line's name, and that of the first line of the same witness:
 *   lines whose keys have one name, or which have one address, are one witness's
 */

export const NO_WITNESS = "none";
export const MAX_POLICY_CHARACTERS = 1_000_000;
const MAX_OF_EACH = 256;
/** How far a reader's own clock may be behind a witness's. */
export const MAX_AHEAD_SECONDS = 600n;

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
  const policy = { logs: [], witnesses: new Map(), groups: new Map(), quorum: "", witnessOf: new Map() };
  /** @type {Map<string, string>} */
  const firstOf = new Map();
  for (const line of text.split("\n")) {
    const items = line.replace(/^[ \t]+|[ \t]+$/g, "").split(/[ \t]+/);
    if (items[0] && !items[0].startsWith("#")) await readPolicyLine(policy, items, firstOf);
  }
  if (!policy.quorum) throw new Malformed("A witness policy has exactly one quorum line; 'quorum none' asks for no witness.");
  checkPolicyParts(policy);
  return policy;
}

/**
 * @param {WitnessPolicy} policy what the lines before this one said
 * @param {string[]} items
 * @param {Map<string, string>} firstOf a key's name or an address, and the first line of the witness that has it
 * @returns {Promise<void>}
 */
async function readPolicyLine(policy, items, firstOf) {
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
    const key = await parseVerifierKey(second);
    policy.witnesses.set(first, key);
    const marks = [`named ${key.name}`, ...rest.map((url) => `at ${url.replace(/\/+$/, "")}`)];
    const known = marks.flatMap((mark) => firstOf.get(mark) ?? []);
    const owner = known[0] ?? first;
    for (const table of [policy.witnessOf, firstOf]) {
      for (const [each, whose] of table) if (known.includes(whose)) table.set(each, owner);
    }
    for (const mark of marks) firstOf.set(mark, owner);
    policy.witnessOf.set(first, owner);
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
  checkCountedOnce(policy);
}

/**
 * Check that no group that asks for two or more counts a witness twice; a group of one witness's keys alone may.
 * @param {WitnessPolicy} policy
 * @returns {void} throws Malformed
 */
function checkCountedOnce(policy) {
  const witnesses = new Map([...policy.witnessOf].map(([name, owner]) => [name, new Set([owner])]));
  for (const [name, group] of policy.groups) {
    const each = group.members.map((member) => [...(witnesses.get(member) ?? [])]).flat();
    const together = new Set(each);
    if (group.threshold > 1 && together.size > 1 && each.length > together.size) {
      throw new Malformed(
        "A group of the witness policy counts one witness twice: put all its keys into a group of their own.",
      );
    }
    witnesses.set(name, together);
  }
}

/**
 * Times, once for each witness: by its first name in the policy that is there, the earliest of its times.
 * @param {WitnessPolicy} policy
 * @param {Map<string, bigint>} times by the names of the policy's lines
 * @returns {Map<string, bigint>}
 */
export function byWitness(policy, times) {
  /** @type {Map<string, {name: string, time: bigint}>} */
  const found = new Map();
  for (const [name, time] of times) {
    const owner = policy.witnessOf.get(name) ?? name;
    const known = found.get(owner);
    found.set(owner, { name: known?.name ?? name, time: known && known.time < time ? known.time : time });
  }
  return new Map([...found.values()].map(({ name, time }) => [name, time]));
}

/**
 * Check that the policy's quorum of witnesses cosigned a checkpoint's note. The log's own signature is
 * `openCheckpoint`'s: a log's keys change, and the policy's log lines do not.
 * @param {WitnessPolicy} policy
 * @param {Note} note
 * @param {bigint | null} [now] seconds since 1970 by the reader's clock; without it no time is held against any clock
 * @returns {Promise<{cosigned: Map<string, bigint>, unchecked: string[]}>} who cosigned and when (seconds since 1970),
 *   and whose signature cannot be checked here; throws SignatureInvalid, ProofInvalid, or ClockSkew where a time is more
 *   than ten minutes ahead
 */
export async function checkQuorum(policy, note, now = null) {
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
  const ahead = [...cosigned].find(([, time]) => now !== null && time > now + MAX_AHEAD_SECONDS);
  if (ahead) throw new ClockSkew("A witness's time is still to come, by this device's clock.", ahead.join(" "));
  return { cosigned, unchecked };
}
