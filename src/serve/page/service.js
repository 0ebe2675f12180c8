// What this page asks of its service.

const STORED = "fcdd-token";
const SECONDS = 1000;

/** What the service says of a request that it refuses. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function keepToken(token) {
  sessionStorage.setItem(STORED, token);
}

/** Asks, again and again where the service is busy. */
async function ask(path, options = {}) {
  const token = sessionStorage.getItem(STORED);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  for (;;) {
    const response = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
    if (response.ok) return response.json();
    if (response.status === 429) {
      await new Promise(done => setTimeout(done, SECONDS * (Number(response.headers.get("Retry-After")) || 1)));
      continue;
    }
    const told = await response.json().catch(() => null);
    throw new Refused(response.status, told?.error?.message ?? response.statusText);
  }
}

const BYTES = { "Content-Type": "application/octet-stream" };

export const offered = () => ask("/v1/models");

export function detect(model, file, wanted = {}) {
  const query = new URLSearchParams(wanted);
  return ask(`/v1/models/${encodeURIComponent(model)}/detect?${query}`, { method: "POST", body: file, headers: BYTES });
}

/** Saves an answer: good, defect or none. */
export function answer(model, file, answer) {
  const query = new URLSearchParams({ answer, name: file.name });
  return ask(`/v1/models/${encodeURIComponent(model)}/answers?${query}`, { method: "POST", body: file, headers: BYTES });
}

/** The pixels of a PNG in base64. */
export async function bitmap(base64) {
  const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: "image/png" }));
}
