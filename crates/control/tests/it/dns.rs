//! A name server that says what the test wants: one name, A and AAAA, over UDP.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// These addresses with this TTL (s).
    Addresses(Vec<IpAddr>, u32),
    /// SERVFAIL (RFC 1035 section 4.1.1, RCODE 2).
    ServerFailure,
    /// Nothing at all.
    Nothing,
}

impl Says {
    pub(crate) fn addresses(texts: &[&str], ttl: u32) -> Self {
        Self::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect(), ttl)
    }
}

/// The name server. Its thread lives as long as the test.
#[derive(Debug)]
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    says: Arc<Mutex<Says>>,
}

impl Dns {
    pub(crate) fn start(says: Says) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says));
        let shared = Arc::clone(&says);
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let says = shared.lock().unwrap().clone();
                if let Some(answer) = answer(&packet[..length], &says) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, says }
    }

    pub(crate) fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

/// The answer to a query with one question (RFC 1035 section 4).
fn answer(query: &[u8], says: &Says) -> Option<Vec<u8>> {
    // Behind the header of 12 bytes: labels up to an empty one, then type and class.
    let name = query.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(12..12 + name + 4)?;
    let kind = u16::from_be_bytes([question[name], question[name + 1]]);
    let (code, records) = match says {
        Says::Nothing => return None,
        Says::ServerFailure => (2, Vec::new()),
        Says::Addresses(addresses, ttl) => {
            let wanted = addresses.iter().filter(|ip| kind == if ip.is_ipv4() { 1 } else { 28 });
            (0, wanted.map(|ip| (*ip, *ttl)).collect())
        }
    };
    let mut out = query.get(..2)?.to_vec();
    // A response, recursion wanted and available.
    out.extend_from_slice(&[0x81, 0x80 | code, 0, 1]);
    out.extend_from_slice(&(records.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(question);
    for (ip, ttl) in records {
        let data = match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        // The name stands at offset 12.
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}
