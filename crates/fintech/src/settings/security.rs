//! The settings of who may come in, and of what protects the way. An address that others can reach is refused until
//! both are told apart from a developer's own machine.

use std::{net::SocketAddr, path::PathBuf};

use access::Mode;
use anyhow::{bail, ensure};

use super::{
    Layers,
    table::{
        ACCESS, API_ADDRESS, BANK_DETAILS_KEY, OPERATIONS_ADDRESS, REGISTRY_ADDRESS, TLS_CERTIFICATE, TLS_KEY,
    },
};

pub struct Security {
    pub access: Mode,
    /// For a key that has none of its own; `None`: as many as it likes.
    pub requests_per_second_max: Option<u32>,
    /// A withdrawal of more is not decided by one operator alone.
    pub four_eyes_withdrawal_minor: i64,
    /// `None`: connections are in clear.
    pub tls: Option<TlsFiles>,
}

/// Two PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Followed by those that vouch for it.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

pub fn settings(layers: &Layers) -> anyhow::Result<Security> {
    let requests_max = u32::try_from(layers.integer("Security:RequestsPerSecondMax")).unwrap_or(u32::MAX);
    Ok(Security {
        access: if layers.text(ACCESS) == "required" { Mode::Required } else { Mode::Open },
        requests_per_second_max: Some(requests_max).filter(|count| *count > 0),
        four_eyes_withdrawal_minor: i64::try_from(layers.integer("Security:FourEyesWithdrawalMinor"))
            .unwrap_or(i64::MAX),
        tls: tls_files(layers)?,
    })
}

fn tls_files(layers: &Layers) -> anyhow::Result<Option<TlsFiles>> {
    match (layers.optional_text(TLS_CERTIFICATE), layers.optional_text(TLS_KEY)) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(TlsFiles { certificate: certificate.into(), key: key.into() }))
        }
        _ => bail!("{TLS_CERTIFICATE} and {TLS_KEY} must both be set, or none of them"),
    }
}

impl Security {
    /// Whether an address that asks who comes in may be listened on.
    pub fn check_address(
        &self,
        layers: &Layers,
        key: &str,
        address: SocketAddr,
    ) -> anyhow::Result<SocketAddr> {
        if address.ip().is_loopback() {
            return Ok(address);
        }
        ensure!(
            self.access == Mode::Required,
            "{key} is {address}, but access is open: whoever reaches it could do everything; set {ACCESS} to required \
             and give out keys with `fintech keys create`, or use a loopback address such as 127.0.0.1:{}",
            address.port()
        );
        ensure!(
            !layers.has_development_key(),
            "{key} is {address}, which others can reach, but bank details would be sealed with the development key, \
             which everybody knows; set {BANK_DETAILS_KEY} to the output of `head -c 32 /dev/urandom | base64`"
        );
        Ok(address)
    }

    /// What the operator should know, a sentence each.
    pub fn warnings(&self, addresses: &[SocketAddr]) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.access == Mode::Open {
            warnings.push(format!(
                "access is open: whoever can reach {API_ADDRESS} or {OPERATIONS_ADDRESS} may do everything; \
                 set {ACCESS} to required before money is real"
            ));
        }
        if self.tls.is_none() && addresses.iter().any(|address| !address.ip().is_loopback()) {
            warnings.push(format!(
                "keys and passwords cross the network in clear unless a proxy encrypts them; \
                 set {TLS_CERTIFICATE} and {TLS_KEY}"
            ));
        }
        warnings
    }
}

/// The built-in schema registry asks nobody who it is, so it is for this machine alone, whatever access is.
pub fn check_registry_address(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    ensure!(
        address.ip().is_loopback(),
        "{REGISTRY_ADDRESS} is {address}, but the schema registry has no authentication and serves its own machine \
         only; use a loopback address such as 127.0.0.1:{}",
        address.port()
    );
    Ok(address)
}

#[cfg(test)]
mod tests {
    use crate::settings::{Settings, tests::with};

    const KEY: (&str, &str) = ("Security__BankDetailsKey", "aHVudGVyNGh1bnRlcjRodW50ZXI0aHVudGVyNGh1bnQ=");
    const REQUIRED: (&str, &str) = ("Security__Access", "required");
    const ANYWHERE: [(&str, &str); 2] =
        [("Server__ApiAddress", "0.0.0.0:5153"), ("Server__OperationsAddress", "[::]:8080")];

    fn told(pairs: &[(&str, &str)]) -> String {
        with(pairs).err().unwrap().to_string()
    }

    fn warned(settings: &Settings, words: &str) -> bool {
        settings.warnings.iter().any(|warning| warning.contains(words))
    }

    #[test]
    fn others_are_let_in_only_where_they_are_asked_who_they_are() {
        for address in ANYWHERE {
            assert!(told(&[address, KEY]).contains("access is open"), "{address:?}");
            assert!(told(&[address, REQUIRED]).contains("development key"), "{address:?}");
            let settings = with(&[address, REQUIRED, KEY]).unwrap();
            assert!(warned(&settings, "in clear") && !warned(&settings, "access is open"));
        }
        assert!(with(&[("Server__ApiAddress", "[::1]:0")]).is_ok());
        let registry = ("Server__RegistryAddress", "192.0.2.1:8081");
        assert!(told(&[registry, REQUIRED, KEY]).contains("no authentication"));
    }

    #[test]
    fn open_access_is_warned_of_and_tls_quiets_the_warning_about_clear_text() {
        assert!(warned(&with(&[]).unwrap(), "access is open"));
        let files = [("Server__TlsCertificate", "c.pem"), ("Server__TlsKey", "k.pem")];
        let settings = with(&[&ANYWHERE[..], &files, &[REQUIRED, KEY]].concat()).unwrap();
        assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
        for file in files {
            assert!(told(&[file]).contains("both"), "{file:?}");
        }
    }

    #[test]
    fn no_limit_is_written_as_zero() {
        assert_eq!(with(&[]).unwrap().security.requests_per_second_max, None);
        let settings = with(&[("Security__RequestsPerSecondMax", "50")]).unwrap();
        assert_eq!(settings.security.requests_per_second_max, Some(50));
        assert_eq!(settings.security.four_eyes_withdrawal_minor, 1_000_000);
    }
}
