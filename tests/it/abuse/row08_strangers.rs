//! Row 8: strangers who hold connections, or open them without pause, from one address or from thousands.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Flat, Scene, sockets};
use crate::flood::{Descriptors, claimed, connect_from};

const LOAD: Duration = Duration::from_secs(8);

#[test]
fn two_thousand_five_hundred_addresses_that_ask_three_times_a_second() {
    Scene::new().under("2,500 addresses at 3 requests a second", Flat::FromStart, |target| {
        let _room = Descriptors::room_for(2700);
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", target.web);
        let (start, mut asked, mut room) = (Instant::now(), 0, vec![0; 64 * 1024]);
        let mut open: Vec<Option<TcpStream>> = (0..2500).map(|_| None).collect();
        while start.elapsed() < LOAD {
            let round = Instant::now();
            for (n, slot) in open.iter_mut().enumerate() {
                if slot.is_none() {
                    *slot = connect_from(claimed(n as u32), target.web);
                }
                let Some(stream) = slot else { continue };
                let gone = loop {
                    match stream.read(&mut room) {
                        Ok(0) => break true,
                        Ok(_) => {}
                        Err(e) => break !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected),
                    }
                };
                if gone {
                    *slot = None;
                } else if stream.write(request.as_bytes()).is_ok() {
                    asked += 1;
                }
            }
            std::thread::sleep(Duration::from_millis(333).saturating_sub(round.elapsed()));
        }
        format!("{asked} requests in {LOAD:?}")
    });
}

#[test]
fn one_neighbour_that_connects_sixty_times_a_second() {
    let scene = Scene::new();
    scene.attacker.sh("for n in $(seq 256 275); do ip addr add fd00::$(printf %x $n)/64 dev eth0; done");
    for sources in [1u16, 20] {
        scene.under(
            &format!("60 connects a second from {sources} addresses of the home's /64"),
            Flat::FromStart,
            |target| {
                let web = SocketAddr::from((Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2), target.web.port()));
                let (start, mut open) = (Instant::now(), vec![]);
                for n in 0..(LOAD.as_secs() as u32 * 60) {
                    let from = 0x100 + u16::try_from(n % 20).expect("small") % sources;
                    open.extend(connect_from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, from), web));
                    std::thread::sleep(
                        (LOAD / (LOAD.as_secs() as u32 * 60) * n).saturating_sub(start.elapsed()),
                    );
                }
                // Somebody else in the same network, meanwhile.
                let mut stream =
                    sockets::connect(Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9).into()), web)
                        .expect("a neighbour connects");
                let request = format!("GET /healthz HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).expect("sent");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("answered");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                format!("{} connections", open.len())
            },
        );
    }
}

#[test]
fn silent_connections_to_the_media_port_keep_no_viewer_out() {
    let scene = Scene::new();
    for (what, sources) in [("one address", 1), ("300 addresses", 300)] {
        scene.under(
            &format!("400 silent connections to the media port from {what}"),
            Flat::FromStart,
            |target| {
                let _room = Descriptors::room_for(700);
                let media = SocketAddr::from(target.media);
                let open: Vec<_> =
                    (0..400).filter_map(|n| connect_from(claimed(n % sources), media)).collect();
                std::thread::sleep(Duration::from_millis(500));
                // A viewer has a moment for its first request, wherever it comes from.
                for from in [claimed(0), claimed(1000)] {
                    let mut stream = sockets::connect(Some(from.into()), media).expect("a connection");
                    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
                    let closed = match stream.read(&mut [0]) {
                        Ok(_) => true,
                        Err(e) => e.kind() != ErrorKind::WouldBlock,
                    };
                    assert!(!closed, "the connection from {from} was closed at once");
                }
                std::thread::sleep(LOAD / 2);
                format!("{} opened", open.len())
            },
        );
    }
}
