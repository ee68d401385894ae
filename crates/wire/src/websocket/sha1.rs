//! SHA-1 (RFC 3174), which the WebSocket handshake demands. It proves nothing to anybody: it tells
//! a server that speaks WebSocket from one that repeats what it was sent.

/// Bytes of a block.
const BLOCK: usize = 64;

/// The digest of short input; all of it is copied.
pub(super) fn digest(input: &[u8]) -> [u8; 20] {
    let mut padded = input.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).div_ceil(BLOCK) * BLOCK - 8, 0);
    padded.extend_from_slice(&(input.len() as u64 * 8).to_be_bytes());
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.as_chunks::<BLOCK>().0 {
        mix(&mut state, block);
    }
    let mut out = [0; 20];
    for (to, word) in out.as_chunks_mut().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    out
}

fn mix(state: &mut [u32; 5], block: &[u8; BLOCK]) {
    let mut words = [0; 80];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for at in 16..80 {
        words[at] =
            (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (round, word) in words.into_iter().enumerate() {
        let (chosen, constant) = match round {
            0..20 => ((b & c) | (!b & d), 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6u32),
        };
        let next = a
            .rotate_left(5)
            .wrapping_add(chosen)
            .wrapping_add(e)
            .wrapping_add(constant)
            .wrapping_add(word);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    for (word, more) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::digest;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (input, expected) in [
            ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
        ] {
            assert_eq!(hex(&digest(input.as_bytes())), expected);
        }
        let long = "0123456701234567012345670123456701234567012345670123456701234567".repeat(10);
        assert_eq!(hex(&digest(long.as_bytes())), "dea356a2cddd90c7a7ecedc5ebb563934f460452");
    }

    #[test]
    fn every_length_of_padding_is_padded_to_whole_blocks() {
        let digests: Vec<_> = (0..130).map(|length| digest(&vec![0; length])).collect();
        for (at, one) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(one), "{at}");
        }
    }
}
