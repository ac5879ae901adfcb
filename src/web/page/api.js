// Requests to the daemon and their results: they never reject, and a failure always has a sentence.

/** Timeout of a request. The daemon answers all of these at once, or after computing one argon2id hash. */
const LIMIT_MS = 15_000;

/**
 * Returns { ok, status, body, message, retry_s, sent_ms, got_ms }: `status` is 0 if there was no answer; `body` the parsed
 * JSON, or `null`; `message` one sentence about a failure (RFC 9457's `detail`), or `null`; `retry_s` the seconds of
 * Retry-After, or `null`.
 */
export async function ask(method, path, body) {
  const sent_ms = performance.now();
  const none = { ok: false, status: 0, body: null, message: null, retry_s: null, sent_ms };
  let response;
  let text;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method,
      cache: 'no-store',
      signal: AbortSignal.timeout?.(LIMIT_MS),
      ...(body !== undefined && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
    });
    text = await response.text();
  } catch {
    return { ...none, got_ms: performance.now(), message: 'The device does not answer.' };
  }
  const parsed = json(text);
  const { ok, status } = response;
  return {
    ok,
    status,
    body: parsed,
    message: ok ? null : sentence(parsed?.detail || response.statusText || `the device refused (${status})`),
    retry_s: retryAfter(response.headers.get('Retry-After'), Date.now()),
    sent_ms,
    got_ms: performance.now(),
  };
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // No body (204), or a proxy's page.
  }
}

/** Makes a sentence: adds a capital and a full stop if they are missing. */
export function sentence(text) {
  const s = text.trim();
  return s.charAt(0).toUpperCase() + s.slice(1) + (/[.!?]$/.test(s) ? '' : '.');
}

/** The seconds from now that Retry-After (RFC 9110 section 10.2.3) says, in either of its forms; `null` without it. */
export function retryAfter(value, unix_ms) {
  if (!value) return null;
  const s = /^\d+$/.test(value.trim()) ? Number(value) : Math.ceil((Date.parse(value) - unix_ms) / 1000);
  return Number.isFinite(s) ? Math.max(0, s) : null;
}
