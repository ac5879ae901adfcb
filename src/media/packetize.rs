//! H.264 access units to RTP payloads (RFC 6184, packetization-mode 1).
