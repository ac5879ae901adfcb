// Why it does not connect: from a snapshot (snapshot.js) to sentences, a table and a report to copy. Pure.

import { english, inEnglish, number, t, told } from './language.js';
import { duration, ms } from './words.js';

/** A clock difference above this, seconds, is reported: the expiry of certificates and links depends on the clocks. */
const CLOCK_S = 120;

/**
 * Returns { sentences: [text], pairs: [{ from, to, how, fate }], facts: [[name, value]] }. The first sentence says what
 * is wrong, the last what to do.
 */
export function diagnose(seen) {
  return { sentences: sentences(seen), pairs: seen.pairs.map(row), facts: facts(seen) };
}

/** The whole report as text for a mail or an issue, and therefore always in English. */
export function reportText(seen) {
  const { sentences: said, pairs, facts: rows } = inEnglish(() => diagnose(seen));
  const lines = ['peercam: why it does not connect', '', ...said.map((s) => `- ${s}`), '', 'Tried:'];
  lines.push(...(pairs.length ? pairs.map((p) => `  ${p.from} -> ${p.to}, ${p.how}: ${p.fate}`) : ['  nothing']), '');
  lines.push(...rows.map(([name, value]) => `${name}: ${value}`));
  return `${lines.join('\n')}\n`;
}

function sentences(seen) {
  if (seen.h264 === false) {
    return [
      t('This browser cannot decode H.264, the only video format that the device sends.'),
      t('Use another browser, or switch on the OpenH264 plug-in in Firefox.'),
    ];
  }
  if (!seen.answered) return [t('The device has not answered yet, so no connection could be tried.'), ...parting(seen), ...clock(seen)];
  const used = seen.pairs.find((p) => p.used);
  if (used) return [...connected(seen, used), ...parting(seen), ...clock(seen)];
  return [...unreached(seen), ...parting(seen), ...clock(seen)];
}

/** Why the device ended the previous attempt: it sees the other side. */
function parting(seen) {
  return seen.told ? [t('About the previous attempt the device says: {why}.', { why: told(seen.told) })] : [];
}

/** A path was found, but there is no picture. */
function connected(seen, used) {
  const path = t('{how} to {place}', { how: how(used), place: place(used.remote, false) });
  if (seen.dtls !== null && seen.dtls !== 'connected') {
    return [
      seen.dtls === 'failed'
        ? t('The device answers ({path}), but the encryption handshake (DTLS) over it failed.', { path })
        : t('The device answers ({path}), but the encryption handshake (DTLS) over it does not finish.', { path }),
      t('Small packets get through and larger ones are lost. The usual cause is a VPN or tunnel with too large an MTU: try without it, or lower its MTU.'),
    ];
  }
  const said = [];
  if (seen.packets === 0) said.push(t('The path works ({path}), but no video packet has arrived over it.', { path }));
  else if (seen.decoded === 0) said.push(t('Video packets arrive ({path}), but none could be decoded yet.', { path }));
  else said.push(t('The path works: {path}.', { path }));
  const silent = silentPorts(seen.pairs.filter((p) => !p.used), 'udp');
  if (protocol(used) === 'tcp' && silent.length) {
    said.push(cap(t('{ports} never answered, so the picture comes over TCP, where it may stall when packets are lost.', { ports: list(silent) })));
  }
  return said;
}

/** No path was found. */
function unreached(seen) {
  if (seen.remote.length === 0) {
    return [
      t('The device offered no address for picture and sound.'),
      t('Check interfaces and exclude_interfaces under [ice] in device.toml, and run peercam doctor on the device.'),
    ];
  }
  if (seen.pairs.length === 0) {
    return [
      t('No connection could be tried: this browser has no network route to {places}.', { places: list(seen.remote.map((r) => place(r))) }),
      t("The browser may forbid WebRTC (a setting, an extension, a company's policy), or one of browser and device has only IPv4 and the other only IPv6."),
    ];
  }
  const said = [];
  const tried = seen.pairs.filter((p) => fate(p) !== NOT_TRIED);
  const heard = tried.filter((p) => p.heard > 0 && !p.answered);
  const answered = tried.filter((p) => p.answered > 0);
  const [udp, tcp] = ['udp', 'tcp'].map((kind) => silentPorts(tried, kind));
  if (answered.length) {
    const at = place(answered[0].remote);
    said.push(cap(t('{place} answers, but the path is not in use yet: its answers may arrive too late, or only some of them arrive.', { place: at })));
  } else if (udp.length && tcp.length) {
    said.push(t('Neither {udp} nor {tcp} answers.', { udp: list(udp), tcp: list(tcp) }));
  } else if (udp.length || tcp.length) {
    said.push(cap(t('{ports} never answered.', { ports: list(udp.length ? udp : tcp) })));
    if (udp.length && seen.tcp === false) said.push(t('TCP was not tried, because it is off on the device (tcp under [ice] in device.toml).'));
    else if (udp.length) said.push(t('TCP was not tried: the device offered none that this browser could use.'));
  } else {
    said.push(t('The attempt has only just begun.'));
  }
  if (heard.length) said.push(t("The device's packets reach this browser, but this browser's do not reach the device: something on the way to the device blocks them."));
  said.push(...servers(seen), ...hidden(seen));
  if (!answered.length) said.push(advice(seen));
  return said;
}

/** What to do when nothing answers. */
function advice(seen) {
  const port = seen.media_port ? t('port {port}', { port: seen.media_port }) : t('the ports above');
  const addresses = seen.remote.filter((r) => r.kind !== 'relay').map((r) => r.address).filter(Boolean);
  if (addresses.length && addresses.every(local) && !near(seen.host)) {
    return [
      t('The device offered only addresses of its own network ({addresses}), which cannot be reached from outside.', { addresses: list(addresses) }),
      t('Forward {port} (UDP and TCP) to the device and set public_addresses under [ice] in device.toml, or use a TURN server or a VPN.', { port }),
    ].join(' ');
  }
  const kinds = seen.tcp === false ? 'UDP' : t('UDP and TCP');
  return [
    t('A firewall on the device, in this network or in between blocks the connection: open {port} ({kinds}) towards the device, or use a TURN server.', { port, kinds }),
    t('Run peercam doctor on the device to check from the other side.'),
  ].join(' ');
}

/** STUN and TURN servers that failed. */
function servers(seen) {
  const urls = [...new Set(seen.errors.map((e) => e.url).filter(Boolean))];
  return urls.map((url) => {
    const { code, text } = seen.errors.find((e) => e.url === url);
    if (code === 401) return t('The server {url} could not be used: it rejected the user name and password.', { url });
    if (code === 701) return t('The server {url} could not be used: it was not reached.', { url });
    return t('The server {url} could not be used: {text} ({code}).', { url, text: text || t('error'), code });
  });
}

/** Names in place of addresses are not an error, but the reader of the table should know about them. */
function hidden(seen) {
  const hosts = seen.local.filter((c) => c.kind === 'host');
  const only = hosts.length > 0 && hosts.every((c) => !c.address || c.address.endsWith('.local'));
  return only ? [t('This browser hides its own addresses (mDNS names). That alone is no problem: the device learns them from the packets.')] : [];
}

function clock(seen) {
  if (seen.clock_off_s === null || seen.clock_off_s === undefined || Math.abs(seen.clock_off_s) < CLOCK_S) return [];
  const time = duration(Math.abs(seen.clock_off_s));
  if (seen.clock_off_s > 0) return [t("The device's clock is {time} ahead of this browser's; certificates and links depend on it.", { time })];
  return [t("The device's clock is {time} behind this browser's; certificates and links depend on it.", { time })];
}

// ---- the table ----

const NOT_TRIED = english('not tried yet');
const NO_ANSWER = english('no answer yet');
const NEVER = english('never answered');

/** The result of a candidate pair, in English. */
export function fate(pair) {
  if (pair.used) return english('in use');
  if (pair.answered > 0 || pair.state === 'succeeded') return english('answered, but not chosen');
  if (pair.sent > 0 || pair.state === 'failed') return NEVER;
  if (pair.state === 'cancelled') return english('given up for another');
  if (pair.state === 'in-progress' || pair.state === 'inprogress') return pair.sent === 0 ? english('not sent') : NO_ANSWER;
  return NOT_TRIED;
}

function row(pair) {
  return { from: from(pair.local), to: place(pair.remote, false), how: how(pair), fate: fateWords(pair) };
}

function fateWords(pair) {
  const became = t(fate(pair));
  const { answered, sent, rtt_ms } = pair;
  if (sent === null) return became;
  const counted = { fate: became, answered: answered ?? 0, sent };
  if (rtt_ms === null) return t('{fate} ({answered} of {sent} checks answered)', counted);
  return t('{fate} ({answered} of {sent} checks answered, {rtt})', { ...counted, rtt: ms(rtt_ms) });
}

/** The local end of a pair; says so if the browser hides its address. */
function from({ kind, address, port }) {
  if (!address) return kind === 'prflx' ? t('a learned address') : t('a hidden address');
  if (address.endsWith('.local')) return t('a hidden address (mDNS)');
  return `${bracket(address)}${port ? `:${port}` : ''}`;
}

function place({ protocol: kind, address, port }, withKind = true) {
  if (!address) return withKind ? t('an address of the device that the browser hides') : t('a hidden address');
  return withKind ? portOf(kind ?? 'udp', port, address) : `${bracket(address)}:${port}`;
}

function portOf(kind, port, address) {
  return t('{protocol} port {port} of {address}', { protocol: kind.toUpperCase(), port, address });
}

function protocol(pair) {
  return pair.local.protocol ?? pair.remote.protocol ?? 'udp';
}

/** "UDP", "TCP", "UDP through a relay (reached by TLS)" */
function how(pair) {
  const name = protocol(pair).toUpperCase();
  if (pair.local.kind !== 'relay' && pair.remote.kind !== 'relay') return name;
  const by = pair.local.relayProtocol;
  if (!by) return t('{protocol} through a relay', { protocol: name });
  return t('{protocol} through a relay (reached by {by})', { protocol: name, by: by.toUpperCase() });
}

/** Ports of the device, for one protocol, that were tried and never answered: "UDP port 8189 of 192.0.2.1 and ::1". */
function silentPorts(pairs, kind) {
  const asked = pairs.filter((p) => protocol(p) === kind && p.remote.address);
  const name = ({ remote }) => `${remote.address} ${remote.port}`;
  const heard = asked.filter((p) => p.used || p.answered > 0).map(name);
  const silent = asked.filter((p) => [NEVER, NO_ANSWER].includes(fate(p)) && !heard.includes(name(p)));
  const ports = [...new Set(silent.map((p) => p.remote.port))];
  return ports.map((port) => {
    // Always in the same order: a screen reader reads the sentence again whenever it changes.
    const addresses = silent.filter((p) => p.remote.port === port).map((p) => p.remote.address).sort();
    return portOf(kind, port, list(addresses));
  });
}

// ---- facts; the browsers' own names of states are not translated ----

function facts(seen) {
  const rows = [
    [t('Time'), seen.at],
    [t('Waited'), seen.waited_s === null ? null : duration(seen.waited_s)],
    [t('Browser'), seen.browser],
    [t('Page'), seen.page],
    [t('Signaling'), seen.signaling],
    [t('Media port of the device'), seen.media_port && `${seen.media_port}, ${seen.tcp ? t('UDP and TCP') : 'UDP'}`],
    [t('Connection'), [seen.connection, seen.ice && `ICE ${seen.ice}`, seen.gathering && `gathering ${seen.gathering}`].filter(Boolean).join(', ')],
    [t('The device said'), told(seen.told)],
    ['DTLS', seen.dtls ?? (seen.answered ? t('not reported by this browser') : t('not started'))],
    [t('Own addresses'), list(seen.local.map((c) => `${from(c)} ${c.protocol ?? ''} ${c.kind ?? ''}`.trim()))],
    [t('Addresses of the device'), list(seen.remote.map((c) => `${place(c, false)} ${c.protocol ?? ''} ${c.kind ?? ''}`.trim()))],
    [t('Servers'), list(seen.servers ?? [])],
    [t('Picture'), pictures(seen)],
    [t('Header extensions omitted'), list(seen.left_out ?? [])],
    [t('H.264 in this browser'), seen.h264 === null ? t('not reported') : seen.h264 ? t('yes') : t('no')],
    [t('Clocks'), seen.clock_off_s === null || seen.clock_off_s === undefined ? null : t('{s} s apart', { s: number(seen.clock_off_s, 1) })],
    [t('Version of the device'), seen.version],
  ];
  return rows.filter(([, value]) => value);
}

function pictures({ codec, packets, decoded }) {
  const came = packets !== null && t('{count} packets', { count: packets });
  return [codec, came, decoded !== null && t('{count} decoded', { count: decoded })].filter(Boolean).join(', ');
}

// ---- words ----

function list(items) {
  const all = [...new Set(items)];
  return all.length < 2 ? (all[0] ?? '') : t('{some} and {last}', { some: all.slice(0, -1).join(', '), last: all.at(-1) });
}

function cap(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function bracket(address) {
  return address.includes(':') ? `[${address}]` : address;
}

/** Whether an address means something only inside one network (RFC 1918, 3927, 4193, 4291; loopback). */
export function local(address) {
  return (
    /^(10|127)\.|^192\.168\.|^169\.254\.|^172\.(1[6-9]|2\d|3[01])\./.test(address) ||
    /^(::1$|f[cd]|fe[89ab])/i.test(address) ||
    address.endsWith('.local')
  );
}

/** Whether the page was reached by a name or address of the local network. */
function near(host) {
  const bare = (host ?? '').replace(/^\[|\]$/g, '');
  return bare === 'localhost' || local(bare) || !/[.:]/.test(bare);
}
