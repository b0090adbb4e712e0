// Chats, kept by the browser for this page's address. Where it keeps nothing (a private window, say), they are lost with
// the page, which is all that fails then.

const SHOWN = "chat";
const CUT_OFF = "answer";

const opened = new Promise((resolve) => {
  try {
    const asked = indexedDB.open("playground", 1);
    asked.addEventListener("upgradeneeded", () => {
      asked.result.createObjectStore("titles", { keyPath: "id" });
      asked.result.createObjectStore("chats", { keyPath: "id" });
    });
    asked.addEventListener("success", () => resolve(asked.result));
    asked.addEventListener("error", () => resolve(null));
  } catch {
    resolve(null);
  }
});

// Do something with the two stores; return what the last request of it gave, undefined if that can't be.
async function within(mode, act) {
  const database = await opened;
  if (!database) return undefined;
  return new Promise((resolve) => {
    const transaction = database.transaction(["titles", "chats"], mode);
    const request = act(transaction.objectStore("titles"), transaction.objectStore("chats"));
    transaction.addEventListener("complete", () => resolve(request.result));
    for (const kind of ["abort", "error"]) transaction.addEventListener(kind, () => resolve(undefined));
  });
}

// {id, title, changed} of all chats, the latest first.
export async function titles() {
  const all = (await within("readonly", (titles) => titles.getAll())) ?? [];
  return all.sort((a, b) => b.changed - a.changed);
}

export const read = (id) => within("readonly", (_, chats) => chats.get(id));

export function save(chat) {
  const title = { id: chat.id, title: chat.title, changed: Date.now() };
  return within("readwrite", (titles, chats) => (titles.put(title), chats.put(chat)));
}

export const remove = (id) => within("readwrite", (titles, chats) => (titles.delete(id), chats.delete(id)));

// Which chat a window shows, after a reload too. Another window begins with a new one.
export const current = {
  get: () => sessionStorage.getItem(SHOWN),
  set: (id) => sessionStorage.setItem(SHOWN, id),
};

// The end of a chat whose answer is under way while the page is left, when there is no time for more than this.
export const cutOff = {
  put(id, at, turn) {
    try {
      sessionStorage.setItem(CUT_OFF, JSON.stringify({ id, at, turn }));
    } catch {
      // It is too long: what was saved last is what is left.
    }
  },
  take() {
    const kept = sessionStorage.getItem(CUT_OFF);
    sessionStorage.removeItem(CUT_OFF);
    return JSON.parse(kept);
  },
};
