// @ts-check
/**
 * Merkle trees: inclusion and consistency proofs (RFC 9162, sections 2.1.3.2 and 2.1.4.2).
 */

import { HASH_BYTES, ProofInvalid, equal, join, sha256 } from "./bytes.js";

export const MAX_PROOF_HASHES = 63;

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
