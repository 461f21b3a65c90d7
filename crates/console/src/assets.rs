//! The style and the scripts, in the program itself. Their addresses carry a hash of what they hold, so a browser keeps
//! them for ever and never has an old one.

use std::{fmt::Write as _, sync::LazyLock};

use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};

pub struct Asset {
    name: &'static str,
    content_type: HeaderValue,
    content: &'static [u8],
    /// Of the content: the first 64 bits of its SHA-256.
    hash: String,
}

macro_rules! assets {
    ($($name:literal as $type:literal),+ $(,)?) => {
        [$(Asset::new($name, $type, include_bytes!(concat!("../assets/", $name)))),+]
    };
}

static ASSETS: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    assets![
        "style.css" as "text/css; charset=utf-8",
        "app.js" as "text/javascript; charset=utf-8",
        "htmx.min.js" as "text/javascript; charset=utf-8",
        "sse.min.js" as "text/javascript; charset=utf-8",
        "icon.svg" as "image/svg+xml",
    ]
});

const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

impl Asset {
    fn new(name: &'static str, content_type: &'static str, content: &'static [u8]) -> Self {
        let digest = Sha256::digest(content);
        let hash = digest.iter().take(8).fold(String::new(), |mut hash, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hash, "{byte:02x}");
            hash
        });
        Self { name, content_type: HeaderValue::from_static(content_type), content, hash }
    }
}

/// Where an asset is had, for the layout.
pub fn href(name: &str) -> String {
    let hash = ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| asset.hash.as_str());
    format!("/assets/{hash}/{name}")
}

/// `/assets/{hash}/{name}`
pub async fn show(Path((_, name)): Path<(String, String)>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [(header::CONTENT_TYPE, asset.content_type.clone()), (header::CACHE_CONTROL, FOR_EVER)];
    (headers, asset.content).into_response()
}
