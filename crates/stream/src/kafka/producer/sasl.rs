//! SASL PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677), the client's side.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{
    hash::{MessageDigest, hash},
    memcmp,
    pkcs5::pbkdf2_hmac,
    pkey::PKey,
    rand::rand_bytes,
    sign::Signer,
};

/// RFC 7677 asks for 4096 rounds at least; a server that asks for fewer is not the one that we registered with.
const ROUNDS_MIN: usize = 4096;
/// More would only be a way to keep us busy.
const ROUNDS_MAX: usize = 1_000_000;
const NONCE_BYTES: usize = 24;

#[derive(Clone)]
pub struct Credentials {
    pub mechanism: Mechanism,
    pub username: String,
    pub password: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Plain, Self::ScramSha256, Self::ScramSha512].into_iter().find(|known| known.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SaslError {
    #[error("the broker's side of SASL is not understood: {0}")]
    Malformed(&'static str),
    #[error("the broker refuses the credentials: {0}")]
    Refused(String),
    #[error("the broker does not know the password: it is not the one that the user is registered with")]
    WrongServer,
    #[error(transparent)]
    Crypto(#[from] openssl::error::ErrorStack),
}

pub fn plain(credentials: &Credentials) -> Vec<u8> {
    format!("\0{}\0{}", credentials.username, credentials.password).into_bytes()
}

/// One exchange of SCRAM.
pub struct Scram {
    digest: MessageDigest,
    password: String,
    nonce: String,
    first_bare: String,
    server_signature: Vec<u8>,
}

impl Scram {
    pub fn new(credentials: &Credentials) -> Result<Self, SaslError> {
        let mut nonce = [0; NONCE_BYTES];
        rand_bytes(&mut nonce)?;
        Ok(Self::with_nonce(credentials, STANDARD.encode(nonce)))
    }

    fn with_nonce(credentials: &Credentials, nonce: String) -> Self {
        let digest = match credentials.mechanism {
            Mechanism::ScramSha512 => MessageDigest::sha512(),
            _ => MessageDigest::sha256(),
        };
        let username = credentials.username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={username},r={nonce}");
        Self {
            digest,
            password: credentials.password.clone(),
            nonce,
            first_bare,
            server_signature: Vec::new(),
        }
    }

    pub fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    /// The answer to the server's challenge.
    pub fn last(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let challenge = text(challenge)?;
        let nonce = attribute(challenge, 'r').ok_or(SaslError::Malformed("no nonce"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(SaslError::Malformed("a nonce that does not continue ours"));
        }
        let salt = attribute(challenge, 's').and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.ok_or(SaslError::Malformed("no salt"))?;
        let rounds = attribute(challenge, 'i').and_then(|rounds| rounds.parse().ok());
        let rounds = rounds
            .filter(|rounds| (ROUNDS_MIN..=ROUNDS_MAX).contains(rounds))
            .ok_or(SaslError::Malformed("a number of rounds between 4096 and 1000000 is missing"))?;
        let mut salted = vec![0; self.digest.size()];
        pbkdf2_hmac(self.password.as_bytes(), &salt, rounds, self.digest, &mut salted)?;
        let client_key = self.hmac(&salted, b"Client Key")?;
        let stored_key = hash(self.digest, &client_key)?;
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{challenge},{without_proof}", self.first_bare);
        let signature = self.hmac(&stored_key, message.as_bytes())?;
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect();
        let server_key = self.hmac(&salted, b"Server Key")?;
        self.server_signature = self.hmac(&server_key, message.as_bytes())?;
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes())
    }

    /// Whether the server knows the password too.
    pub fn verify(&self, outcome: &[u8]) -> Result<(), SaslError> {
        let outcome = text(outcome)?;
        if let Some(error) = attribute(outcome, 'e') {
            return Err(SaslError::Refused(error.to_owned()));
        }
        let signature = attribute(outcome, 'v').and_then(|signature| STANDARD.decode(signature).ok());
        let signature = signature.ok_or(SaslError::Malformed("no signature"))?;
        if signature.len() == self.server_signature.len() && memcmp::eq(&signature, &self.server_signature) {
            Ok(())
        } else {
            Err(SaslError::WrongServer)
        }
    }

    fn hmac(&self, key: &[u8], message: &[u8]) -> Result<Vec<u8>, SaslError> {
        let key = PKey::hmac(key)?;
        let mut signer = Signer::new(self.digest, &key)?;
        Ok(signer.sign_oneshot_to_vec(message)?)
    }
}

fn text(bytes: &[u8]) -> Result<&str, SaslError> {
    std::str::from_utf8(bytes).map_err(|_| SaslError::Malformed("not UTF-8"))
}

fn attribute(message: &str, name: char) -> Option<&str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(mechanism: Mechanism) -> Credentials {
        Credentials { mechanism, username: "user".to_owned(), password: "pencil".to_owned() }
    }

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_rfc() {
        let mut scram =
            Scram::with_nonce(&credentials(Mechanism::ScramSha256), "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let challenge = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let last = scram.last(challenge.as_bytes()).expect("an answer");
        let expected = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(String::from_utf8(last).expect("text"), expected);
        scram.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").expect("the server knows it");
        let wrong = scram.verify(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(matches!(wrong, Err(SaslError::WrongServer)));
        assert!(matches!(scram.verify(b"e=unknown-user"), Err(SaslError::Refused(_))));
    }

    #[test]
    fn a_challenge_that_is_not_for_us_is_refused() {
        for challenge in [
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=ours,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=oursandtheirs,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=oursandtheirs,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000",
            "r=oursandtheirs,i=4096",
            "",
        ] {
            let mut scram = Scram::with_nonce(&credentials(Mechanism::ScramSha512), "ours".to_owned());
            assert!(scram.last(challenge.as_bytes()).is_err(), "{challenge}");
        }
    }
}
