//! Passwords: argon2id with the parameters that OWASP asks for (19 MiB, two passes), salted, as PHC strings.
//!
//! A hash takes tens of milliseconds of a processor, so it runs beside the runtime's threads, and few at once: whoever
//! sends passwords in masses waits for others like itself, and payments do not.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use store::error::ReadError;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::AccessError;

pub const PASSWORD_CHARS_MIN: usize = 12;
/// Whatever is longer is no password.
pub const PASSWORD_CHARS_MAX: usize = 256;
/// 19 MiB each.
const HASHES_AT_ONCE_MAX: usize = 2;
/// That wait; one more is told to come again.
const HASHES_WAITING_MAX: usize = 32;
/// Of no password. A name that nobody has is checked against it, so that it takes as long as one that somebody has.
const DUMMY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

static WAITING: Semaphore = Semaphore::const_new(HASHES_WAITING_MAX);
static HASHING: Semaphore = Semaphore::const_new(HASHES_AT_ONCE_MAX);

/// The right to hash one password.
pub(crate) struct Turn {
    _turn: SemaphorePermit<'static>,
}

impl Turn {
    /// `None`: too many wait already.
    pub async fn wait() -> Option<Self> {
        let _waiting = WAITING.try_acquire().ok()?;
        let turn = HASHING.acquire().await.ok()?;
        Some(Self { _turn: turn })
    }

    /// Whether a password is the one of a hash; of no hash it never is, and that takes as long.
    pub async fn verify(self, password: &str, hash: Option<&str>) -> Result<bool, ReadError> {
        let is_known = hash.is_some() && password.chars().count() <= PASSWORD_CHARS_MAX;
        let hash = if is_known { hash.unwrap_or(DUMMY) } else { DUMMY }.to_owned();
        let password = if is_known { password.to_owned() } else { String::new() };
        let is_right = move || {
            // Held until the work is done, also when nobody waits for it any more.
            let _turn = self;
            let parsed = PasswordHash::new(&hash)
                .map_err(|error| ReadError::Invalid(format!("a password's hash cannot be read: {error}")))?;
            Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok() && is_known)
        };
        tokio::task::spawn_blocking(is_right).await.map_err(|error| ReadError::Invalid(error.to_string()))?
    }
}

pub(crate) async fn hash(password: &str) -> Result<String, AccessError> {
    let chars = password.chars().count();
    if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) || password.contains(char::is_control) {
        return Err(AccessError::InvalidPassword);
    }
    let turn = Turn::wait().await.ok_or(AccessError::Busy)?;
    let password = password.to_owned();
    let hashed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
    });
    let failed = |error: String| AccessError::Store(ReadError::Invalid(error));
    hashed.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_right(password: &str, hash: Option<&str>) -> bool {
        Turn::wait().await.unwrap().verify(password, hash).await.unwrap()
    }

    #[tokio::test]
    async fn only_the_same_password_is_right_and_none_is_of_no_hash() {
        let hashed = hash("correct horse battery").await.unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        assert!(is_right("correct horse battery", Some(&hashed)).await);
        assert!(!is_right("correct horse batterz", Some(&hashed)).await);
        assert!(!is_right("", None).await && !is_right("", Some(DUMMY)).await);
        assert!(!is_right(&"x".repeat(PASSWORD_CHARS_MAX + 1), Some(&hashed)).await);
        assert_ne!(hash("correct horse battery").await.unwrap(), hashed, "salted");
    }

    /// Otherwise a name that nobody has would be told from others by the time.
    #[test]
    fn the_dummy_costs_what_a_password_costs() {
        let parsed = PasswordHash::new(DUMMY).unwrap();
        let ours = PasswordHash::new(&Argon2::default().hash_password(b"x").unwrap().to_string()).unwrap();
        assert_eq!(
            (parsed.algorithm, parsed.version, parsed.params),
            (ours.algorithm, ours.version, ours.params)
        );
        assert_eq!(parsed.hash.unwrap().len(), ours.hash.unwrap().len());
    }

    #[tokio::test]
    async fn a_password_has_a_length() {
        for bad in ["", "eleven char", &"x".repeat(PASSWORD_CHARS_MAX + 1), "twelve\nchars and more"] {
            assert!(matches!(hash(bad).await, Err(AccessError::InvalidPassword)), "{bad}");
        }
        assert!(hash("zwölf Zeiche").await.is_ok(), "characters are counted, not bytes");
    }
}
