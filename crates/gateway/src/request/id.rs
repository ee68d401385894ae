//! What an exchange is called, in replies and to endpoints.

/// Names an exchange, in replies and to endpoints.
#[derive(Debug)]
pub(crate) enum RequestId {
    /// Ours: sixteen hexadecimal digits.
    Own([u8; 16]),
    /// What a trusted proxy calls it.
    Told(Box<str>),
}

impl RequestId {
    /// Bytes of what a proxy may call it.
    const TOLD_MAX: usize = 128;

    pub(crate) fn new(random: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        Self::Own(std::array::from_fn(|i| DIGITS[(random >> (60 - 4 * i)) as usize & 15]))
    }

    /// What a proxy calls it, if it looks like a name: UUIDs, trace ids and Base64 do. It comes back
    /// in replies of ours.
    pub(crate) fn told(value: &[u8]) -> Option<Self> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:;@".contains(byte);
        let fits = (1..=Self::TOLD_MAX).contains(&value.len()) && value.iter().all(is_plain);
        let text = std::str::from_utf8(value).ok().filter(|_| fits)?;
        Some(Self::Told(text.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Own(digits) => std::str::from_utf8(digits).unwrap_or_default(),
            Self::Told(text) => text,
        }
    }
}
