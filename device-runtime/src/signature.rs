//! Which models a board trusts: those with an Ed25519 signature of one key.

use ed25519_compact::{PublicKey, Signature};

use crate::format::{self, SIGNATURE_BYTES};
use crate::protocol::Refusal;

/// Bytes of a public key.
pub const PUBLIC_KEY_BYTES: usize = 32;

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
