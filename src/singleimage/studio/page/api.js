// Requests to the server. What goes wrong comes back as an Error with words for people.

async function answer(response) {
  const text = await response.text();
  let found = null;
  try { found = JSON.parse(text); } catch { /* words, or a page of a proxy */ }
  if (!response.ok) throw new Error(found?.error ?? (text && text.length < 200 ? text : `The studio answered ${response.status}.`));
  return found;
}

async function reached(path, options) {
  try { return await fetch(path, options); } catch { throw new Error("The studio does not answer. Is it still running?"); }
}
async function request(path, options) { return answer(await reached(path, options)); }

export async function download(path) { const response = await reached(path); return response.ok ? response.blob() : answer(response); }
export const get = (path) => request(path, { cache: "no-store" });
export const post = (path, facts = {}) => request(path, {
  method: "POST", headers: { "x-studio": "1", "content-type": "application/json" }, body: JSON.stringify(facts),
});
export const upload = (path, blob, name = "") => request(path, {
  method: "POST", headers: { "x-studio": "1", "x-name": encodeURIComponent(name), "content-type": "application/octet-stream" }, body: blob,
});

// Calls `heard` with each event, `again` whenever the connection is new, and `lost` with whether there is none.
export function listen(heard, again, lost) {
  const source = new EventSource("/api/events");
  source.onopen = () => { lost(false); again(); };
  source.onmessage = (event) => heard(JSON.parse(event.data));
  source.onerror = () => {
    lost(true);
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(heard, again, lost), 3000); // it was refused, and would not come again
  };
}

export const left = (order) => order.made.filter((name) => !order.dropped.includes(name)); // pictures that are not deleted
export const pictureURL = (order, name, how = "preview") => `/api/orders/${order.id}/pictures/${encodeURIComponent(name)}?as=${how}`;
export const photoURL = (photo, what = "preview") => `/api/photos/${photo.id}/${what}`;
