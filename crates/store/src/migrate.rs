//! Versioned, checksummed migrations: one line of numbers for both dialects. What was applied once is
//! never changed; a database that is newer than the program is not touched.

use sha2::{Digest, Sha256};

use crate::error::OpenError;

pub(crate) struct Migration {
    pub number: i64,
    pub name: &'static str,
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        name: "core",
        sqlite: include_str!("migrations/sqlite/0001_core.sql"),
        postgres: include_str!("migrations/postgres/0001_core.sql"),
    },
    Migration {
        number: 2,
        name: "event_system",
        sqlite: include_str!("migrations/sqlite/0002_event_system.sql"),
        postgres: include_str!("migrations/postgres/0002_event_system.sql"),
    },
    Migration {
        number: 3,
        name: "reconciliation",
        sqlite: include_str!("migrations/sqlite/0003_reconciliation.sql"),
        postgres: include_str!("migrations/postgres/0003_reconciliation.sql"),
    },
    Migration {
        number: 4,
        name: "schema_registry",
        sqlite: include_str!("migrations/sqlite/0004_schema_registry.sql"),
        postgres: include_str!("migrations/postgres/0004_schema_registry.sql"),
    },
    Migration {
        number: 5,
        name: "access",
        sqlite: include_str!("migrations/sqlite/0005_access.sql"),
        postgres: include_str!("migrations/postgres/0005_access.sql"),
    },
    Migration {
        number: 6,
        name: "consumer_controls",
        sqlite: include_str!("migrations/sqlite/0006_consumer_controls.sql"),
        postgres: include_str!("migrations/postgres/0006_consumer_controls.sql"),
    },
    Migration {
        number: 7,
        name: "command_origins",
        sqlite: include_str!("migrations/sqlite/0007_command_origins.sql"),
        postgres: include_str!("migrations/postgres/0007_command_origins.sql"),
    },
    Migration {
        number: 8,
        name: "console",
        sqlite: include_str!("migrations/sqlite/0008_console.sql"),
        postgres: include_str!("migrations/postgres/0008_console.sql"),
    },
    Migration {
        number: 9,
        name: "open_dead_letters",
        sqlite: include_str!("migrations/sqlite/0009_open_dead_letters.sql"),
        postgres: include_str!("migrations/postgres/0009_open_dead_letters.sql"),
    },
    Migration {
        number: 10,
        name: "daily_totals",
        sqlite: include_str!("migrations/sqlite/0010_daily_totals.sql"),
        postgres: include_str!("migrations/postgres/0010_daily_totals.sql"),
    },
    Migration {
        number: 11,
        name: "api_requests",
        sqlite: include_str!("migrations/sqlite/0011_api_requests.sql"),
        postgres: include_str!("migrations/postgres/0011_api_requests.sql"),
    },
    Migration {
        number: 12,
        name: "dead_letters_of_subject",
        sqlite: include_str!("migrations/sqlite/0012_dead_letters_of_subject.sql"),
        postgres: include_str!("migrations/postgres/0012_dead_letters_of_subject.sql"),
    },
    Migration {
        number: 13,
        name: "dead_letter_runs",
        sqlite: include_str!("migrations/sqlite/0013_dead_letter_runs.sql"),
        postgres: include_str!("migrations/postgres/0013_dead_letter_runs.sql"),
    },
    Migration {
        number: 14,
        name: "event_traces",
        sqlite: include_str!("migrations/sqlite/0014_event_traces.sql"),
        postgres: include_str!("migrations/postgres/0014_event_traces.sql"),
    },
];

/// What both databases keep of an applied migration.
pub(crate) struct Applied {
    pub number: i64,
    pub checksum: String,
}

pub(crate) fn checksum(sql: &str) -> String {
    hex::encode(Sha256::digest(sql.as_bytes()))
}

/// The migrations that are still to be applied, when those that were are as this program knows them.
pub(crate) fn pending(
    applied: &[Applied],
    sql: fn(&Migration) -> &'static str,
) -> Result<Vec<&'static Migration>, OpenError> {
    for Applied { number, checksum: stored } in applied {
        let known = MIGRATIONS.iter().find(|migration| migration.number == *number);
        let known = known.ok_or(OpenError::DatabaseNewer { number: *number })?;
        if checksum(sql(known)) != *stored {
            return Err(OpenError::MigrationChanged { number: *number, name: known.name.to_owned() });
        }
    }
    let is_pending = |migration: &&Migration| applied.iter().all(|done| done.number != migration.number);
    Ok(MIGRATIONS.iter().filter(is_pending).collect())
}

/// How many lanes to initialise, or whether those that exist are those that are wanted.
pub(crate) fn lanes(stored: u16, wanted: Option<u16>) -> Result<Option<u16>, OpenError> {
    match (stored, wanted) {
        (0, wanted) => Ok(Some(wanted.unwrap_or(domain::lane::LANES_DEFAULT))),
        (stored, Some(wanted)) if stored != wanted => Err(OpenError::Lanes { stored, wanted }),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(number: i64, checksum: &str) -> Applied {
        Applied { number, checksum: checksum.to_owned() }
    }

    #[test]
    fn what_was_applied_is_not_applied_again() {
        let sum = checksum(MIGRATIONS[0].sqlite);
        assert_eq!(pending(&[], |m| m.sqlite).unwrap().len(), MIGRATIONS.len());
        assert_eq!(pending(&[applied(1, &sum)], |m| m.sqlite).unwrap().len(), MIGRATIONS.len() - 1);
    }

    /// Failure mode 108: a program that is older than the database, or differs from it, keeps off.
    #[test]
    fn a_changed_or_an_unknown_migration_stops_the_start() {
        let changed = pending(&[applied(1, "00")], |m| m.sqlite);
        assert!(matches!(changed, Err(OpenError::MigrationChanged { number: 1, .. })));
        let newer = pending(&[applied(9999, "00")], |m| m.sqlite);
        assert!(matches!(newer, Err(OpenError::DatabaseNewer { number: 9999 })));
    }

    #[test]
    fn the_number_of_lanes_is_fixed_at_initialisation() {
        assert_eq!(lanes(0, None).unwrap(), Some(16));
        assert_eq!(lanes(0, Some(4)).unwrap(), Some(4));
        assert_eq!(lanes(4, None).unwrap(), None);
        assert_eq!(lanes(4, Some(4)).unwrap(), None);
        assert!(matches!(lanes(4, Some(8)), Err(OpenError::Lanes { stored: 4, wanted: 8 })));
    }
}
