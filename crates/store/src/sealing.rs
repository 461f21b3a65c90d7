//! Bank details at rest: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) under a key of the configuration.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use domain::{command::NewWithdrawal, id::WithdrawalId};

/// First byte of what is sealed, so that a later scheme or key can be told apart.
const FORMAT: u8 = 1;

pub struct Sealer {
    cipher: XChaCha20Poly1305,
}

impl Sealer {
    pub fn new(key: &[u8; 32]) -> Self {
        Self { cipher: XChaCha20Poly1305::new(key.into()) }
    }

    /// Format byte, nonce, ciphertext. The withdrawal's id is authenticated with it, so that one
    /// withdrawal's details cannot be put into another's row.
    pub fn seal(&self, id: WithdrawalId, request: &NewWithdrawal) -> Vec<u8> {
        let nonce = nonce(id);
        let plain = format!("{}\n{}", request.bank_account.expose(), request.bank_routing.expose());
        let payload = Payload { msg: plain.as_bytes(), aad: id.0.as_bytes() };
        let sealed = self
            .cipher
            .encrypt(&nonce, payload)
            .expect("bank details are far shorter than the cipher's limit");
        let mut bytes = Vec::with_capacity(1 + nonce.len() + sealed.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        bytes
    }
}

/// 24 bytes: a withdrawal's id is used once, so id and a fresh random half make a nonce that is never
/// repeated even if one of them were.
fn nonce(id: WithdrawalId) -> XNonce {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(id.0.as_bytes());
    bytes[16..].copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..8]);
    XNonce::from(bytes)
}
