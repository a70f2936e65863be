// @ts-check
// The page that checks files: takes what is chosen, and shows what was found in the reader's language.

import { MAX_RECEIPT_BYTES } from "../device/receipts.js";
import { Examination, KINDS, MOST_FILES, N_ } from "./examination.js";

/** @import { Chosen, Finding, Values } from "./examination.js" */

/**
 * A language: its locale, which way it is written, and its translations.
 * @typedef {{formats: string, direction: string, words: Record<string, string>}} Spoken
 */
const SPOKEN = /** @type {Record<string, Spoken>} */ (JSON.parse(element("words").textContent ?? ""));
const LANGUAGES = Object.keys(SPOKEN);
let language = LANGUAGES[0];
/** @type {Chosen[]} */
let chosen = [];
/** @type {Examination | null} */
let last = null;

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
function element(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * Somebody else's text as it may be shown: what would hide, or turn the text around it, is written out.
 * @param {string} text
 * @returns {string}
 */
function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (each) => `\\u{${(each.codePointAt(0) ?? 0).toString(16)}}`);
}

/**
 * @param {string} tag
 * @param {string} [text]
 * @param {string} [className]
 * @returns {HTMLElement}
 */
function make(tag, text = "", className = "") {
  const made = document.createElement(tag);
  if (text) made.textContent = visible(text);
  if (className) made.className = className;
  return made;
}

/**
 * Say a message in the reader's language.
 * @param {string} message
 * @param {Values} [values]
 * @returns {string}
 */
function say(message, values = {}) {
  const words = SPOKEN[language].words[message] ?? message;
  return words.replace(/%\((\w+)\)s/g, (whole, name) => (Object.hasOwn(values, name) ? write(values[name]) : whole));
}

/**
 * @param {string | number | bigint} value
 * @returns {string}
 */
function write(value) {
  if (typeof value !== "string") return new Intl.NumberFormat(language).format(value);
  if (!/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(value) || Number.isNaN(Date.parse(value))) return value;
  return new Intl.DateTimeFormat(SPOKEN[language].formats, { dateStyle: "long", timeZone: "UTC" }).format(Date.parse(value));
}

/**
 * Write a time of the record in the reader's own time zone.
 * @param {bigint} seconds since 1970
 * @returns {string}
 */
function writeTime(seconds) {
  if (seconds > 10n ** 11n) return String(seconds);
  const style = /** @type {const} */ ({ dateStyle: "long", timeStyle: "long" });
  return new Intl.DateTimeFormat(SPOKEN[language].formats, style).format(new Date(Number(seconds) * 1000));
}

const STATES = {
  holds: { mark: "✓", name: N_("Holds") },
  fails: { mark: "✕", name: N_("Does not hold") },
  untold: { mark: "？", name: N_("Not checked") },
  note: { mark: "・", name: N_("Note") },
};

/**
 * @param {Finding} finding
 * @returns {HTMLElement}
 */
function showFinding(finding) {
  const { mark, name } = STATES[finding.state];
  const item = make("li", "", `finding ${finding.state}`);
  const state = make("p", "", "state");
  const sign = make("span", mark);
  sign.setAttribute("aria-hidden", "true");
  state.append(sign, ` ${say(name)}`);
  item.append(state, make("p", say(finding.message, finding.values)));
  if (finding.more) item.append(make("p", say(finding.more.message, finding.more.values)));
  if (finding.signers) {
    const list = make("ul");
    for (const { name: who, time } of finding.signers) list.append(make("li", `${who}: ${writeTime(time)}`));
    item.append(list);
  }
  if (finding.facts || finding.technical) item.append(showDetails(finding));
  return item;
}

/**
 * @param {Finding} finding
 * @returns {HTMLElement}
 */
function showDetails(finding) {
  const details = make("details");
  details.append(make("summary", say(N_("In detail"))));
  const list = make("dl", "", "facts");
  for (const [label, value] of finding.facts ?? []) {
    const row = make("div");
    row.append(make("dt", say(label)), make("dd", typeof value === "bigint" ? writeTime(value) : String(value)));
    list.append(row);
  }
  if (list.children.length) details.append(list);
  if (finding.technical) {
    const technical = make("p", finding.technical, "fine");
    technical.lang = "en";
    details.append(technical);
  }
  return details;
}

/** Show what was found, in the reader's language. */
function show() {
  const files = element("chosen");
  files.replaceChildren(
    ...(last?.recognised ?? []).map(({ name, kind }) => {
      const item = make("li");
      item.append(make("strong", name), ` — ${say(KINDS[kind])}`);
      return item;
    }),
  );
  element("files-part").hidden = !last;
  element("results").hidden = !last;
  if (!last) {
    element("verdict").textContent = "";
    return;
  }
  const states = new Set(last.findings.map((finding) => finding.state));
  const [verdict, words] = states.has("fails")
    ? ["fails", N_("Something does not hold. Read below what it is, and ask someone whom you trust.")]
    : !states.has("holds")
      ? ["untold", N_("There is not enough here yet to check anything.")]
      : states.has("untold")
        ? ["holds", N_("What could be checked holds. Something is left unchecked: read below.")]
        : ["holds", N_("Everything holds.")];
  element("verdict").textContent = say(words);
  element("verdict").className = `verdict ${verdict}`;
  const order = ["fails", "holds", "untold", "note"];
  const sorted = [...last.findings].sort((one, other) => order.indexOf(one.state) - order.indexOf(other.state));
  element("findings").replaceChildren(...sorted.map(showFinding));
}

/** @param {string} tag */
function speak(tag) {
  language = tag;
  document.documentElement.lang = tag;
  document.documentElement.dir = SPOKEN[tag].direction;
  document.title = say(N_("Check a receipt yourself"));
  for (const each of document.querySelectorAll("[data-words]")) {
    if (each instanceof HTMLElement && each.dataset.words) each.textContent = say(each.dataset.words);
  }
  for (const each of document.querySelectorAll("button[data-language]")) {
    if (each instanceof HTMLElement) each.setAttribute("aria-pressed", String(each.dataset.language === tag));
  }
  element("origin").textContent = location.protocol === "file:" ? say(N_("a file on your own device")) : location.origin;
  show();
}

/** @param {Iterable<File>} files */
async function take(files) {
  const added = await Promise.all(
    [...files].slice(0, MOST_FILES + 1).map(async (file) => ({
      name: file.name,
      bytes: file.size > MAX_RECEIPT_BYTES ? null : new Uint8Array(await file.arrayBuffer()),
    })),
  );
  if (!added.length) return;
  chosen = [...chosen, ...added];
  const examination = new Examination(chosen);
  await examination.run();
  last = examination;
  show();
  element("results-title").focus();
}

/** A fault of the page itself must never look like a result. */
function confess() {
  last = null;
  show();
  element("results").hidden = false;
  element("findings").replaceChildren();
  element("verdict").className = "verdict fails";
  element("verdict").textContent = say(N_("This page has a fault, so it can say nothing about your files."));
}

const input = /** @type {HTMLInputElement} */ (element("files"));
input.addEventListener("change", () => {
  take(input.files ?? []).catch(confess);
  input.value = "";
});
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    if (kind === "drop") take(/** @type {DragEvent} */ (event).dataTransfer?.files ?? []).catch(confess);
  });
}
element("again").addEventListener("click", () => {
  chosen = [];
  last = null;
  show();
  input.focus();
});
for (const each of document.querySelectorAll("button[data-language]")) {
  each.addEventListener("click", () => speak(/** @type {HTMLElement} */ (each).dataset.language ?? LANGUAGES[0]));
}
element("choose").hidden = false;
element("save").hidden = location.protocol === "file:";
const asked = new URLSearchParams(location.search).get("lang");
const preferred = [asked, ...navigator.languages.map((tag) => tag.split("-")[0])];
speak(preferred.find((tag) => tag !== null && LANGUAGES.includes(tag)) ?? LANGUAGES[0]);
