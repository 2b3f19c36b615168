//! Which models a board trusts: those with an Ed25519 signature of one key.

use ed25519_compact::{PublicKey, Signature};

use crate::format::{self, SIGNATURE_BYTES};
use crate::protocol::Refusal;

/// Bytes of a public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// What the file of a public key starts with.
pub const PUBLIC_KEY_TITLE: &str = "lowbit-public-key-1";

/// The key in the line of text that a key's file is: `title`, a space and 64 hexadecimal digits.
/// `None` if it is anything else.
#[must_use]
pub fn parse_key(text: &str, title: &str) -> Option<[u8; PUBLIC_KEY_BYTES]> {
    let digits = text.trim_end().strip_prefix(title)?.strip_prefix(' ')?;
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let mut key = [0; PUBLIC_KEY_BYTES];
    if pairs.len() != key.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = (high? << 4 | low?) as u8;
    }
    Some(key)
}

/// Whether `signature` is one that the secret half of `key` makes for `content`.
#[must_use]
pub fn is_signed_by(
    key: &[u8; PUBLIC_KEY_BYTES],
    content: &[u8],
    signature: &[u8; SIGNATURE_BYTES],
) -> bool {
    let signature = Signature::new(*signature);
    PublicKey::new(*key).verify(content, &signature).is_ok()
}

/// What a board demands of its models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// The public key that models must be signed with.
    pub key: [u8; PUBLIC_KEY_BYTES],
    /// Whether models of a lower version than the one before are refused.
    pub refuses_downgrades: bool,
}

impl Authority {
    /// For [`Platform::admit`](crate::service::Platform::admit).
    ///
    /// # Errors
    /// If the file has no signature, has another one, or is older than it may be.
    pub fn admit(&self, file: &[u8], running: Option<u32>) -> Result<(), Refusal<'static>> {
        let signed = format::signed(file).ok().flatten();
        let signed = signed.ok_or(Refusal::Unsigned)?;
        if !is_signed_by(&self.key, signed.content, signed.signature) {
            return Err(Refusal::Signature);
        }
        let found = signed.version;
        match running {
            Some(running) if self.refuses_downgrades && found < running => {
                Err(Refusal::Downgrade { running, found })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn what_is_no_key_is_refused() {
        let digits = "0".repeat(64);
        for text in [
            "",
            "x",
            "x ",
            &digits,
            &format!("x {digits}0"),
            &format!("x {digits}00"),
            &format!("x +{}", &digits[1..]),
            &format!("y {digits}"),
        ] {
            assert_eq!(parse_key(text, "x"), None, "{text}");
        }
        assert_eq!(parse_key(&format!("x {digits}\r\n"), "x"), Some([0; 32]));
        let counted = format!("x {}Fe", "0a".repeat(31));
        let key = parse_key(&counted, "x").unwrap();
        assert_eq!((key[0], key[30], key[31]), (10, 10, 254));
    }
}
