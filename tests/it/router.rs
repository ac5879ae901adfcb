//! The virtual board as a router between a camera and its viewer: its kernel delays, loses and throttles what passes
//! (netem), like Wi-Fi at its edge.

use crate::board::{self, Board};
use crate::lab::{Host, Switch};

/// Two hosts in two networks, and the board between them.
pub(crate) struct Router {
    board: Board,
    pub camera: Host,
    pub viewer: Host,
    _link: Switch,
}

impl Router {
    /// The camera's address.
    pub(crate) const CAMERA: &str = "10.1.0.2";

    /// Boots the router, which passes everything on.
    pub(crate) fn boot() -> Self {
        let (camera, viewer, link) = (Host::new("camera"), Host::new("viewer"), Switch::new());
        link.plug((&camera, "eth0", &format!("{}/24", Self::CAMERA)));
        link.plug((&viewer, "eth0", "10.2.0.2/24"));
        camera.gateway("10.1.0.1");
        viewer.gateway("10.2.0.1");
        let mut board = link.host().inside(|| Board::boot("sch_netem"));
        link.adopt(board::TAP);
        // Both networks are on its only wire, so it must not send redirects.
        board.run(
            "ip addr flush dev eth0; ip addr add 10.1.0.1/24 dev eth0; ip addr add 10.2.0.1/24 dev eth0
            for n in all eth0; do echo 0 > /proc/sys/net/ipv4/conf/$n/send_redirects; done
            echo 1 > /proc/sys/net/ipv4/ip_forward",
        );
        Self { board, camera, viewer, _link: link }
    }

    /// Passes packets of both directions on like this, in the words of tc-netem(8). What waits stays.
    pub(crate) fn becomes(&mut self, netem: &str) {
        self.board.run(&format!("tc qdisc replace dev eth0 root netem {netem}"));
    }
}
