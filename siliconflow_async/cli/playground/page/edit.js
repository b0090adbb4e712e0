// A turn's text, to be changed in its place.

import { button, make } from "./dom.js";

// opener: the button that opened it, which gets the focus back. save: is given the new text.
export function edit(opener, article, text, label, saves, save) {
  const area = make("textarea");
  area.value = text;
  area.setAttribute("aria-label", `Edit: ${label}`);
  const close = () => {
    form.remove();
    article.classList.remove("edited");
    opener.focus();
  };
  const form = make("form", "edit", "", area, make("button", "strong", saves), button("Cancel", close));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    close();
    save(area.value);
  });
  form.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      // Not the answer that is under way.
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  article.classList.add("edited");
  article.append(form);
  area.focus();
}
