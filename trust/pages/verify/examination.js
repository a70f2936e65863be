// @ts-check
/**
 * Looks at files together, on their reader's own device: what they are, what holds, what does not, and who said so.
 * Nothing here touches the page. What is found are English sentences that stand in the table of translations.
 */

import { MusubiError, sha256, toHex } from "../device/bytes.js";
import { parseCanonical } from "../device/canonical.js";
import { checkUse, parseInForce } from "../device/in_force.js";
import { checkLogKeys, parseTrust } from "../device/log_keys.js";
import { openCheckpoint, parseCheckpoint, parseNote, parseVerifierKey } from "../device/notes.js";
import { checkInclusion, leafHash } from "../device/proofs.js";
import { MAX_ENTRY_BYTES, checkHistory, checkNoFork, parseHistory, parseReceipt } from "../device/receipts.js";
import { NO_WITNESS, byWitness, checkQuorum, parsePolicy } from "../device/witness_policy.js";

/** @import { Trust } from "../device/log_keys.js" */
/** @import { Checkpoint, LogKeys, VerifierKey } from "../device/notes.js" */
/** @import { Receipt } from "../device/receipts.js" */
/** @import { WitnessPolicy } from "../device/witness_policy.js" */

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */
/** @typedef {Record<string, string | number | bigint>} Values texts are shown as they are, numbers in the reader's way */

/**
 * One thing that was found: `holds`, `fails`, `untold` where something is missing, or a `note` that changes no verdict.
 * `message` is an English sentence that stands in the table of translations.
 * @typedef {object} Finding
 * @property {"holds" | "fails" | "untold" | "note"} state
 * @property {string} message
 * @property {Values} [values]
 * @property {{message: string, values: Values}} [more] a second sentence
 * @property {{name: string, time: bigint}[]} [signers] who signed, and when (seconds since 1970)
 * @property {[string, string | number | bigint][]} [facts] labels (in the table of translations) and what they say
 * @property {string} [technical] in English, for experts
 */

/** @typedef {{name: string, bytes: Bytes | null}} Chosen a file; null bytes where it is too large to be read */
/** @typedef {{name: string, kind: string}} Recognised */

/** Marks a text for the translators. */
export const N_ = (/** @type {string} */ text) => text;

export const MOST_FILES = 50;
/** How far an entry's time may be ahead of the witnesses', as every reader of the record has it. */
const MAX_SKEW_SECONDS = 60n;

export const KINDS = /** @type {Record<string, string>} */ ({
  receipt: N_("a receipt"),
  entry: N_("an entry of the record"),
  trust: N_("a trust file: whom to believe"),
  logKeys: N_("the history of the record's key"),
  policy: N_("a list of witnesses"),
  key: N_("the record's key"),
  checkpoint: N_("a signed state of the record"),
  history: N_("a proof that the record only grew"),
  inForce: N_("a proof about one consent in one question"),
  page: N_("a web page"),
  unknown: N_("not known here"),
});

/**
 * Say what a file is, by what is in it and not by its name.
 * @param {Bytes} bytes
 * @returns {string} one of KINDS
 */
function kindOf(bytes) {
  const text = new TextDecoder().decode(bytes);
  if (text.startsWith("c2sp.org/tlog-proof@")) return "receipt";
  if (/^old [0-9]/.test(text)) return "history";
  if (/^\s*<!doctype html/i.test(text)) return "page";
  if (text.startsWith("{")) {
    if (/"genesis_sha256":/.test(text) && /"witness_policy":/.test(text)) return "trust";
    if (/^\{"changes":\[/.test(text)) return "logKeys";
    if (/^\{"at":[0-9]+,"charge":[0-9]+,"day":/.test(text)) return "inForce";
    return text.includes('"kind":"') ? "entry" : "unknown";
  }
  if (/^[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+\/=]+\n?$/.test(text)) return "key";
  if (/^[ \t]*quorum[ \t]/m.test(text)) return "policy";
  return text.includes("\n\n\u2014 ") ? "checkpoint" : "unknown";
}

/**
 * What an entry says, in plain words. An entry that is not canonical JSON says nothing.
 * @param {Bytes} bytes
 * @returns {Record<string, any> | null}
 */
function readEntry(bytes) {
  try {
    const entry = /** @type {Record<string, any>} */ (parseCanonical(bytes));
    return entry !== null && typeof entry === "object" && typeof entry.kind === "string" ? entry : null;
  } catch {
    return null;
  }
}

const ENTRY_WORDS = /** @type {Record<string, string>} */ ({
  genesis: N_("It is the first entry: it names the record, its key, and the stewards."),
  "log-key": N_("It changes the key that the record is signed with."),
  member: N_("It says that an organisation joined, changed or left."),
  policy: N_("It is an agreement that the stewards signed."),
  rules: N_("From here on the record goes by newer rules, which the stewards signed."),
  grant: N_("It is a consent to the agreement “%(policy)s” (version %(version)s), until %(until)s."),
  revoke: N_("It takes back the consent that is entry number %(grant)s."),
  erase: N_("It says that what lay behind entry number %(index)s was destroyed."),
  admit: N_("It is a question by “%(by)s” under the agreement “%(policy)s” that was let in."),
  release: N_("It is the answer to the question that is entry number %(admit)s."),
  refund: N_("It takes back the question that is entry number %(admit)s: nothing was told."),
  lost: N_("It gives up the question that is entry number %(admit)s: not every holder answered in time. Its budget stays used."),
  refuse: N_("It is a question by “%(by)s” that was refused."),
});

const STOPPED_FOR = N_(
  "It takes back the consent that is entry number %(grant)s. “%(by)s”, which knows the person, did that for them.",
);

/**
 * @param {Record<string, any> | null} entry
 * @returns {{message: string, values: Values} | undefined}
 */
function wordsOf(entry) {
  if (!entry || !Object.hasOwn(ENTRY_WORDS, entry.kind)) return undefined;
  const message = entry.kind === "revoke" && entry.reason === "attested" ? STOPPED_FOR : ENTRY_WORDS[entry.kind];
  const values = Object.entries(entry).filter(([, value]) => typeof value === "string" || typeof value === "number");
  return { message, values: Object.fromEntries(values) };
}

/** Looks at all chosen files together. */
export class Examination {
  /** @param {Chosen[]} chosen */
  constructor(chosen) {
    this.chosen = chosen;
    /** @type {Recognised[]} */
    this.recognised = [];
    /** @type {Finding[]} */
    this.findings = [];
    /** @type {Map<string, Bytes[]>} */
    this.byKind = new Map();
    /** @type {Trust | null} */
    this.trust = null;
    /** @type {VerifierKey | LogKeys[] | null} */
    this.keys = null;
    /** @type {WitnessPolicy | null} */
    this.policy = null;
    /** @type {{receipt: Receipt, entry: Bytes | null}[]} */
    this.pairs = [];
    /** @type {Bytes[]} entries that no receipt is for */
    this.unused = [];
    /** @type {Map<string, Promise<Checkpoint | null>>} */
    this.opened = new Map();
    /** @type {Map<bigint, {entry: Bytes, read: Record<string, any>, origin: string}>} */
    this.proven = new Map();
    /** @type {Set<bigint>} */
    this.grownFrom = new Set();
    /** @type {Map<Checkpoint, bigint>} when each was confirmed: the median of its witnesses' times */
    this.confirmed = new Map();
    this.now = BigInt(Math.floor(Date.now() / 1000));
  }

  /**
   * @param {Finding["state"]} state
   * @param {string} message
   * @param {Partial<Finding>} [rest]
   */
  find(state, message, rest = {}) {
    this.findings.push({ state, message, ...rest });
  }

  /**
   * Say that something does not hold, and why; an error that is not ours is a fault of the page and goes on.
   * @param {string} message
   * @param {unknown} error
   * @param {Values} [values]
   */
  fail(message, error, values = {}) {
    if (!(error instanceof MusubiError)) throw error;
    if (error.code === "unavailable") {
      this.find("untold", N_("This browser cannot do what is needed. Use a newer one, or open this page as a saved file."), {
        technical: error.message,
      });
      return;
    }
    const where = error.where ? ` (${error.where})` : "";
    this.find("fails", message, { values, technical: `${error.name}: ${error.message}${where}` });
  }

  /**
   * @param {string} kind
   * @returns {Bytes[]}
   */
  all(kind) {
    return this.byKind.get(kind) ?? [];
  }

  /** @returns {Promise<void>} */
  async run() {
    await this.sort();
    await this.readTrust();
    await this.pairReceipts();
    await this.followKeys();
    if (this.keys) {
      for (const pair of this.pairs) await this.checkPair(pair.receipt, pair.entry);
      for (const bytes of this.all("checkpoint")) await this.openOnce(bytes);
      for (const bytes of this.all("history")) await this.checkGrowth(bytes);
      await this.compareCheckpoints();
      for (const bytes of this.all("inForce")) await this.checkUse(bytes);
    }
    await this.namePages();
  }

  /** Recognise the files; what is broken is said at once. */
  async sort() {
    if (this.chosen.length > MOST_FILES) {
      this.find("fails", N_("Choose at most %(most)s files at once."), { values: { most: MOST_FILES } });
      this.chosen = this.chosen.slice(0, MOST_FILES);
    }
    for (const { name, bytes } of this.chosen) {
      const kind = bytes ? kindOf(bytes) : "unknown";
      this.recognised.push({ name, kind });
      if (!bytes) {
        this.find("fails", N_("The file “%(name)s” is too large."), { values: { name } });
      } else if (kind === "unknown" || (kind === "entry" && bytes.length > MAX_ENTRY_BYTES)) {
        this.find("fails", N_("The file “%(name)s” is not one that this page knows, or it is damaged."), { values: { name } });
      } else {
        this.byKind.set(kind, [...this.all(kind), bytes]);
      }
    }
  }

  /** Find out whom the reader believes: from a trust file, or from a list of witnesses and a key. */
  async readTrust() {
    const files = new Set([...this.all("trust")].map(toHex));
    if (files.size > 1) {
      this.find("fails", N_("You chose two different trust files. Keep the one from someone you trust, and take the other away."));
      return;
    }
    try {
      if (files.size) {
        this.trust = await parseTrust(this.all("trust")[0]);
        this.keys = this.trust.logKeys;
        this.policy = this.trust.policy;
        return;
      }
      const decode = (/** @type {Bytes} */ bytes) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
      for (const bytes of this.all("key")) this.keys = await parseVerifierKey(decode(bytes).trimEnd());
      for (const bytes of this.all("policy")) this.policy = await parsePolicy(decode(bytes));
      this.keys ??= this.policy?.logs.find((key) => key.type === 1) ?? null;
    } catch (error) {
      this.fail(N_("The file that says whom to believe is damaged."), error);
      return;
    }
    if (!this.keys && this.chosen.length) {
      this.find("untold", N_("Nothing can be checked without the trust file (trust.json). Ask a steward of your town for it, or someone else whom you trust."));
    }
  }

  /** Find each receipt's entry: a chosen file, or what the receipt itself carries. No signature is checked here. */
  async pairReceipts() {
    for (const bytes of this.all("receipt")) {
      try {
        const receipt = parseReceipt(bytes);
        const claimed = parseCheckpoint(parseNote(receipt.checkpoint).text);
        let found = null;
        for (const entry of [...this.all("entry"), ...(receipt.extra ? [receipt.extra] : [])]) {
          const leaf = await leafHash(entry);
          const isIt = checkInclusion(leaf, receipt.index, claimed.size, receipt.proof, claimed.root);
          if (await isIt.then(() => true, (error) => whether(error))) found = entry;
        }
        this.pairs.push({ receipt, entry: found });
      } catch (error) {
        this.fail(N_("A receipt is damaged."), error);
      }
    }
    const used = new Set(this.pairs.flatMap(({ entry }) => (entry ? [toHex(entry)] : [])));
    this.unused = this.all("entry").filter((entry) => !used.has(toHex(entry)));
  }

  /** Where the record's key has changed, follow the changes. */
  async followKeys() {
    for (const bytes of this.trust ? this.all("logKeys") : []) {
      try {
        const history = await checkLogKeys(bytes, /** @type {Trust} */ (this.trust), this.now);
        this.keys = history;
        if (history.length > 1) this.find("holds", N_("The stewards signed every change of the record's key."));
      } catch (error) {
        this.fail(N_("The history of the record's key is not what the stewards and the witnesses signed."), error);
      }
    }
  }

  /**
   * Check the log's and the witnesses' signatures of a checkpoint, once.
   * @param {Bytes} bytes
   * @returns {Promise<Checkpoint | null>} null where the log did not sign it
   */
  openOnce(bytes) {
    const text = toHex(bytes);
    const found = this.opened.get(text) ?? this.open(bytes);
    this.opened.set(text, found);
    return found;
  }

  /**
   * @param {Bytes} bytes
   * @returns {Promise<Checkpoint | null>}
   */
  async open(bytes) {
    if (!this.keys) return null;
    let opened;
    try {
      opened = await openCheckpoint(bytes, this.keys);
    } catch (error) {
      this.fail(N_("A state of the record is not signed with the record's own key, or was changed afterwards."), error);
      if (Array.isArray(this.keys) && this.keys.length === 1 && error instanceof MusubiError && error.code === "signature-invalid") {
        this.find("untold", N_("Perhaps the record's key was changed by its stewards. Choose the history of the record's key (log-keys.json) as well, if you have it."));
      }
      return null;
    }
    const { checkpoint, note, unchecked } = opened;
    const keys = Array.isArray(this.keys) ? this.keys.findLast((each) => each.index < checkpoint.size) : null;
    const key = keys?.key ?? (Array.isArray(this.keys) ? this.keys[0].key : this.keys);
    this.find("holds", N_("The record signed its state of %(size)s entries with its own key."), {
      values: { size: checkpoint.size },
      facts: [
        [N_("Name of the record"), checkpoint.origin],
        [N_("Key"), `${key.name}+${key.id}`],
        [N_("Fingerprint"), note.text.split("\n")[2]],
      ],
    });
    if (this.policy === null || this.policy.quorum === NO_WITNESS) {
      this.find("untold", N_("Your files ask for no witnesses, so none was looked for. The state of %(size)s entries is the record's word alone."), { values: { size: checkpoint.size } });
    } else {
      try {
        const result = await checkQuorum(this.policy, note, this.now);
        unchecked.push(...result.unchecked);
        const signers = [...byWitness(this.policy, result.cosigned)].map(([name, time]) => ({ name, time }));
        const times = signers.map(({ time }) => time).sort((one, other) => (one < other ? -1 : 1));
        this.confirmed.set(checkpoint, times[(times.length - 1) >> 1]);
        this.find("holds", N_("Enough independent witnesses confirmed the state of %(size)s entries:"), { values: { size: checkpoint.size }, signers });
      } catch (error) {
        const isAhead = error instanceof MusubiError && error.code === "clock-skew";
        this.fail(isAhead ? N_("By this device's clock, a witness confirmed the state of %(size)s entries at a time that is still to come. Either the device's clock is wrong, or what the witness signed is.") : N_("Too few of the witnesses confirmed the state of %(size)s entries, or one of their signatures is false."), error, { size: checkpoint.size });
      }
    }
    if (unchecked.length) {
      this.find("note", N_("Signatures of the new kind (ML-DSA, made against quantum computers) are there too; browsers cannot check those yet: %(names)s"), { values: { names: unchecked.join(", ") } });
    }
    return checkpoint;
  }

  /**
   * @param {Receipt} receipt
   * @param {Bytes | null} entry
   */
  async checkPair(receipt, entry) {
    const { index } = receipt;
    const before = this.findings.length;
    const checkpoint = await this.openOnce(receipt.checkpoint);
    if (!entry) {
      if (this.unused.length || receipt.extra) {
        this.find("fails", N_("None of the chosen entries is entry number %(index)s, which the receipt is for; or it was changed."), { values: { index } });
      } else {
        this.find("untold", N_("The receipt is for entry number %(index)s. Choose that entry's file as well."), { values: { index } });
      }
      return;
    }
    if (!checkpoint) {
      this.find("untold", N_("Whether entry number %(index)s is in the record cannot be told, because the signature does not hold."), { values: { index } });
      return;
    }
    const read = readEntry(entry);
    const known = this.proven.get(index);
    if (known && toHex(known.entry) !== toHex(entry)) {
      this.find("fails", N_("The record shows two different entries as entry number %(index)s. Keep both receipts: together they prove it. Show them to a steward."), { values: { index } });
      return;
    }
    if (Number.isSafeInteger(read?.at) && BigInt(read?.at) > (this.confirmed.get(checkpoint) ?? this.now) + MAX_SKEW_SECONDS) {
      this.find("fails", N_("Entry number %(index)s bears a time that had not come yet when the state of the record that holds it was signed."), { values: { index } });
      return;
    }
    if (read) this.proven.set(index, { entry, read, origin: checkpoint.origin });
    /** @type {[string, string][]} */
    const facts = [[N_("The entry, word for word"), new TextDecoder().decode(entry)]];
    this.find("holds", N_("Entry number %(index)s is in the record, exactly as in your file."), {
      values: { index },
      more: wordsOf(read),
      facts: Number.isSafeInteger(read?.at) ? [[N_("Written on"), BigInt(read?.at)], ...facts] : facts,
    });
    // What the reader came for stands before the signatures that it rests on.
    this.findings.splice(before, 0, ...this.findings.splice(-1));
  }

  /** @param {Bytes} bytes a history */
  async checkGrowth(bytes) {
    try {
      const history = parseHistory(bytes);
      const newer = await this.openOnce(history.checkpoint);
      if (!newer || !this.keys) return;
      const opened = (await Promise.all(this.opened.values())).filter((each) => each !== null);
      const older = opened.find((each) => each.size === history.old && each.origin === newer.origin);
      if (!older) {
        this.find("untold", N_("The proof of growth begins at %(old)s entries. Choose a receipt or a signed state of that size as well."), { values: { old: history.old } });
        return;
      }
      await checkHistory(history, older, this.keys);
      this.grownFrom.add(older.size);
      this.find("holds", N_("From %(old)s to %(size)s entries the record only grew: nothing before was changed or taken out."), { values: { old: older.size, size: newer.size } });
    } catch (error) {
      this.fail(N_("The proof that the record only grew does not hold."), error);
    }
  }

  /** Two states of one size must be the same; of different sizes, only a proof of growth can tell. */
  async compareCheckpoints() {
    const opened = (await Promise.all(this.opened.values())).filter((each) => each !== null);
    opened.sort((one, other) => (one.size < other.size ? -1 : 1));
    for (const [at, one] of opened.entries()) {
      for (const other of opened.slice(at + 1)) {
        try {
          checkNoFork(one, other);
        } catch (error) {
          this.fail(N_("The record signed two different stories of the same length. Keep both files: together they prove it. Show them to a steward."), error);
        }
      }
      const next = opened.find((other) => other.size > one.size);
      if (next && one.size > 0n && !this.grownFrom.has(one.size)) {
        this.find("untold", N_("Whether the record only grew from %(old)s to %(size)s entries cannot be told without a proof of growth."), { values: { old: one.size, size: next.size } });
        this.grownFrom.add(one.size);
      }
    }
  }

  /** @param {Bytes} bytes an in-force proof */
  async checkUse(bytes) {
    try {
      const answer = parseInForce(bytes);
      const [index, place] = [answer.proof.index, answer.size];
      const values = { grant: index, question: place };
      const question = this.proven.get(place);
      const grant = this.proven.get(index)?.read;
      if (!question) {
        this.find("untold", N_("The proof is about the question that is entry number %(question)s. Choose that question's receipt and entry as well."), { values });
        return;
      }
      if (grant && (grant.kind !== "grant" || grant.policy_sha256 !== answer.policySha256)) {
        this.find("fails", N_("Entry number %(grant)s is not a consent to the agreement of question number %(question)s."), { values });
        return;
      }
      const counted = await checkUse(answer, question.entry, place, question.origin, index);
      const proven = [...this.proven].filter(([number]) => number < place);
      // An erasure for another reason may be a wrong one, and ends nothing then.
      const endedBy = (/** @type {Record<string, any>} */ { kind, grant: ended, index: erased, reason }) =>
        kind === "revoke" ? ended : kind === "erase" && reason === "requested" ? erased : null;
      const end = proven.find(([, { read }]) => endedBy(read) === Number(index));
      if (!grant && [...this.proven.values()].some(({ read }) => read.kind === "grant")) {
        this.find("fails", N_("The proof is about the consent that is entry number %(grant)s. None of the consents that you chose is that one."), { values });
        return;
      }
      if (counted && end) {
        this.find("fails", N_("The consent that is entry number %(grant)s could be counted in the question that is entry number %(question)s, although entry number %(end)s had ended it before."), { values: { ...values, end: end[0] } });
        return;
      }
      if (!grant) {
        this.find("untold", N_("Whose consent entry number %(grant)s is cannot be told from the proof alone. Choose that consent's receipt as well."), { values });
      }
      if (counted) {
        this.find("holds", N_("The consent that is entry number %(grant)s could be counted in the question that is entry number %(question)s."), { values });
      } else {
        this.find("holds", N_("The consent that is entry number %(grant)s was not counted in the question that is entry number %(question)s."), { values });
      }
    } catch (error) {
      this.fail(N_("The proof about a consent in a question does not hold."), error);
    }
  }

  /** A page may be a copy of this one: its hash can be compared. And say what lies there unused. */
  async namePages() {
    for (const bytes of this.all("page")) {
      const hash = toHex(await sha256(bytes));
      this.find("note", N_("You chose a web page. If it is a copy of this one, compare its SHA-256 with the one that someone else publishes:"), { facts: [["SHA-256", hash]] });
    }
    if (this.keys && this.unused.length && !this.pairs.some(({ entry }) => !entry)) {
      this.find("untold", N_("You chose an entry that none of the receipts is for. Choose its receipt as well."));
    }
    if (this.keys && !this.findings.length) {
      this.find("untold", N_("Whom to believe is known now. Choose a receipt as well."));
    }
  }
}

/**
 * Whether an inclusion proof merely does not fit; any other error goes on.
 * @param {unknown} error
 * @returns {boolean}
 */
function whether(error) {
  if (error instanceof MusubiError && error.code === "proof-invalid") return false;
  throw error;
}
