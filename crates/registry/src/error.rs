//! What a registry refuses, with the codes of Confluent Schema Registry.

use schema::compatibility::Incompatibility;
use store::error::ReadError;

use crate::{SCHEMAS_MAX, SUBJECT_CHARS_MAX, SUBJECTS_MAX, VERSIONS_A_SUBJECT_MAX};

#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("Subject '{0}' not found.")]
    SubjectNotFound(String),
    #[error("Version {0} not found.")]
    VersionNotFound(String),
    #[error("Schema not found")]
    SchemaNotFound,
    #[error("Subject '{0}' was soft deleted. Set permanent=true to delete permanently")]
    SubjectSoftDeleted(String),
    #[error("Subject '{0}' was not deleted first before being permanently deleted")]
    SubjectNotSoftDeleted(String),
    #[error(
        "Subject '{subject}' Version {version} was soft deleted. Set permanent=true to delete permanently"
    )]
    VersionSoftDeleted { subject: String, version: i64 },
    #[error("Subject '{subject}' Version {version} was not deleted first before being permanently deleted")]
    VersionNotSoftDeleted { subject: String, version: i64 },
    #[error("Subject '{0}' does not have subject-level compatibility configured")]
    NoLevel(String),
    #[error("Invalid schema: {0}")]
    InvalidSchema(String),
    #[error(
        "The specified version '{0}' is not a valid version id. Allowed values are between [1, 2^31-1] and the \
         string \"latest\""
    )]
    InvalidVersion(String),
    #[error("Invalid compatibility level. Valid values are {}", schema::compatibility::Level::NAMES.join(", "))]
    InvalidLevel,
    #[error("Invalid subject: 1 to {SUBJECT_CHARS_MAX} characters, none of them a control character")]
    InvalidSubject,
    #[error(
        "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: {}",
        told(details)
    )]
    Incompatible { subject: String, details: Vec<Incompatibility> },
    #[error(
        "The registry is full: it takes {SUBJECTS_MAX} subjects, {VERSIONS_A_SUBJECT_MAX} versions of each, and \
         {SCHEMAS_MAX} schemas over all of its life"
    )]
    Full,
    #[error("version {version} of {event_type} is not registered as {subject}: run fintech schemas register")]
    NotRegistered { subject: String, event_type: &'static str, version: u16 },
    /// The database is away, or the other registry.
    #[error("the registry does not answer: {0}")]
    Unavailable(String),
    /// The database, or the other registry, answered what cannot be understood.
    #[error("{0}")]
    Broken(String),
}

fn told(details: &[Incompatibility]) -> String {
    details.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

impl RegistryError {
    /// As Confluent's `error_code`; its first three digits are the status of HTTP.
    pub const fn code(&self) -> u32 {
        match self {
            Self::SubjectNotFound(_) => 40401,
            Self::VersionNotFound(_) => 40402,
            Self::SchemaNotFound | Self::NotRegistered { .. } => 40403,
            Self::SubjectSoftDeleted(_) => 40404,
            Self::SubjectNotSoftDeleted(_) => 40405,
            Self::VersionSoftDeleted { .. } => 40406,
            Self::VersionNotSoftDeleted { .. } => 40407,
            Self::NoLevel(_) => 40408,
            Self::Incompatible { .. } => 409,
            Self::InvalidSchema(_) => 42201,
            Self::InvalidVersion(_) => 42202,
            Self::InvalidLevel => 42203,
            Self::InvalidSubject => 42208,
            Self::Full => 422,
            Self::Unavailable(_) => 50001,
            Self::Broken(_) => 500,
        }
    }

    pub const fn status(&self) -> u16 {
        let mut code = self.code();
        while code > 999 {
            code /= 10;
        }
        #[allow(clippy::cast_possible_truncation, reason = "three digits")]
        let status = code as u16;
        status
    }
}

impl From<ReadError> for RegistryError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(reason) => Self::Unavailable(reason),
            ReadError::Invalid(reason) => Self::Broken(reason),
        }
    }
}
