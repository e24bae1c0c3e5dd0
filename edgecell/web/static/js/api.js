/** Asks the device. What it refuses is an error with its own words; a session that has ended is told to the page. */

/** The device said no: its words, which field they are about ("" for none) and what to do. */
export class Refused extends Error {
  constructor(status, { error = "", field = "", fix = "" } = {}) {
    super([error || String(status), fix].filter(Boolean).join(" \u2014 "));
    this.status = status;
    this.field = field;
  }
}

/** The device did not answer at all. */
export class Silent extends Error {}

/** The answer's JSON, or null where it has none. Raises Refused or Silent. */
export async function ask(path, { method = "GET", body } = {}) {
  const response = await send(path, method, body);
  if (response.ok) return response.status === 204 || response.status === 202 ? null : response.json();
  if (response.status === 401 && path !== "/api/login") window.dispatchEvent(new Event("signed-out"));
  throw new Refused(response.status, await response.json().catch(() => ({})));
}

/** A file of the device, saved by the browser. Fetched first, so that a refusal is told in words. */
export async function save(path, name) {
  const response = await send(path, "GET");
  if (!response.ok) throw new Refused(response.status, await response.json().catch(() => ({})));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function send(path, method, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  try {
    return await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Silent(path);
  }
}
