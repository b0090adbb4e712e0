// The playground's page. What a model or the service says only ever becomes the data of text nodes: see `make`.

const el = (id) => document.getElementById(id);
const log = el("log");
const prompt = el("prompt");
const wide = matchMedia("(min-width: 50.01rem)");

const LOST = "The connection to the playground was lost. Is it still running?";
// How long the figures of a stopped answer are waited for.
const LAST_WORDS = 2000;

// The conversation: {role: "user" | "tool", …} as they are sent, and answers of class Answer.
let turns = [];
// The answer that is under way, if any.
let current = null;

function make(tag, className = "", text = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function button(text, onclick) {
  const node = make("button", "", text);
  node.type = "button";
  node.addEventListener("click", onclick);
  return node;
}

function say(text) {
  el("status").textContent = text;
}

// One text node that grows: appending to it costs nothing for what is there already.
class Growing {
  constructor(parent) {
    this.node = document.createTextNode("");
    parent.append(this.node);
  }
  add(text) {
    this.node.appendData(text);
  }
  get text() {
    return this.node.data;
  }
}

class Answer {
  role = "assistant";
  state = "open"; // then "done", "stopped" or "failed"
  calls = [];
  deltas = 0;
  firstAt = null;

  constructor(request) {
    this.startedAt = performance.now();
    this.article = make("article", "assistant");
    this.article.setAttribute("aria-label", "Answer");
    this.article.setAttribute("aria-busy", "true");
    this.body = make("div", "answer text");
    this.content = new Growing(this.body);
    this.figures = make("p", "figures");
    this.article.append(this.body, this.figures);
    log.append(this.article);
    this.connect(request);
  }

  connect(request) {
    this.socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/api/chat`);
    this.socket.addEventListener("open", () => this.socket.send(JSON.stringify(request)));
    this.socket.addEventListener("message", (event) => keepAtEnd(() => this.take(JSON.parse(event.data))));
    this.socket.addEventListener("close", () => keepAtEnd(() => this.fail(LOST)));
  }

  take(frame) {
    switch (frame.type) {
      case "asked":
        this.showPython(frame.python);
        return;
      case "summary":
        this.summarize(frame);
        this.end(frame.ended === "done" ? "done" : "failed");
        this.socket.close();
        return;
    }
    if (this.state !== "open" || frame.index > 0) return;
    switch (frame.type) {
      case "reasoning_delta":
        this.count();
        this.reason(frame.text);
        break;
      case "content_delta":
        this.count();
        this.fold();
        this.content.add(frame.text);
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
          this.figures.before(make("p", "note", `Finish reason: ${frame.reason}`));
        }
        break;
      case "error":
        this.fail(`${frame.error}: ${frame.message}`);
        break;
    }
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
      call = this.calls[frame.call] = { box, title: name, code, arguments: new Growing(code) };
    }
    // They come with the first fragment that knows them.
    if (frame.id) call.id = frame.id;
    if (frame.name) call.title.textContent = call.name = frame.name;
    return call;
  }

  finishCall(frame) {
    const call = this.call(frame);
    call.json = call.code.textContent = frame.arguments;
    call.result = make("textarea");
    call.result.rows = 1;
    call.box.append(make("label", "", `Result of ${frame.name}, sent with your next message`, call.result));
  }

  showPython(python) {
    const code = make("code", "", python);
    const copy = button("Copy", async () => {
      try {
        await navigator.clipboard.writeText(python);
        say("Copied");
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        say("Selected; copy it with the keyboard");
      }
    });
    this.python = make("details", "python", "", make("summary", "", "Python"), make("pre", "", "", code), copy);
    this.python.querySelector("pre").tabIndex = 0;
    this.article.append(this.python);
  }

  count() {
    this.deltas += 1;
    this.lastAt = performance.now();
    this.firstAt ??= this.lastAt;
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
    this.end("stopped");
    this.figures.before(make("p", "note", "Stopped."));
    if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send("stop");
      setTimeout(() => this.socket.close(), LAST_WORDS);
    } else {
      this.socket.close();
    }
  }

  fail(message) {
    if (this.state !== "open") return;
    const box = make("div", "error", message);
    this.figures.before(box);
    this.end("failed", message);
  }

  end(state, message = "") {
    if (this.state !== "open") return;
    this.state = state;
    this.article.removeAttribute("aria-busy");
    if (state !== "done") {
      this.again = button("Retry", () => retry(this));
      this.figures.after(this.again);
    }
    current = null;
    showBusy();
    say(message || { done: "The answer is complete", stopped: "Stopped", failed: "The answer failed" }[state]);
  }

  // The messages that this turn adds to a request: what was cut off in a tool call is not sent back.
  *messages() {
    const content = this.content.text;
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

// Do something that makes the log longer, and stay at its end if that is where the reader is.
function keepAtEnd(change) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  change();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function showBusy() {
  const busy = current !== null;
  const hadFocus = document.activeElement === el("stop") || document.activeElement === el("send");
  el("send").hidden = busy;
  el("stop").hidden = !busy;
  if (hadFocus) prompt.focus();
}

// The request's parameters as the form has them; null, with the field shown, if one of them can't be sent.
function parameters() {
  const form = el("parameters");
  const tools = el("tools");
  let parsed;
  let wrong = "";
  if (tools.value.trim()) {
    try {
      parsed = JSON.parse(tools.value);
      if (!Array.isArray(parsed)) wrong = "Tools must be a JSON array.";
    } catch (error) {
      wrong = `Tools are not JSON: ${error.message}`;
    }
  }
  tools.setCustomValidity(wrong);
  if (!form.checkValidity()) {
    el("settings").open = true;
    form.reportValidity();
    return null;
  }
  const params = {};
  for (const field of form.querySelectorAll("input[type=number]")) {
    if (field.value !== "") params[field.name] = field.valueAsNumber;
  }
  if (el("enable_thinking").value) params.enable_thinking = el("enable_thinking").value === "true";
  if (parsed?.length) params.tools = parsed;
  return params;
}

function messages() {
  const all = el("system").value.trim() ? [{ role: "system", content: el("system").value }] : [];
  for (const turn of turns) {
    if (turn instanceof Answer) all.push(...turn.messages());
    else all.push(turn);
  }
  return all;
}

function ask(params) {
  for (const node of log.querySelectorAll("article > button")) node.remove();
  if (!wide.matches) el("settings").open = false;
  current = new Answer({ model: el("model").value.trim(), messages: messages(), ...params });
  turns.push(current);
  showBusy();
  say("Waiting for the answer");
  log.scrollTop = log.scrollHeight;
}

function send() {
  if (current) return;
  const text = prompt.value;
  const last = turns.at(-1);
  const calls = last?.state === "done" ? last.calls : [];
  if (!text.trim() && !calls.length) return;
  const params = parameters();
  if (!params) return;
  for (const call of calls) {
    call.result.disabled = true;
    turns.push({ role: "tool", tool_call_id: call.id, content: call.result.value });
  }
  if (text.trim()) {
    turns.push({ role: "user", content: text });
    const article = make("article", "user", "", make("div", "text", text));
    article.setAttribute("aria-label", "You");
    log.append(article);
  }
  prompt.value = "";
  ask(params);
}

function retry(answer) {
  if (current || turns.at(-1) !== answer) return;
  const params = parameters();
  if (!params) return;
  turns.pop();
  answer.article.remove();
  ask(params);
  prompt.focus();
}

function clear() {
  current?.stop();
  turns = [];
  log.replaceChildren();
  say("A new chat");
  prompt.focus();
}

async function load(path) {
  const response = await fetch(path);
  const value = await response.json();
  if (!response.ok) throw new Error(value.message);
  return value;
}

async function begin() {
  const note = el("model-note");
  try {
    const settings = await load("api/settings");
    el("model").value ||= settings.model;
    el("demo").hidden = !settings.demo;
    const { models } = await load("api/models");
    el("models").replaceChildren(...models.map((id) => Object.assign(make("option"), { value: id })));
    note.textContent = `${models.length} models to choose from, or type another name.`;
  } catch (error) {
    note.textContent = `There is no list of models (${error.message}); type a name.`;
  }
}

el("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
el("parameters").addEventListener("submit", (event) => event.preventDefault());
el("tools").addEventListener("input", () => el("tools").setCustomValidity(""));
el("stop").addEventListener("click", () => current?.stop());
el("clear").addEventListener("click", clear);
prompt.addEventListener("keydown", (event) => {
  // While an input method composes, Enter chooses a word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) current?.stop();
});
addEventListener("pagehide", () => current?.socket.close());

el("settings").open = wide.matches;
prompt.focus();
begin();
