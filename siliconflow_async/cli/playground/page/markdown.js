// Markdown: the server turns it into trees, and what is new in them becomes elements, of a few tags and attributes.

import { Growing, copyButton, make, rest } from "./dom.js";

const TAGS = new Set(
  "p h3 strong em s code a br hr ul ol li blockquote table thead tbody tr th td pre span".split(" "),
);
// Characters that are asked for at a time, or more where a block is longer: the server has others to serve meanwhile. A
// block that is longer than the most is shown in parts.
const WINDOW = 5_000;
const MOST = 80_000;
// Milliseconds between two renderings of what grows, at least.
const PAUSE = 30;

// Where the children of an element's tree are, if not in itself.
const inner = new WeakMap();

async function render(text, references) {
  const response = await fetch("api/markdown", { method: "POST", body: JSON.stringify({ text, references }) });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

function build(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [tag, attributes, children] = tree;
  if (!TAGS.has(tag)) throw new Error(`no element of an answer: ${tag}`);
  const node = make(tag);
  node.append(...children.map(build));
  switch (tag) {
    case "a":
      return link(node, attributes.href);
    case "h3":
      node.className = `level${attributes.level}`;
      break;
    case "ol":
      if (attributes.start !== undefined) node.start = attributes.start;
      break;
    case "th":
    case "td":
      if (attributes.align) node.className = attributes.align;
      break;
    case "pre":
      return code(node, attributes.language);
    case "table":
      return scrolled(node);
  }
  return node;
}

// Where a link leads is always seen: its words are the model's.
function link(node, href) {
  const url = URL.parse(href);
  if (!url || !/^(https?|mailto):/.test(url.href)) return node;
  node.href = node.title = href;
  node.target = "_blank";
  node.rel = "noopener noreferrer nofollow";
  const place = make("span", "place", ` (${url.host || url.pathname})`);
  const outer = make("span", "link", "", node, place);
  inner.set(outer, node);
  return outer;
}

function code(pre, language) {
  const text = make("code", "", "", ...pre.childNodes);
  pre.append(text);
  pre.tabIndex = 0;
  const copy = copyButton("Copy code", () => text.textContent, () => text);
  const outer = make("div", "block", "", make("div", "bar", "", make("span", "", language || "code"), copy), pre);
  inner.set(outer, text);
  return outer;
}

function scrolled(table) {
  const outer = make("div", "wide-table", "", table);
  outer.tabIndex = 0;
  inner.set(outer, table);
  return outer;
}

// Make a parent's children, from number `first` on, those of other trees. What is the same stays untouched, and so do
// children beyond these if they are to be kept.
function patch(parent, before, after, first = 0, keep = false) {
  after.forEach((tree, at) => {
    const old = before[at];
    if (old === undefined) {
      parent.append(build(tree));
      return;
    }
    const node = parent.childNodes[first + at];
    if (typeof tree === "string" && typeof old === "string") {
      if (tree === old) return;
      if (tree.startsWith(old)) node.appendData(tree.slice(old.length));
      else node.data = tree;
    } else if (tree[0] === old[0] && JSON.stringify(tree[1]) === JSON.stringify(old[1])) {
      patch(inner.get(node) ?? node, old[2], tree[2]);
    } else {
      node.replaceWith(build(tree));
    }
  });
  while (!keep && parent.childNodes.length > first + after.length) parent.lastChild.remove();
}

// A text that grows at its end, shown as Markdown. Blocks that no further text can change are rendered once.
export class Markdown {
  text = "";
  trees = [];
  references = {};
  known = 0;
  running = false;
  ended = false;
  // What can't be rendered, once something could not.
  plain = null;

  constructor(parent) {
    this.parent = parent;
    this.restart();
  }

  // Begin again, with the links that are known by now.
  restart() {
    // How many blocks are closed, where the first of the others begins in the text, and how far the text is shown.
    this.closed = this.start = this.shown = 0;
    this.window = WINDOW;
    this.known = Object.keys(this.references).length;
  }

  add(text) {
    this.text += text;
    if (this.plain) this.plain.add(text);
    else this.run();
  }

  // Show a whole text, in place of what is shown.
  set(text) {
    this.text = text;
    this.references = {};
    this.restart();
    if (this.plain) {
      this.plain = null;
      this.trees = [];
      this.parent.replaceChildren();
    }
    this.end();
  }

  end() {
    this.ended = true;
    if (!this.plain) this.run();
  }

  async run() {
    if (this.running) return;
    this.running = true;
    try {
      while (this.shown < this.text.length || this.hasMoreLinks()) await this.step();
    } catch {
      // The server has gone, or refuses: what it would have rendered is shown as it is.
      while (this.parent.childNodes.length > this.closed) this.parent.lastChild.remove();
      const node = make("div", "text");
      this.parent.append(node);
      this.plain = new Growing(node, this.text.slice(this.start));
    }
    this.running = false;
  }

  // Whether the text, now that all of it is there, defines links that blocks above did not know of.
  hasMoreLinks() {
    if (!this.ended || Object.keys(this.references).length === this.known) return false;
    this.restart();
    return true;
  }

  async step() {
    const { text, start } = this;
    const piece = text.slice(start, start + this.window).toWellFormed();
    const isLast = start + piece.length === text.length;
    const { blocks, closed, line, references } = await render(piece, this.references);
    // Another text was set in the meantime.
    if (!this.text.startsWith(text) || this.start !== start) return;
    Object.assign(this.references, references);
    const takesAll = isLast || (closed === 0 && this.window >= MOST);
    const taken = takesAll ? blocks : blocks.slice(0, closed);
    patch(this.parent, this.trees.slice(this.closed), taken, this.closed, !isLast);
    this.trees.splice(this.closed, isLast ? this.trees.length : taken.length, ...taken);
    if (closed > 0) {
      this.closed += closed;
      this.start += after(piece, line);
      this.window = WINDOW;
    } else if (takesAll && !isLast) {
      this.closed += blocks.length;
      this.start += piece.length;
    } else if (!isLast) {
      this.window *= 2;
    }
    if (isLast) {
      this.shown = text.length;
      await new Promise((done) => setTimeout(done, Math.max(PAUSE, rest(text.length - this.start))));
    }
  }
}

// Where a line begins.
function after(text, lines) {
  const ends = /\r\n?|\n/g;
  while (lines-- > 0) ends.exec(text);
  return ends.lastIndex;
}
