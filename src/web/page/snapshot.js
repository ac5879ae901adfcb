// A snapshot of an attempt to connect, from WebRTC statistics. Pure, and free of secrets: ICE user names, passwords, fingerprints and
// credentials of servers are not included.

/**
 * `report`: a `getStats()` result or `null`; `states`: { ice, gathering, connection, errors, leftOut } of the connection or
 * `null` (peer.js); `around`: what else the page knows, see page.js. The result is plain data, fit for JSON.
 */
export function snapshot(report, states, around) {
  const all = report ? [...report.values()] : [];
  const by = (id) => all.find((s) => s.id === id);
  const transport = all.find((s) => s.type === 'transport');
  const video = all.find((s) => s.type === 'inbound-rtp' && s.kind === 'video');
  const used = (pair) =>
    transport?.selectedCandidatePairId ? pair.id === transport.selectedCandidatePairId : pair.state === 'succeeded' && !!(pair.selected ?? pair.nominated);
  return {
    ...around,
    ice: states?.ice ?? null,
    gathering: states?.gathering ?? null,
    connection: states?.connection ?? null,
    errors: (states?.errors ?? []).map(({ url, code, text }) => ({ url, code, text })),
    left_out: states?.leftOut ?? [],
    dtls: transport?.dtlsState ?? null,
    local: all.filter((s) => s.type === 'local-candidate').map(end),
    remote: all.filter((s) => s.type === 'remote-candidate').map(end),
    pairs: all
      .filter((s) => s.type === 'candidate-pair')
      .map((pair) => ({
        local: end(by(pair.localCandidateId)),
        remote: end(by(pair.remoteCandidateId)),
        state: pair.state ?? null,
        used: used(pair),
        sent: pair.requestsSent ?? null,
        answered: pair.responsesReceived ?? null,
        heard: pair.requestsReceived ?? null,
        rtt_ms: pair.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
      })),
    packets: video?.packetsReceived ?? null,
    decoded: video?.framesDecoded ?? null,
    codec: (video && by(video.codecId)?.mimeType) ?? null,
  };
}

/** One end of a candidate pair. */
function end(candidate) {
  if (!candidate) return { kind: null, protocol: null, address: null, port: null };
  return {
    kind: candidate.candidateType ?? null,
    protocol: candidate.protocol?.toLowerCase() ?? null,
    address: candidate.address || candidate.ip || null,
    port: candidate.port ?? null,
    ...(candidate.relayProtocol && { relayProtocol: candidate.relayProtocol }),
    ...(candidate.tcpType && { tcpType: candidate.tcpType }),
    ...(candidate.url && { url: candidate.url }),
  };
}
