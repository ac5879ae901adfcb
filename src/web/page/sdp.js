// SDP fragments (RFC 8840 section 9), as WHEP uses them for trickle ICE. Pure.

const LINE = /\r?\n/;

/** What the candidates of an offer belong to: { ufrag, pwd, media, mid } of its first section, which carries the bundle. */
export function iceOf(sdp) {
  const first = (prefix) => sdp.split(LINE).find((l) => l.startsWith(prefix)) ?? null;
  const value = (name) => first(`a=${name}:`)?.slice(name.length + 3) ?? null;
  return { ufrag: value('ice-ufrag'), pwd: value('ice-pwd'), media: first('m='), mid: value('mid') ?? '0' };
}

/** The candidates in `sdp`, each as `candidate:...`. */
export function candidatesOf(sdp) {
  const values = sdp.split(LINE).filter((l) => l.startsWith('a=candidate:'));
  return [...new Set(values.map((l) => l.slice(2)))]; // all bundled sections may list them
}

/** A fragment with `candidates` (each `candidate:...`, or empty for the end) of the ICE session `ice`. */
export function fragment({ ufrag, pwd, media, mid }, candidates) {
  const lines = [`a=ice-ufrag:${ufrag}`, `a=ice-pwd:${pwd}`, media, `a=mid:${mid}`];
  for (const c of candidates) lines.push(c === '' ? 'a=end-of-candidates' : `a=${c}`);
  return `${lines.join('\r\n')}\r\n`;
}

/**
 * The answer to an ICE restart: the previous `answer`, with the credentials and candidates of the daemon's fragment. The media stay as
 * agreed, as a restart by fragment requires.
 */
export function restarted(answer, theirs) {
  const { ufrag, pwd } = iceOf(theirs);
  const candidates = candidatesOf(theirs).map((c) => `a=${c}`);
  const out = [];
  let sections = 0;
  const close = () => sections === 1 && out.push(...candidates, 'a=end-of-candidates');
  for (const line of answer.split(LINE).filter(Boolean)) {
    if (line.startsWith('m=')) {
      close();
      sections += 1;
    }
    if (line.startsWith('a=candidate:') || line === 'a=end-of-candidates') continue;
    if (line.startsWith('a=ice-ufrag:')) out.push(`a=ice-ufrag:${ufrag}`);
    else if (line.startsWith('a=ice-pwd:')) out.push(`a=ice-pwd:${pwd}`);
    else out.push(line);
  }
  close();
  return `${out.join('\r\n')}\r\n`;
}
