//! A fast 64-bit hash of a request body: identifiers derive from it, so that the same input gives the same bytes.

/// Odd constant with well mixed bits (the golden ratio in 64 bits).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of `bytes`. Not for secrets: collisions can be made.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut state = MULTIPLIER ^ bytes.len() as u64;
    // Eight bytes a round: a byte-wise hash would cost more than the rest of a small request.
    for group in bytes.chunks(8) {
        let mut word = [0_u8; 8];
        word[..group.len()].copy_from_slice(group);
        state = mix(state, u64::from_le_bytes(word));
    }
    mix(state, 0)
}

/// A hash derived from `seed` and `salt`: the id of the `salt`-th part of a thing.
pub(crate) fn mix(seed: u64, salt: u64) -> u64 {
    let folded = u128::from(seed ^ salt.wrapping_add(MULTIPLIER)) * u128::from(MULTIPLIER);
    let once = (folded as u64) ^ ((folded >> 64) as u64);
    (once ^ (once >> 29)).wrapping_mul(MULTIPLIER) ^ seed.rotate_left(23)
}

#[cfg(test)]
mod tests {
    use super::{fingerprint, mix};
    use std::collections::BTreeSet;

    #[test]
    fn one_changed_byte_anywhere_changes_the_hash() {
        let base = vec![b'a'; 100];
        let mut seen = BTreeSet::from([fingerprint(&base)]);
        for at in 0..base.len() {
            let mut other = base.clone();
            other[at] ^= 1;
            assert!(seen.insert(fingerprint(&other)), "byte {at} did not matter");
        }
        assert!(seen.insert(fingerprint(&base[..99])), "the length did not matter");
    }

    #[test]
    fn parts_of_one_thing_get_different_ids() {
        let ids: BTreeSet<u64> = (0..1000).map(|salt| mix(7, salt)).collect();
        assert_eq!(ids.len(), 1000);
    }
}
