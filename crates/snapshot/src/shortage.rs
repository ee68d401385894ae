//! Whose matter a connection is that could not be opened: the endpoint's, or a shortage of our own.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;

use crate::Reason;

/// Why no connection was opened. `to`: where it would have led, unless to a Unix socket.
pub fn unconnected(error: &io::Error, to: Option<SocketAddr>) -> Reason {
    match Errno::from_io_error(error) {
        // NOSPC: as many sockets are watched (epoll) as the user may.
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC) => {
            Reason::NoSocket
        }
        Some(Errno::ADDRNOTAVAIL) if to.is_some_and(has_source) => Reason::NoPort,
        _ => Reason::ConnectFailed,
    }
}

/// Is there an address of ours from which this one can be called? Where there is none (IPv6 that is
/// switched off), connecting ends with the same error as without a free port, but for as long as the
/// endpoint is configured. Nothing is sent, and the ports of UDP are others.
fn has_source(to: SocketAddr) -> bool {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any).and_then(|socket| socket.connect(to)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(errno: Errno, to: Option<SocketAddr>) -> Reason {
        unconnected(&errno.into(), to)
    }

    #[test]
    fn what_the_system_lacks_is_not_the_endpoints_matter() {
        let local = Some((Ipv4Addr::LOCALHOST, 9).into());
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(reason(errno, local), Reason::NoSocket, "{errno}");
            assert_eq!(reason(errno, None), Reason::NoSocket, "{errno}");
        }
        assert_eq!(reason(Errno::ADDRNOTAVAIL, local), Reason::NoPort);
    }

    #[test]
    fn what_the_endpoint_or_the_way_to_it_refuses_is() {
        let local = Some((Ipv4Addr::LOCALHOST, 9).into());
        for errno in [Errno::CONNREFUSED, Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::AGAIN] {
            assert_eq!(reason(errno, local), Reason::ConnectFailed, "{errno}");
        }
        let text = io::Error::other("no error of the system");
        assert_eq!(unconnected(&text, local), Reason::ConnectFailed);
    }

    #[test]
    fn an_address_that_cannot_be_called_from_here_is_no_want_of_ports() {
        // Link-local, and of no link.
        let to = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 9).into();
        assert_eq!(reason(Errno::ADDRNOTAVAIL, Some(to)), Reason::ConnectFailed);
    }
}
