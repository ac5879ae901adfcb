// Figures from WebRTC statistics: differences between two reports, and facts about the selected path. Pure.

import { t } from './language.js';

/** The video statistics in `report` for the track with that id, or `null`. If a browser does not give the track, the first ones. */
export function videoOf(report, track) {
  const all = [...report.values()].filter((s) => s.type === 'inbound-rtp' && s.kind === 'video');
  return all.find((s) => s.trackIdentifier === track) ?? all.find((s) => s.trackIdentifier === undefined) ?? null;
}

/**
 * The figures in `report` (a `getStats()` result) for the video track, compared with `before`, an earlier result of this function
 * or `null`. Values that the browser does not report are `null`.
 */
export function figures(report, track, before) {
  const all = [...report.values()];
  const video = videoOf(report, track);
  const audio = all.find((s) => s.type === 'inbound-rtp' && s.kind === 'audio') ?? null;
  const path = selectedPair(all, report);
  const previous = before?.video?.id === video?.id ? before : null;
  return {
    video,
    audio,
    at_ms: video?.timestamp ?? audio?.timestamp ?? null,
    decoded: video?.framesDecoded ?? null,
    dropped: video?.framesDropped ?? null,
    decoded_fps: rate(video, previous?.video, 'framesDecoded'),
    video_bps: bits(video, previous?.video),
    audio_bps: bits(audio, previous?.audio),
    lost_share: lostShare(video, previous?.video),
    rtt_ms: path?.currentRoundTripTime === undefined ? null : path.currentRoundTripTime * 1000,
    path: path && pathName(path, report),
    codec: codecName(video, report),
    decoder: video?.decoderImplementation ?? null,
    held_ms: mean(video, previous?.video, 'jitterBufferDelay'),
    playout_unix_ms: unixOfNtp(video?.estimatedPlayoutTimestamp),
    sound_behind_ms: behind(video, audio),
  };
}

/** How much earlier the sound that plays now was captured than the picture shown now, as the browser estimates it. */
function behind(video, audio) {
  const [picture, sound] = [video, audio].map((s) => unixOfNtp(s?.estimatedPlayoutTimestamp));
  return picture === null || sound === null ? null : picture - sound;
}

/** Mean delay per frame between two reports, in ms, from a cumulative sum. */
function mean(now, before, key) {
  const frames = difference(now, before, 'jitterBufferEmittedCount');
  const sum = difference(now, before, key);
  return frames > 0 && sum !== null ? (sum / frames) * 1000 : null;
}

function difference(now, before, key) {
  if (!now || !before || now[key] === undefined || before[key] === undefined) return null;
  return now[key] - before[key];
}

function rate(now, before, key) {
  const grown = difference(now, before, key);
  const ms = difference(now, before, 'timestamp');
  return grown === null || !(ms > 0) ? null : (grown * 1000) / ms;
}

function bits(now, before) {
  const bytes = rate(now, before, 'bytesReceived');
  return bytes === null ? null : bytes * 8;
}

/** Fraction of the packets since `before` that never arrived, 0 to 1. */
function lostShare(now, before) {
  const lost = difference(now, before, 'packetsLost');
  const came = difference(now, before, 'packetsReceived');
  if (lost === null || came === null || came + lost <= 0) return null;
  return Math.max(0, lost) / (came + lost);
}

function selectedPair(all, report) {
  const transport = all.find((s) => s.type === 'transport' && s.selectedCandidatePairId);
  if (transport) return report.get(transport.selectedCandidatePairId) ?? null;
  return all.find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded') ?? null;
}

/** "UDP, direct" or "UDP through a relay" */
function pathName(pair, report) {
  const local = report.get(pair.localCandidateId);
  const remote = report.get(pair.remoteCandidateId);
  if (!local) return null;
  const relayed = local.candidateType === 'relay' || remote?.candidateType === 'relay';
  return `${(local.protocol ?? 'udp').toUpperCase()}, ${relayed ? t('through a relay') : t('direct')}`;
}

function codecName(video, report) {
  const codec = video?.codecId && report.get(video.codecId);
  if (!codec) return null;
  const profile = /profile-level-id=([0-9a-f]{6})/i.exec(codec.sdpFmtpLine ?? '')?.[1];
  const name = codec.mimeType.replace(/^video\//i, '');
  return profile ? `${name} ${profile}` : name;
}

/** Seconds from 1900 (NTP) to 1970 (Unix). */
const NTP_TO_UNIX_MS = 2_208_988_800_000;

/** The specification counts from 1900; some browsers count from 1970. */
function unixOfNtp(ms) {
  if (!(ms > 0)) return null;
  return ms > NTP_TO_UNIX_MS ? ms - NTP_TO_UNIX_MS : ms;
}
