// The playground's page: what its controls do.

import * as chat from "./chat.js";
import { el, keepAtEnd, make } from "./dom.js";
import { exportJSON, exportMarkdown } from "./export.js";
import { takePictures } from "./pictures.js";

const prompt = el("prompt");

async function load(path) {
  const response = await fetch(path);
  const value = await response.json();
  if (!response.ok) throw new Error(value.message);
  return value;
}

async function begin() {
  const note = el("model-note");
  await chat.restore(keepAtEnd(el("log"), el("turns"), el("end")));
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
  chat.send();
});
el("parameters").addEventListener("submit", (event) => event.preventDefault());
el("tools").addEventListener("input", () => el("tools").setCustomValidity(""));
el("stop").addEventListener("click", () => chat.stop());
el("undo").addEventListener("click", () => chat.undo());
el("clear").addEventListener("click", () => chat.clear());
el("delete").addEventListener("click", () => chat.remove());
el("chats").addEventListener("change", () => chat.show(el("chats").value));
el("export-json").addEventListener("click", () => exportJSON(chat.data()));
el("export-markdown").addEventListener("click", () => exportMarkdown(chat.data()));
prompt.addEventListener("keydown", (event) => {
  // While an input method composes, Enter chooses a word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  chat.send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) chat.stop();
});
addEventListener("pagehide", () => chat.leave());

el("settings").open = matchMedia("(min-width: 50.01rem)").matches;
takePictures();
prompt.focus();
begin();
