//! Bringing a database up to date, alone and beside others. Failure mode 108.

use crate::support::{
    backend::{Database, Folder, Kind},
    fixtures::at_once,
    on_both_backends,
    program::run,
    server::Server,
};

on_both_backends!(migrating_beside_a_running_server_changes_nothing);

const PROGRAMS: usize = 4;

fn several_programs_may_migrate_a_new_database_at_once(kind: Kind) {
    let (database, folder) = (Database::new(kind), Folder::new());
    let url = database.url();
    let ended = at_once(PROGRAMS, |_| run(folder.path(), &["migrate", "--database", &url], &[]));
    for ended in ended {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("16 lanes"), "{}", ended.stdout);
    }
}

#[test]
fn several_programs_may_migrate_a_new_sqlite_database_at_once() {
    several_programs_may_migrate_a_new_database_at_once(Kind::Sqlite);
}

#[test]
fn several_programs_may_migrate_a_new_postgres_database_at_once() {
    several_programs_may_migrate_a_new_database_at_once(Kind::Postgres);
}

fn migrating_beside_a_running_server_changes_nothing(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 5000);
    let url = server.database_url();
    for ended in at_once(PROGRAMS, |_| run(server.folder(), &["migrate", "--database", &url], &[])) {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    server.completed_payment(&merchant, 5000);
    assert_eq!(server.balance(&merchant), (10_000, 0));
}
