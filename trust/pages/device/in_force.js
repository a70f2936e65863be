// @ts-check
/**
 * In-force proofs: whether a consent could be counted in a question (docs/reference/resident-proofs.md).
 */

import { Malformed, ProofInvalid, TooLarge, fromHex } from "./bytes.js";
import { fieldsOf, hashOf, parseCanonical, textOf, wholeOf } from "./canonical.js";
import { checkInclusion, leafHash } from "./proofs.js";
import { MAX_ENTRY_BYTES } from "./receipts.js";

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

const CHUNK_BITS = 4096n;
const CHUNK_BYTES = 512;

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
