// An answer: what came of it, how it is shown, and the websocket on which it comes.

import { edit } from "./edit.js";
import { Growing, button, copyButton, make, say, withNextFrame } from "./dom.js";
import { Markdown } from "./markdown.js";

const LOST = "The connection to the playground was lost. Is it still running?";
// How long the figures of a stopped answer are waited for.
const LAST_WORDS = 2000;
// A program of more characters is not kept over a reload: it holds the conversation a second time.
const KEPT_PROGRAM = 50_000;

export class Answer {
  role = "assistant";
  state = "open"; // then "done", "stopped" or "failed"
  content = "";
  calls = [];
  // Remarks on how it came and ended, each with the class of its paragraph.
  notes = [];
  // What the attempt before failed of, and when the next one is made.
  because = null;
  deltas = 0;
  firstAt = null;

  // actions: what the chat does on `ended`, `again`, `edited`.
  constructor(actions) {
    this.actions = actions;
    this.startedAt = performance.now();
    this.article = make("article", "assistant");
    this.article.setAttribute("aria-label", "Answer");
    this.waiting = make("p", "note waiting", "Waiting for the answer");
    this.body = make("div", "answer");
    this.markdown = new Markdown(this.body);
    this.figures = make("p", "figures");
    this.buttons = make("p", "actions");
    this.article.append(make("h2", "unseen", "Answer"), this.waiting, this.body, this.figures, this.buttons);
    this.showFigures = withNextFrame(() => this.estimate());
  }

  static restore(data, actions) {
    const answer = new Answer(actions);
    if (data.reasoning) answer.reason(data.reasoning);
    answer.fold();
    answer.content = data.content;
    answer.markdown.set(data.content);
    data.calls.forEach((call, at) => answer.finishCall({ ...call, call: at }));
    for (const [kind, text] of data.notes) answer.note(kind, text);
    if (data.python) answer.showPython(data.python);
    answer.figures.append(...data.figures.map((part) => (part.code ? make("code", "", part.code) : part)));
    // One that was under way when the page was left ends here.
    answer.state = data.state === "open" ? "stopped" : data.state;
    if (data.state === "open") answer.note("note", "Stopped.");
    answer.waiting.remove();
    answer.showButtons();
    return answer;
  }

  get data() {
    const { role, state, content, notes, python } = this;
    return {
      role,
      state,
      content,
      notes,
      reasoning: this.reasoning?.text ?? "",
      calls: this.calls.map(({ id, name, json }) => ({ id, name, arguments: json })).filter((call) => call.arguments !== undefined),
      figures: [...this.figures.childNodes].map((node) => (node.tagName ? { code: node.textContent } : node.data)),
      python: python?.length <= KEPT_PROGRAM ? python : "",
    };
  }

  connect(request) {
    this.article.setAttribute("aria-busy", "true");
    this.clock = setInterval(() => this.showWaiting(), 1000);
    this.socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/api/chat`);
    this.socket.addEventListener("open", () => this.socket.send(JSON.stringify(request)));
    this.socket.addEventListener("message", (event) => this.take(JSON.parse(event.data)));
    this.socket.addEventListener("close", () => this.fail(LOST));
  }

  take(frame) {
    switch (frame.type) {
      case "asked":
        this.showPython(frame.python);
        return;
      case "summary":
        this.end(frame.ended === "done" ? "done" : "failed");
        this.summarize(frame);
        this.actions.changed();
        this.socket.close();
        return;
    }
    if (this.state !== "open" || frame.index > 0) return;
    switch (frame.type) {
      case "failed":
        this.because = { message: frame.message, until: performance.now() + frame.seconds * 1000 };
        this.showWaiting();
        say(this.waiting.textContent);
        break;
      case "retried":
        this.because = null;
        this.note("note", `Attempt ${frame.attempt}, ${frame.seconds.toFixed(1)} s after this failure: ${frame.message}`);
        break;
      case "waited":
        this.note("note", `Waited ${frame.seconds.toFixed(1)} s for room in the model's limits.`);
        break;
      case "reasoning_delta":
        this.count();
        this.reason(frame.text);
        break;
      case "content_delta":
        this.count();
        this.fold();
        this.content += frame.text;
        this.offerText();
        this.markdown.add(frame.text);
        this.raw?.add(frame.text);
        break;
      case "tool_call_delta":
        this.count();
        this.fold();
        this.call(frame).arguments.add(frame.arguments);
        break;
      case "tool_call_done":
        this.finishCall(frame);
        break;
      case "finished":
        if (frame.reason && frame.reason !== "stop" && frame.reason !== "tool_calls") {
          this.note("note", `Finish reason: ${frame.reason}`);
        }
        break;
      case "error":
        this.fail(`${frame.error}: ${frame.message}`);
        break;
    }
  }

  // A remark that stays, over a reload too.
  note(kind, text) {
    this.notes.push([kind, text]);
    this.figures.before(make("p", kind, text));
  }

  // Until the first token.
  showWaiting() {
    const seconds = (from, to) => Math.max(0, Math.ceil((to - from) / 1000));
    const now = performance.now();
    this.waiting.textContent = this.because
      ? `${this.because.message}; trying again in ${seconds(now, this.because.until)} s`
      : `Waiting for the answer, ${seconds(this.startedAt, now)} s`;
  }

  reason(text) {
    if (!this.reasoning) {
      const body = make("div", "text");
      this.thoughts = make("details", "reasoning", "", make("summary", "", "Reasoning"), body);
      this.thoughts.open = true;
      // Whoever folds or unfolds it by hand is not overruled.
      this.thoughts.firstChild.addEventListener("click", () => (this.folded = true));
      this.reasoning = new Growing(body);
      this.body.before(this.thoughts);
    }
    this.reasoning.add(text);
  }

  fold() {
    if (this.thoughts && !this.folded) this.thoughts.open = false;
    this.folded = true;
  }

  call(frame) {
    let call = this.calls[frame.call];
    if (!call) {
      const name = make("code");
      const code = make("code");
      const box = make("div", "call", "", make("p", "", "Tool call: ", name), make("pre", "", "", code));
      this.figures.before(box);
      call = this.calls[frame.call] = { box, title: name, arguments: new Growing(code) };
    }
    // They come with the first fragment that knows them.
    if (frame.id) call.id = frame.id;
    if (frame.name) call.title.textContent = call.name = frame.name;
    return call;
  }

  finishCall(frame) {
    const call = this.call(frame);
    call.json = frame.arguments;
    call.arguments.set(frame.arguments);
    if (call.result) return;
    call.result = make("textarea");
    call.result.rows = 1;
    call.box.append(make("label", "", `Result of ${frame.name}, sent with your next message`, call.result));
  }

  // The results of its calls, where they are sent already.
  showResults(turns) {
    for (const call of this.calls) {
      if (!call.result) continue;
      const sent = turns.find((turn) => turn.role === "tool" && turn.tool_call_id === call.id);
      call.result.disabled = sent !== undefined;
      if (sent) call.result.value = sent.content;
    }
  }

  showPython(python) {
    this.python = python;
    // A picture is left out of what is shown, not of what is copied.
    const shown = python.replace(/(data:[\w/+.-]+;base64,.{16})[\w+/=]{100,}/g, "$1…");
    const code = make("code", "", shown);
    const pre = make("pre", "", "", code);
    pre.tabIndex = 0;
    const copy = copyButton("Copy", () => python, () => code);
    this.article.append(make("details", "python", "", make("summary", "", "Python"), pre, copy));
  }

  count() {
    this.deltas += 1;
    this.lastAt = performance.now();
    if (this.firstAt === null) {
      this.firstAt = this.lastAt;
      this.waiting.remove();
      clearInterval(this.clock);
    }
    this.showFigures();
  }

  estimate() {
    if (this.state !== "open") return;
    this.show(`~${this.deltas}`, this.deltas, (this.firstAt - this.startedAt) / 1000, (this.lastAt - this.startedAt) / 1000);
  }

  summarize(frame) {
    // A service that reports no usage leaves what was counted here: pieces of text, about one token each.
    const tokens = frame.tokens ?? this.deltas;
    const thought = frame.reasoning_tokens ? ` (${frame.reasoning_tokens} reasoning)` : "";
    const shown = `${frame.tokens === null ? "~" : ""}${tokens}`;
    if (frame.first_token !== null) this.show(shown, tokens, frame.first_token, frame.total, thought);
    if (frame.trace_id) this.figures.append(this.figures.firstChild ? " · " : "", "trace id ", make("code", "", frame.trace_id));
  }

  show(shown, tokens, first, total, thought = "") {
    const parts = [`${shown} tokens${thought}`, `first token after ${first.toFixed(2)} s`];
    const speed = rate(tokens, first, total);
    if (speed !== null) parts.push(`${speed.toFixed(1)} tokens/s`);
    this.figures.textContent = parts.join(" · ");
  }

  stop() {
    if (this.state !== "open") return;
    this.note("note", "Stopped.");
    this.end("stopped");
    if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send("stop");
      setTimeout(() => this.socket.close(), LAST_WORDS);
    } else {
      this.socket.close();
    }
  }

  fail(message) {
    if (this.state !== "open") return;
    this.note("error", message);
    this.end("failed", message);
  }

  end(state, message = "") {
    if (this.state !== "open") return;
    if (this.deltas) this.estimate();
    this.state = state;
    clearInterval(this.clock);
    this.waiting.remove();
    this.reasoning?.show(true);
    this.raw?.show(true);
    this.markdown.end();
    this.article.removeAttribute("aria-busy");
    this.showButtons();
    this.actions.ended();
    say(message || { done: "The answer is complete", stopped: "Stopped", failed: "The answer failed" }[state]);
  }

  // For the text, once there is some.
  offerText() {
    if (!this.content || this.rawButton) return;
    this.rawButton = button("Raw", () => this.showRaw(!this.raw));
    this.rawButton.setAttribute("aria-pressed", "false");
    this.buttons.prepend(this.rawButton, copyButton("Copy", () => this.content, () => this.body));
  }

  // For the turn, once it is over. Those that are there stay: one may have the focus.
  showButtons() {
    this.offerText();
    const change = button("Edit", () => edit(change, this.article, this.content, "Answer", "Save", (text) => this.change(text)));
    const [again, look] = this.state === "done" ? ["Regenerate", ""] : ["Retry", "outlined"];
    this.buttons.append(change, button(again, () => this.actions.again(this), look));
  }

  // The text as it came, or as Markdown.
  showRaw(wanted) {
    this.rawButton.setAttribute("aria-pressed", String(wanted));
    this.article.querySelector(".raw")?.remove();
    this.body.hidden = wanted;
    this.raw = undefined;
    if (!wanted) return;
    const text = make("div", "raw text");
    this.raw = new Growing(text, this.content);
    this.body.after(text);
  }

  change(text) {
    this.content = text;
    this.markdown.set(text);
    if (this.raw) this.showRaw(true);
    this.offerText();
    this.actions.changed();
  }

  // The messages that this turn adds to a request: what was cut off in a tool call is not sent back.
  *messages() {
    const { content } = this;
    if (this.state === "done" && this.calls.length) {
      const calls = this.calls.map((call) => ({
        id: call.id,
        type: "function",
        function: { name: call.name, arguments: call.json },
      }));
      const message = { role: "assistant", content, tool_calls: calls };
      // Thinking models want their reasoning back on turns that call tools, and on no others.
      if (this.reasoning) message.reasoning_content = this.reasoning.text;
      yield message;
    } else if (content) {
      yield { role: "assistant", content };
    }
  }
}

// Tokens per second: those after the first, over the time after it; if all came at once, over all of it.
function rate(tokens, first, total) {
  if (!tokens || !total) return null;
  if (tokens > 1 && total - first >= 0.001) return (tokens - 1) / (total - first);
  return tokens / total;
}
