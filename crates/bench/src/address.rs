//! Where to send requests: `http://HOST:PORT`.

use std::{fmt, str::FromStr};

use hyper::Uri;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `HOST:PORT`.
    pub authority: String,
    pub port: u16,
    /// Stands before every path; without a slash at its end.
    pub prefix: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("\"{0}\" is not an address such as http://127.0.0.1:5153")]
    NotAnAddress(String),
    #[error("\"{0}\" is not http://…: the load is sent without encryption, put a proxy before it")]
    NotHttp(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::NotAnAddress(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) => return Err(AddressError::NotHttp(text.to_owned())),
            None => return Err(wrong()),
        }
        let port = authority.port_u16().unwrap_or(80);
        let host = authority.host();
        let prefix = uri.path_and_query().map_or("", |path| path.as_str()).trim_end_matches('/').to_owned();
        Ok(Self { authority: format!("{host}:{port}"), port, prefix })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_port_and_what_stands_before_paths() {
        let address: Address = "http://127.0.0.1:5153".parse().unwrap();
        assert_eq!(
            (address.authority.as_str(), address.port, address.prefix.as_str()),
            ("127.0.0.1:5153", 5153, "")
        );
        let address: Address = "http://example.com/a/b/".parse().unwrap();
        assert_eq!((address.authority.as_str(), address.prefix.as_str()), ("example.com:80", "/a/b"));
        assert_eq!(address.to_string(), "http://example.com:80/a/b");
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "127.0.0.1", "127.0.0.1:80", "/x", "http://", "ftp//x"] {
            assert_eq!(bad.parse::<Address>(), Err(AddressError::NotAnAddress(bad.to_owned())), "{bad}");
        }
        let encrypted = "https://example.com";
        assert_eq!(encrypted.parse::<Address>(), Err(AddressError::NotHttp(encrypted.to_owned())));
    }
}
