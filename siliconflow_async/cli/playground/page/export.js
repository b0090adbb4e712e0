// A chat as a file.

import { make } from "./dom.js";

export function exportJSON(chat) {
  download(`${chat.title || "chat"}.json`, "application/json", JSON.stringify(chat, null, 2) + "\n");
}

export function exportMarkdown(chat) {
  const parts = [`# ${chat.title || "Chat"}`];
  if (chat.settings.system?.trim()) parts.push("## System", chat.settings.system);
  for (const turn of chat.turns) parts.push(...exported(turn));
  download(`${chat.title || "chat"}.md`, "text/markdown", parts.join("\n\n") + "\n");
}

function exported(turn) {
  if (turn.role === "tool") return ["## Result of a tool", fenced(turn.content)];
  if (turn.role === "user") {
    const pictures = turn.pictures.map((url, at) => `![Picture ${at + 1}](${url})`);
    return ["## You", ...pictures, turn.text];
  }
  const parts = ["## Answer"];
  if (turn.reasoning) parts.push("### Reasoning", turn.reasoning.trim().replace(/^/gm, "> "), "### Text");
  if (turn.content) parts.push(turn.content);
  for (const call of turn.calls) parts.push(`### Call of ${call.name}`, fenced(call.arguments, "json"));
  for (const [, text] of turn.notes) parts.push(`*${text}*`);
  return parts;
}

// With a fence that is longer than any in the text.
function fenced(text, language = "") {
  const fence = "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map(([run]) => run.length + 1)));
  return `${fence}${language}\n${text}\n${fence}`;
}

function download(name, type, text) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name.replace(/[^\p{L}\p{N} ._-]+/gu, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
