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

#[cfg(test)]
mod tests {
    use domain::{bank::BankNumber, currency::Currency, money::AmountMinor};
    use uuid::Uuid;

    use super::*;

    const ACCOUNT: &str = "99887766554433221100";

    fn sealed(sealer: &Sealer, id: WithdrawalId) -> Vec<u8> {
        let request = NewWithdrawal {
            amount: AmountMinor::new(1).unwrap(),
            currency: Currency::parse("USD").unwrap(),
            bank_account: BankNumber::parse(ACCOUNT).unwrap(),
            bank_routing: BankNumber::parse("021000021").unwrap(),
        };
        sealer.seal(id, &request)
    }

    fn open(key: [u8; 32], id: WithdrawalId, sealed: &[u8]) -> Option<String> {
        let nonce: [u8; 24] = sealed[1..25].try_into().unwrap();
        let payload = Payload { msg: &sealed[25..], aad: id.0.as_bytes() };
        let plain = XChaCha20Poly1305::new(&key.into()).decrypt(&XNonce::from(nonce), payload).ok()?;
        String::from_utf8(plain).ok()
    }

    #[test]
    fn only_the_key_opens_it_and_only_for_its_withdrawal() {
        let id = WithdrawalId(Uuid::now_v7());
        let bytes = sealed(&Sealer::new(&[1; 32]), id);
        assert_eq!(bytes[0], FORMAT);
        assert_eq!(open([1; 32], id, &bytes), Some(format!("{ACCOUNT}\n021000021")));
        assert_eq!(open([2; 32], id, &bytes), None);
        assert_eq!(open([1; 32], WithdrawalId(Uuid::now_v7()), &bytes), None);
        assert!(!bytes.windows(8).any(|window| window == &ACCOUNT.as_bytes()[..8]));
    }

    #[test]
    fn the_same_details_are_never_sealed_alike() {
        let (sealer, id) = (Sealer::new(&[1; 32]), WithdrawalId(Uuid::now_v7()));
        assert_ne!(sealed(&sealer, id), sealed(&sealer, id));
    }
}
