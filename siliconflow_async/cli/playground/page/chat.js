// The conversation: its turns, what is asked of them, and what is done to them.

import { Answer } from "./answer.js";
import { button, el, make, say } from "./dom.js";
import { edit } from "./edit.js";
import * as pictures from "./pictures.js";
import { fill, parameters, written } from "./settings.js";
import * as store from "./store.js";

const log = el("turns");
const prompt = el("prompt");
const wide = matchMedia("(min-width: 50.01rem)");
// Milliseconds between two savings of an answer that is under way.
const SAVING = 2000;

let id = newId();
// What was said by the user, results of tools (as they are sent), and answers.
let turns = [];
// The answer that is under way, if any.
let current = null;
// Turns that were taken away last, and from where.
let taken = null;
let saving = 0;
// The log's end, to be gone to when something is asked.
let toEnd = () => {};

const actions = {
  again: (answer) => askAgain(turns.indexOf(answer)),
  ended() {
    current = null;
    showBusy();
    save();
  },
  changed: () => save(),
};

function newId() {
  return `${Date.now().toString(36)}-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
}

class User {
  role = "user";

  constructor(text, urls = []) {
    this.text = text;
    this.pictures = urls;
    const change = button("Edit", () => edit(change, this.article, this.text, "You", "Send", (text) => this.change(text)));
    this.article = make("article", "user", "", make("h2", "unseen", "You"));
    if (urls.length) this.article.append(make("div", "images", "", ...urls.map((url, at) => pictures.preview(url, at + 1))));
    this.article.append(make("div", "text", text), make("p", "actions", "", change));
    this.article.setAttribute("aria-label", "You");
  }

  get data() {
    return { role: this.role, text: this.text, pictures: this.pictures };
  }

  *messages() {
    const images = this.pictures.map((url) => ({ type: "image_url", image_url: { url } }));
    const text = this.text.trim() ? [{ type: "text", text: this.text }] : [];
    yield { role: "user", content: images.length ? [...images, ...text] : this.text };
  }

  // Ask something else in its place.
  change(text) {
    const at = turns.indexOf(this);
    if (!text.trim() && !this.pictures.length) return;
    const params = parameters();
    if (!params) return;
    cut(at);
    add(new User(text, this.pictures));
    ask(params);
    prompt.focus();
  }
}

function add(turn) {
  turns.push(turn);
  if (turn.article) log.append(turn.article);
}

function messages() {
  const all = el("system").value.trim() ? [{ role: "system", content: el("system").value }] : [];
  for (const turn of turns) all.push(...(turn.messages?.() ?? [turn]));
  return all;
}

function ask(params) {
  if (!wide.matches) el("settings").open = false;
  const request = { model: el("model").value.trim(), messages: messages(), ...params };
  for (const turn of turns) turn.showResults?.(turns);
  current = new Answer(actions);
  add(current);
  current.connect(request);
  showBusy();
  say("Waiting for the answer");
  toEnd();
  store.current.set(id);
  save();
}

export function send() {
  if (current) return;
  const text = prompt.value;
  const last = turns.at(-1);
  const calls = last?.state === "done" ? last.calls : [];
  if (!text.trim() && !calls.length && !pictures.waiting()) return;
  const params = parameters();
  if (!params) return;
  forget();
  for (const call of calls) turns.push({ role: "tool", tool_call_id: call.id, content: call.result.value });
  if (text.trim() || pictures.waiting()) add(new User(text, pictures.take()));
  prompt.value = "";
  ask(params);
}

// Ask once more for the turn of that number, and take away what came after it.
function askAgain(at) {
  const params = parameters();
  if (at < 0 || !params) return;
  cut(at);
  ask(params);
  prompt.focus();
}

// Take away the turns from a number on. They can be brought back until the chat goes on otherwise.
function cut(at) {
  stop();
  taken = { at, turns: turns.splice(at) };
  for (const turn of taken.turns) turn.article?.remove();
  el("undo").textContent = `Bring back the ${taken.turns.length === 1 ? "turn" : `${taken.turns.length} turns`}`;
  el("undo").hidden = taken.turns.length === 1 && taken.turns[0].state === "failed";
}

function forget() {
  taken = null;
  el("undo").hidden = true;
}

export function undo() {
  stop();
  for (const turn of turns.splice(taken.at)) turn.article?.remove();
  for (const turn of taken.turns) add(turn);
  for (const turn of turns) turn.showResults?.(turns);
  forget();
  save();
  prompt.focus();
}

export function stop() {
  current?.stop();
}

function showBusy() {
  const busy = current !== null;
  const hadFocus = document.activeElement === el("stop") || document.activeElement === el("send");
  el("send").hidden = busy;
  el("stop").hidden = !busy;
  if (hadFocus) prompt.focus();
  clearInterval(saving);
  if (busy) saving = setInterval(save, SAVING);
}

// The chat as it is kept and exported.
export function data() {
  const first = turns.find((turn) => turn.role === "user");
  return {
    id,
    title: first?.text.trim().replace(/\s+/g, " ").slice(0, 60).trim() || (first ? "Pictures" : ""),
    settings: written(),
    // A result of a tool is as it is sent.
    turns: turns.map((turn) => turn.data ?? turn),
  };
}

export async function save() {
  if (!turns.length) return;
  await store.save(data());
  await list();
}

// Show the titles of all chats; while they are the same, the list stays as it is: it may be open.
async function list() {
  const titles = (await store.titles()).map((chat) => [chat.id, chat.title]);
  if (!titles.some(([other]) => other === id)) titles.unshift([id, "New chat"]);
  const chats = el("chats");
  const shown = [...chats.options].map((option) => [option.value, option.text]);
  if (JSON.stringify(shown) !== JSON.stringify(titles)) {
    chats.replaceChildren(...titles.map(([value, title]) => Object.assign(make("option", "", title), { value })));
  }
  if (chats.value !== id) chats.value = id;
}

function begin(chat) {
  stop();
  forget();
  id = chat.id;
  turns = [];
  log.replaceChildren();
  store.current.set(id);
  for (const turn of chat.turns) {
    if (turn.role === "user") add(new User(turn.text, turn.pictures));
    else if (turn.role === "tool") add(turn);
    else add(Answer.restore(turn, actions));
  }
  for (const turn of turns) turn.showResults?.(turns);
  toEnd();
  return list();
}

export function clear() {
  begin({ id: newId(), turns: [] });
  say("A new chat");
  prompt.focus();
}

export async function show(which) {
  const chat = await store.read(which);
  if (!chat) return;
  const cutOff = store.cutOff.take();
  if (cutOff?.id === which) chat.turns[cutOff.at] = cutOff.turn;
  begin(chat);
  fill(chat.settings);
}

export async function remove() {
  stop();
  await store.remove(id);
  clear();
  say("The chat is deleted");
}

// Show the chat that this window showed before a reload, if any.
export async function restore(scroll) {
  toEnd = scroll;
  const before = store.current.get();
  if (before) await show(before);
  await list();
}

export function leave() {
  if (current) store.cutOff.put(id, turns.length - 1, current.data);
  current?.socket.close();
}
