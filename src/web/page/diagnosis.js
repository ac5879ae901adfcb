// Why it does not connect: from a snapshot (snapshot.js) to sentences, a table and a report to copy. Pure.

import { duration, ms } from './words.js';

/** Clocks that differ by more than this deserve a word: certificates and links end by them. */
const CLOCK_S = 120;

/**
 * Answers { sentences: [text], pairs: [{ from, to, how, fate }], facts: [[name, value]] }. The first sentence says what
 * is wrong, the last what to do.
 */
export function diagnose(seen) {
  return { sentences: sentences(seen), pairs: seen.pairs.map(row), facts: facts(seen) };
}

/** All of it as text, for a mail or an issue. */
export function reportText(seen) {
  const { sentences: said, pairs, facts: rows } = diagnose(seen);
  const lines = ['peercam: why it does not connect', '', ...said.map((s) => `- ${s}`), '', 'Tried:'];
  lines.push(...(pairs.length ? pairs.map((p) => `  ${p.from} -> ${p.to}, ${p.how}: ${p.fate}`) : ['  nothing']), '');
  lines.push(...rows.map(([name, value]) => `${name}: ${value}`));
  return `${lines.join('\n')}\n`;
}

function sentences(seen) {
  if (seen.h264 === false) {
    return ['This browser cannot decode H.264, and the picture comes as nothing else.', 'Use another browser; in Firefox switch the OpenH264 plug-in on.'];
  }
  if (!seen.answered) return ['The device has not answered yet: nothing could be tried.', ...told(seen), ...clock(seen)];
  const used = seen.pairs.find((p) => p.used);
  if (used) return [...connected(seen, used), ...told(seen), ...clock(seen)];
  return [...unreached(seen), ...told(seen), ...clock(seen)];
}

/** Why the device ended the attempt before: it sees the other side. */
function told(seen) {
  return seen.told ? [`The device says of the attempt before: ${seen.told}.`] : [];
}

/** A path was found, and yet there is no picture. */
function connected(seen, used) {
  const path = `${how(used)} to ${place(used.remote, false)}`;
  if (seen.dtls !== null && seen.dtls !== 'connected') {
    const what = seen.dtls === 'failed' ? 'failed' : 'does not finish';
    return [
      `The device answers (${path}), but the encryption handshake (DTLS) over it ${what}.`,
      'Small packets pass and larger ones are lost: a VPN or tunnel with too large an MTU does that. Try without it, or lower its MTU.',
    ];
  }
  const said = [];
  if (seen.packets === 0) said.push(`The path works (${path}), but no packet of the picture has come over it.`);
  else if (seen.decoded === 0) said.push(`Packets of the picture come (${path}), but none could be decoded yet.`);
  else said.push(`The path works: ${path}.`);
  const silent = silentPorts(seen.pairs.filter((p) => !p.used), 'udp');
  if (protocol(used) === 'tcp' && silent.length) {
    said.push(`${cap(list(silent))} never answered, so the picture comes by TCP: it may stall where packets are lost.`);
  }
  return said;
}

/** No path was found. */
function unreached(seen) {
  if (seen.remote.length === 0) {
    return ['The device named no address for picture and sound.', 'Look at interfaces and exclude_interfaces under [ice] in device.toml, and run peercam doctor on the device.'];
  }
  if (seen.pairs.length === 0) {
    return [
      `Nothing could be tried: this browser has no network that leads to ${list(seen.remote.map((r) => place(r)))}.`,
      'The browser may forbid WebRTC (a setting, an extension, a company\'s policy), or have IPv4 where the device has only IPv6, or the other way round.',
    ];
  }
  const said = [];
  const tried = seen.pairs.filter((p) => fate(p) !== NOT_TRIED);
  const heard = tried.filter((p) => p.heard > 0 && !p.answered);
  const answered = tried.filter((p) => p.answered > 0);
  const [udp, tcp] = ['udp', 'tcp'].map((kind) => silentPorts(tried, kind));
  if (answered.length) {
    said.push(`${cap(place(answered[0].remote))} answers, but the path is not agreed upon yet: the answers may come too late or only now and then.`);
  } else if (udp.length && tcp.length) {
    said.push(`Neither ${list(udp)} nor ${list(tcp)} answers.`);
  } else if (udp.length || tcp.length) {
    said.push(`${cap(list(udp.length ? udp : tcp))} never answered.`);
    if (udp.length && seen.tcp === false) said.push('TCP was not tried, because it is off on the device (tcp under [ice] in device.toml).');
    else if (udp.length) said.push('TCP was not tried: the device offered none that this browser could use.');
  } else {
    said.push('The attempts have only just begun.');
  }
  if (heard.length) said.push("The device's packets reach this browser, but this browser's do not reach the device: the block is on the way there.");
  said.push(...servers(seen), ...hidden(seen));
  if (!answered.length) said.push(advice(seen));
  return said;
}

/** What to do when nothing answers. */
function advice(seen) {
  const port = seen.media_port ? `port ${seen.media_port}` : 'the ports above';
  const addresses = seen.remote.filter((r) => r.kind !== 'relay').map((r) => r.address).filter(Boolean);
  if (addresses.length && addresses.every(local) && !near(seen.host)) {
    return (
      `The device named only addresses of its own network (${list([...new Set(addresses)])}), which nobody outside reaches. ` +
      `Forward ${port} (UDP and TCP) to it and set public_addresses under [ice] in device.toml, or use a TURN server or a VPN.`
    );
  }
  const kinds = seen.tcp === false ? 'UDP' : 'UDP and TCP';
  return `A firewall on the device, in this network or in between closes it: open ${port} (${kinds}) towards the device, or use a TURN server. On the device, peercam doctor looks from the other side.`;
}

/** STUN and TURN servers that failed. */
function servers(seen) {
  const urls = [...new Set(seen.errors.map((e) => e.url).filter(Boolean))];
  return urls.map((url) => {
    const { code, text } = seen.errors.find((e) => e.url === url);
    return `The server ${url} did not help: ${code === 401 ? 'it refused user name and password' : code === 701 ? 'it was not reached' : `${text || 'error'} (${code})`}.`;
  });
}

/** Names in place of addresses are no fault, but whoever looks at the table should know. */
function hidden(seen) {
  const hosts = seen.local.filter((c) => c.kind === 'host');
  const only = hosts.length > 0 && hosts.every((c) => !c.address || c.address.endsWith('.local'));
  return only ? ['This browser hides its own addresses (mDNS names). That alone is no hindrance: the device learns them from its packets.'] : [];
}

function clock(seen) {
  if (seen.clock_off_s === null || seen.clock_off_s === undefined || Math.abs(seen.clock_off_s) < CLOCK_S) return [];
  const side = seen.clock_off_s > 0 ? 'ahead of' : 'behind';
  return [`The device's clock is ${duration(Math.abs(seen.clock_off_s))} ${side} this browser's; certificates and links go by it.`];
}

// ---- the table ----

const NOT_TRIED = 'not tried yet';

/** What became of a pair. */
export function fate(pair) {
  if (pair.used) return 'in use';
  if (pair.answered > 0 || pair.state === 'succeeded') return 'answered, but not chosen';
  if (pair.sent > 0 || pair.state === 'failed') return 'never answered';
  if (pair.state === 'cancelled') return 'dropped for another';
  if (pair.state === 'in-progress' || pair.state === 'inprogress') return pair.sent === 0 ? 'not even sent' : 'no answer yet';
  return NOT_TRIED;
}

function row(pair) {
  const rtt = pair.rtt_ms === null ? '' : `, ${ms(pair.rtt_ms)}`;
  const asked = pair.sent === null ? '' : ` (${pair.answered ?? 0} of ${pair.sent} checks answered${rtt})`;
  return { from: from(pair.local), to: place(pair.remote, false), how: how(pair), fate: `${fate(pair)}${asked}` };
}

/** An end of ours: where the browser hides its address, that is said. */
function from({ kind, address, port }) {
  if (!address) return kind === 'prflx' ? 'an address it learned' : 'a hidden address';
  if (address.endsWith('.local')) return 'a hidden address (mDNS)';
  return `${bracket(address)}${port ? `:${port}` : ''}`;
}

function place({ protocol: kind, address, port }, withKind = true) {
  if (!address) return withKind ? 'an address of the device that the browser hides' : 'a hidden address';
  return withKind ? `${(kind ?? 'udp').toUpperCase()} port ${port} of ${address}` : `${bracket(address)}:${port}`;
}

function protocol(pair) {
  return pair.local.protocol ?? pair.remote.protocol ?? 'udp';
}

/** "UDP", "TCP", "UDP through a relay (reached by TLS)" */
function how(pair) {
  const name = protocol(pair).toUpperCase();
  if (pair.local.kind !== 'relay' && pair.remote.kind !== 'relay') return name;
  const by = pair.local.relayProtocol;
  return `${name} through a relay${by ? ` (reached by ${by.toUpperCase()})` : ''}`;
}

/** Ports of the device, of one protocol, that were asked and never answered: "UDP port 8189 of 192.0.2.1 and ::1". */
function silentPorts(pairs, kind) {
  const asked = pairs.filter((p) => protocol(p) === kind && p.remote.address);
  const name = ({ remote }) => `${remote.address} ${remote.port}`;
  const heard = asked.filter((p) => p.used || p.answered > 0).map(name);
  const silent = asked.filter((p) => ['never answered', 'no answer yet'].includes(fate(p)) && !heard.includes(name(p)));
  const ports = [...new Set(silent.map((p) => p.remote.port))];
  return ports.map((port) => {
    // In one order, whatever order the browser has: the sentence is read out whenever it changes.
    const addresses = silent.filter((p) => p.remote.port === port).map((p) => p.remote.address).sort();
    return `${kind.toUpperCase()} port ${port} of ${list(addresses)}`;
  });
}

// ---- facts ----

function facts(seen) {
  const rows = [
    ['Time', seen.at],
    ['Waited', seen.waited_s === null ? null : duration(seen.waited_s)],
    ['Browser', seen.browser],
    ['Page', seen.page],
    ['Signaling', seen.signaling],
    ['Media port of the device', seen.media_port && `${seen.media_port}, UDP${seen.tcp ? ' and TCP' : ''}`],
    ['Connection', [seen.connection, seen.ice && `ICE ${seen.ice}`, seen.gathering && `gathering ${seen.gathering}`].filter(Boolean).join(', ')],
    ['The device said', seen.told],
    ['DTLS', seen.dtls ?? (seen.answered ? 'not told by this browser' : 'not begun')],
    ['Own addresses', list(seen.local.map((c) => `${from(c)} ${c.protocol ?? ''} ${c.kind ?? ''}`.trim()))],
    ['Addresses of the device', list(seen.remote.map((c) => `${place(c, false)} ${c.protocol ?? ''} ${c.kind ?? ''}`.trim()))],
    ['Servers', list(seen.servers ?? [])],
    ['Picture', [seen.codec, seen.packets !== null && `${seen.packets} packets`, seen.decoded !== null && `${seen.decoded} decoded`].filter(Boolean).join(', ')],
    ['Header extensions left out', list(seen.left_out ?? [])],
    ['H.264 in this browser', seen.h264 === null ? 'not told' : seen.h264 ? 'yes' : 'no'],
    ['Clocks', seen.clock_off_s === null || seen.clock_off_s === undefined ? null : `${seen.clock_off_s.toFixed(1)} s apart`],
    ['Version of the device', seen.version],
  ];
  return rows.filter(([, value]) => value);
}

// ---- words ----

function list(items) {
  const all = [...new Set(items)];
  return all.length < 2 ? (all[0] ?? '') : `${all.slice(0, -1).join(', ')} and ${all.at(-1)}`;
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

/** Whether the page was reached by a name or address that is of the same network. */
function near(host) {
  const bare = (host ?? '').replace(/^\[|\]$/g, '');
  return bare === 'localhost' || local(bare) || !/[.:]/.test(bare);
}
