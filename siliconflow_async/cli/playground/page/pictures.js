// Pictures that are to be sent with the next message: chosen, pasted or dropped.

import { button, el, make, say } from "./dom.js";

const MOST_BYTES = 20 * 1024 * 1024;
// As data URLs, in the order in which they came.
let pictures = [];

function show() {
  el("pictures").replaceChildren(
    ...pictures.map((url, at) => {
      const picture = preview(url, at + 1);
      const remove = button("Remove", () => {
        pictures.splice(at, 1);
        show();
        el("prompt").focus();
      });
      remove.setAttribute("aria-label", `Remove picture ${at + 1}`);
      return make("div", "picture", "", picture, remove);
    }),
  );
}

export function preview(url, number) {
  const image = make("img");
  // A chat that was kept is no better than what was put into it: nothing is fetched from elsewhere.
  if (url.startsWith("data:image/")) image.src = url;
  image.alt = `Picture ${number}`;
  return image;
}

export function take() {
  const taken = pictures;
  pictures = [];
  show();
  return taken;
}

export const waiting = () => pictures.length > 0;

function readAsURL(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}

async function add(files) {
  for (const file of files) {
    if (!file.type.startsWith("image/")) say(`${file.name} is no picture`);
    else if (file.size > MOST_BYTES) say(`${file.name} is larger than 20 MB`);
    else {
      try {
        pictures.push(await readAsURL(file));
        say(`Picture ${pictures.length} goes with your next message`);
      } catch (error) {
        say(`${file.name} can't be read: ${error.message}`);
      }
    }
  }
  show();
}

export function takePictures() {
  const chooser = el("chooser");
  el("attach").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", async () => {
    await add([...chooser.files]);
    chooser.value = "";
    el("prompt").focus();
  });
  el("prompt").addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    add(files);
  });
  // Anywhere on the page: a picture that misses its place would replace the page.
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    add([...event.dataTransfer.files]);
    el("prompt").focus();
  });
}
