// The form beside the chat: the parameters of the next request.

import { el } from "./dom.js";

const fields = () => el("parameters").querySelectorAll("input, select, textarea");

// The request's parameters as the form has them; null, with the field shown, if one of them can't be sent.
export function parameters() {
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

// What the fields hold, by their names.
export const written = () => Object.fromEntries([...fields()].map((field) => [field.name, field.value]));

export function fill(values) {
  for (const field of fields()) field.value = values[field.name] ?? "";
}
