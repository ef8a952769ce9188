// Shows, a few at a time, the entries of each browser that match its search box and menus.
"use strict";

const PAGE = 5;
// Characters that would change how the text around them is shown.
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]/g;
const MAX_CELLS = 400000; // pairs of words to compare; words of longer texts are not marked
const [MAX_CHARS, MAX_LINES] = [200, 8]; // a longer text may need scrolling on a phone
const MIN_OVERLAP = 0.3; // share of common words; below it almost every word would be marked

function element(name, kind, ...children) {
  const node = document.createElement(name);
  if (kind) node.className = kind;
  node.append(...children);
  return node;
}

// Returns a text as nodes, with control characters shown by number.
function visible(text) {
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(CONTROLS)) {
    const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    parts.push(text.slice(at, match.index), element("span", "control", `U+${code}`));
    at = match.index + 1;
  }
  return [...parts, text.slice(at)];
}

const segmenters = {};

function words(text, language) {
  if (!("Segmenter" in Intl)) return text.match(/\s+|[^\s.,;:!?]+|[.,;:!?]/g) ?? [];
  segmenters[language] ??= new Intl.Segmenter(language || undefined, { granularity: "word" });
  return Array.from(segmenters[language].segment(text), (each) => each.segment);
}

// Returns lists of words as lists of numbers, which compare faster; equal words have equal numbers.
function numbered(...lists) {
  const known = new Map();
  return lists.map((list) =>
    Int32Array.from(list, (word) => known.get(word) ?? (known.set(word, known.size), known.size - 1)),
  );
}

// Returns, for each word of both lists, whether it is in their longest common subsequence.
function common(first, second) {
  const [own, other] = numbered(first, second);
  const width = other.length + 1;
  const best = new Uint16Array((own.length + 1) * width);
  for (let i = own.length - 1; i >= 0; i--) {
    const [row, below, word] = [i * width, (i + 1) * width, own[i]];
    for (let j = other.length - 1; j >= 0; j--) {
      if (word === other[j]) best[row + j] = best[below + j + 1] + 1;
      else best[row + j] = best[below + j] > best[row + j + 1] ? best[below + j] : best[row + j + 1];
    }
  }
  const found = [new Array(own.length).fill(false), new Array(other.length).fill(false)];
  for (let i = 0, j = 0; i < own.length && j < other.length; ) {
    if (own[i] === other[j]) found[0][i++] = found[1][j++] = true;
    else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i++;
    else j++;
  }
  return found;
}

// Returns both texts as nodes, in which the words that only one text has are marked.
function marked(first, second, language) {
  const plain = () => [visible(first), visible(second)];
  const both = [words(first, language), words(second, language)];
  if (first === second || both[0].length * both[1].length > MAX_CELLS) return plain();
  const kept = common(...both);
  const count = (side, test) => both[side].filter((word, n) => word.trim() && test(kept[side][n])).length;
  const all = count(0, () => true) + count(1, () => true);
  if (!all || (2 * count(0, (same) => same)) / all < MIN_OVERLAP) return plain();
  return both.map((list, side) => {
    const nodes = [];
    for (let from = 0, to = 0; from < list.length; from = to) {
      while (to < list.length && kept[side][to] === kept[side][from]) to++;
      const text = visible(list.slice(from, to).join(""));
      if (kept[side][from]) nodes.push(...text);
      else nodes.push(element("mark", "", ...text));
    }
    return nodes;
  });
}

// Returns an element for untrusted text, with its own direction and, for screen readers and fonts,
// its language.
function written(name, kind, label, nodes, language) {
  const node = element(name, kind, ...nodes);
  node.dir = "auto";
  if (language) node.lang = language;
  const content = node.textContent;
  if (content.length > MAX_CHARS || content.split("\n").length > MAX_LINES) {
    node.tabIndex = 0; // for scrolling by keyboard; measuring if it is needed would cost a layout
    node.setAttribute("role", "group");
    node.setAttribute("aria-label", label);
  }
  return node;
}

function side([label, kind, text, language], nodes) {
  const heading = element("h4", "", ...visible(label));
  const content = text === null ? [element("span", "none", "no text")] : nodes;
  return element("div", `side ${kind}`, heading, written("div", "text", label, content, language));
}

function card(entry, names) {
  const swatch = element("i", `swatch ${names.kinds[entry.language] ?? ""}`);
  const about = element("span", "", ...visible(entry.about));
  const title = element("h3", "", swatch, names.languages[entry.language] ?? entry.language, about);
  for (const [kind, text] of entry.badges ?? []) title.append(element("span", `badge ${kind}`, ...visible(text)));
  const node = element("article", "pair", title);
  if (entry.prompt) node.append(written("p", "prompt", "Prompt", visible(entry.prompt), entry.language));
  if (entry.target) {
    node.append(element("p", "target", "Expected: ", element("bdi", "", ...visible(entry.target))));
  }
  const [one, two, ...others] = entry.sides;
  const texts = marked(one[2] ?? "", two[2] ?? "", entry.language);
  const more = others.map((each) => side(each, visible(each[2])));
  node.append(element("div", "sides", side(one, texts[0]), side(two, texts[1]), ...more));
  return node;
}

const folded = (text) => text.normalize("NFKC").toLowerCase();

function start(section) {
  const { names, entries } = JSON.parse(section.querySelector("script").textContent);
  const form = section.querySelector("form");
  const [list, more] = [section.querySelector(".entries"), section.querySelector(".more")];
  const [said, fields] = [form.querySelector("output"), [...form.querySelectorAll("select[data-tag]")]];
  const texts = entries.map((entry) =>
    folded([entry.about, entry.prompt, entry.target, ...entry.sides.map((each) => each[2])].join("\n")),
  );
  let found = [];
  const show = (from) => {
    list.append(...found.slice(from, from + PAGE).map((n) => card(entries[n], names)));
    more.hidden = from + PAGE >= found.length;
  };
  const apply = () => {
    const wanted = folded(form.elements.text.value).trim();
    const chosen = fields.filter((field) => field.value);
    found = [...entries.keys()].filter(
      (n) =>
        texts[n].includes(wanted) &&
        chosen.every((field) => entries[n].tags[field.dataset.tag] === field.value),
    );
    const order = Number(form.elements.order?.value ?? 0);
    if (order) {
      const rank = (n) => (entries[n].rank === undefined ? Infinity : order * entries[n].rank);
      found.sort((a, b) => (rank(a) === rank(b) ? a - b : rank(a) - rank(b)));
    }
    list.replaceChildren();
    show(0);
    said.textContent = `${found.length} of ${entries.length} match`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const from = list.children.length;
    show(from);
    list.children[from].tabIndex = -1;
    list.children[from].focus();
  });
  form.hidden = false;
  apply();
}

document.querySelectorAll("[data-browser]").forEach(start);
