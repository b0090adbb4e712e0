// Making and changing elements. What a model or the service says only ever becomes the data of text nodes.

export const el = (id) => document.getElementById(id);

export function make(tag, className = "", text = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

export function button(text, onclick, className = "") {
  const node = make("button", className, text);
  node.type = "button";
  node.addEventListener("click", onclick);
  return node;
}

export function say(text) {
  el("status").textContent = text;
}

// A button that puts a text on the clipboard; where that is not allowed, the text's element is selected instead.
export function copyButton(label, text, shown) {
  const node = button(label, async () => {
    try {
      await navigator.clipboard.writeText(text());
      say("Copied");
      node.textContent = "Copied";
      setTimeout(() => (node.textContent = label), 2000);
    } catch {
      getSelection().selectAllChildren(shown());
      say("Selected; copy it with the keyboard");
    }
  });
  return node;
}

// Do something with the next picture, once however often it is asked for until then.
export function withNextFrame(change) {
  let asked = 0;
  return () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      change();
    });
  };
}

// How long, in milliseconds, a piece of so many characters stays as it is: the longer it is, the dearer to lay out.
export const rest = (characters) => characters / 40;

const PIECE = 500;

// A plain text that grows at its end: in pieces of whole lines, of which the last alone is laid out anew.
export class Growing {
  text = "";
  shown = 0;
  changedAt = -Infinity;

  constructor(parent, text = "") {
    this.parent = parent;
    this.later = withNextFrame(() => this.show());
    this.set(text);
  }

  set(text) {
    this.parent.replaceChildren();
    this.node = undefined;
    this.text = text;
    this.shown = 0;
    this.show(true);
  }

  add(text) {
    this.text += text;
    this.later();
  }

  show(now = false) {
    if (this.shown === this.text.length) return;
    if (!now && performance.now() - this.changedAt < rest(this.node?.length ?? 0)) {
      this.later();
      return;
    }
    this.changedAt = performance.now();
    // A piece ends with a line.
    for (const [line] of this.text.slice(this.shown).matchAll(/[^\n]*\n|[^\n]+/g)) {
      if (!this.node || (this.node.length > PIECE && this.node.data.endsWith("\n"))) {
        this.node = document.createTextNode("");
        this.parent.append(make("div", "", "", this.node));
      }
      this.node.appendData(line);
    }
    this.shown = this.text.length;
  }
}

// Keep a scrolled element at its end while what is in it grows, if that is where the reader is. Both are told by
// observers after the layout of a picture, so that none is forced in between.
export function keepAtEnd(scrolled, content, end) {
  let atEnd = true;
  new IntersectionObserver(([entry]) => (atEnd = entry.isIntersecting), { root: scrolled, rootMargin: "60px" }).observe(end);
  new ResizeObserver(() => {
    if (atEnd) scrolled.scrollTop = scrolled.scrollHeight;
  }).observe(content);
  return () => {
    atEnd = true;
    scrolled.scrollTop = scrolled.scrollHeight;
  };
}
