//! Settings, as whoever operates the program meets them: what cannot be right stops the start with one
//! sentence that says what to write instead.

use std::{fs, net::TcpListener};

use crate::support::{
    backend::{Folder, Kind},
    eventually,
    program::{refusal, run},
    server::Server,
};

fn folder_with(name: &str, text: &str) -> Folder {
    let folder = Folder::new();
    fs::write(folder.path().join(name), text).unwrap();
    folder
}

/// The line of a setting in `config show`.
fn shown(stdout: &str, key: &str) -> String {
    let line = stdout.lines().find(|line| line.starts_with(&format!("{key} = ")));
    line.unwrap_or_else(|| panic!("no {key} in {stdout}")).to_owned()
}

#[test]
fn an_unknown_key_stops_the_start_and_names_the_nearest() {
    let folder = folder_with("appsettings.json", r#"{"Server": {"ApiAdress": "127.0.0.1:0"}}"#);
    let told = refusal(folder.path(), &[], &[]);
    assert_eq!(
        told,
        "fintech: Server:ApiAdress in appsettings.json is not a setting; did you mean Server:ApiAddress?\n"
    );
    let told =
        refusal(Folder::new().path(), &["serve"], &[("Conumers__AttemptsMax", "1"), ("KAFKA__GROUP", "x")]);
    assert!(told.contains("environment variable KAFKA__GROUP"), "{told}");
    assert!(told.contains("Kafka__GroupId"), "{told}");
}

#[test]
fn an_unusable_value_stops_the_start_and_says_what_to_write() {
    for (variable, value, expected) in [
        ("Server__ConnectionsMax", "many", "a whole number from 1 to 1000000"),
        ("Server__ApiAddress", "localhost", "an IP address and a port"),
        ("Ledger__Lanes", "0", "a whole number from 1 to 1024"),
        ("Logging__Level", "inof", "off, error, warn, info, debug or trace"),
        ("Logging__Format", "xml", "one of auto, text, json"),
        ("Cors__AllowedOrigins", "*", "a list of origins"),
        ("Security__BankDetailsKey", "c2hvcnQ=", "32 bytes in base64"),
        ("Security__Access", "opne", "one of open, required"),
        ("Kafka__EnableIdempotence", "perhaps", "true or false"),
    ] {
        let told = refusal(Folder::new().path(), &[], &[(variable, value)]);
        assert!(told.contains(variable) && told.contains(expected), "{told}");
    }
    let told = refusal(Folder::new().path(), &["--database", "mysql://u:hunter2@h/d"], &[]);
    assert!(told.contains("--database") && told.contains("sqlite:PATH"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_file_that_is_not_json_is_told_with_its_place() {
    let folder = folder_with("appsettings.json", "{\n  \"Server\": {\n    // a comment\n  }\n}");
    let told = refusal(folder.path(), &[], &[]);
    assert!(told.contains("appsettings.json") && told.contains("line 3"), "{told}");
    let told = refusal(Folder::new().path(), &["--config", "absent.json"], &[]);
    assert!(told.contains("absent.json"), "{told}");
    let told = refusal(Folder::new().path(), &[], &[("FINTECH_ENVIRONMENT", "Staging")]);
    assert!(told.contains("appsettings.Staging.json"), "{told}");
}

#[test]
fn later_sources_win_and_every_value_says_where_it_came_from() {
    let folder = folder_with(
        "appsettings.json",
        r#"{"Store": {"Readers": 5, "Writers": 3}, "Server": {"ApiAddress": "127.0.0.1:1"}, "Kafka:GroupId": "g"}"#,
    );
    fs::write(folder.path().join("appsettings.Staging.json"), r#"{"store": {"writers": 4}}"#).unwrap();
    let variables =
        [("FINTECH_ENVIRONMENT", "Staging"), ("STORE__READERS", "6"), ("Server__ApiAddress", "127.0.0.1:2")];
    let ended = run(folder.path(), &["config", "show", "--listen", "127.0.0.1:3"], &variables);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let shown = |key| shown(&ended.stdout, key);
    assert_eq!(shown("Server:ApiAddress"), "Server:ApiAddress = 127.0.0.1:3  (--listen)");
    assert_eq!(shown("Store:Readers"), "Store:Readers = 6  (environment variable STORE__READERS)");
    assert_eq!(shown("Store:Writers"), "Store:Writers = 4  (appsettings.Staging.json)");
    assert_eq!(shown("Kafka:GroupId"), "Kafka:GroupId = g  (appsettings.json)");
    assert_eq!(shown("Store:BatchCommandsMax"), "Store:BatchCommandsMax = 512  (default)");
    assert_eq!(
        shown("ConnectionStrings:DefaultConnection"),
        "ConnectionStrings:DefaultConnection = sqlite:data/fintech.db  (default)"
    );
}

#[test]
fn config_show_masks_secrets() {
    let variables = [
        (
            "ConnectionStrings__DefaultConnection",
            "postgres://app:hunter2@db.example:5432/pay?sslpassword=hunter3",
        ),
        ("Security__BankDetailsKey", "aHVudGVyNGh1bnRlcjRodW50ZXI0aHVudGVyNGh1bnQ="),
    ];
    let ended = run(Folder::new().path(), &["config", "show"], &variables);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for secret in ["hunter", "aHVudGVy"] {
        assert!(!ended.stdout.contains(secret), "{}", ended.stdout);
    }
    let database = shown(&ended.stdout, "ConnectionStrings:DefaultConnection");
    assert!(database.contains("postgres://app:***@db.example:5432/pay?sslpassword=***"), "{database}");
    assert!(shown(&ended.stdout, "Security:BankDetailsKey").starts_with("Security:BankDetailsKey = ***"));
}

/// The file of the first platform, as its guide prints it, and what .NET's template puts beside it.
#[test]
fn the_first_platforms_file_is_understood() {
    let folder = folder_with(
        "appsettings.json",
        r#"{
          "Logging": {"LogLevel": {"Default": "Information", "Microsoft.AspNetCore": "Warning"}},
          "AllowedHosts": "*",
          "Kafka": {
            "BootstrapServers": "localhost:9092",
            "GroupId": "fintechplatform-api",
            "EnableIdempotence": true,
            "Acks": "all",
            "MessageSendMaxRetries": 3,
            "EnableAutoCommit": false,
            "AutoOffsetReset": "earliest"
          }
        }"#,
    );
    let ended = run(folder.path(), &["config", "show"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(shown(&ended.stdout, "Logging:Level"), "Logging:Level = info  (appsettings.json)");
    assert_eq!(shown(&ended.stdout, "Kafka:Acks"), "Kafka:Acks = all  (appsettings.json)");
}

#[test]
fn nothing_but_loopback_is_served_without_authentication() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        for flag in ["--listen", "--operations"] {
            let told = refusal(Folder::new().path(), &[flag, address], &[]);
            assert!(told.contains("access is open") && told.contains("127.0.0.1"), "{told}");
        }
        let told = refusal(Folder::new().path(), &["--registry", address], &[]);
        assert!(told.contains("no authentication") && told.contains("127.0.0.1"), "{told}");
    }
}

#[test]
fn what_an_operator_should_know_is_logged_at_the_start() {
    let server = Server::start_with(Kind::Sqlite, &[("Kafka__BootstrapServers", "127.0.0.1:9")]);
    server.merchant();
    eventually("two warnings", || {
        let log = server.log();
        let told = log.contains("starting without Kafka") && log.contains("development key");
        told.then_some(())
    });
    let key = "aHVudGVyNGh1bnRlcjRodW50ZXI0aHVudGVyNGh1bnQ=";
    let server = Server::start_with(Kind::Sqlite, &[("Security__BankDetailsKey", key)]);
    server.get("/health").expect(200);
    assert!(!server.log().contains("development key"), "{}", server.log());
}

/// Failure mode 100 at the start: each fault that an operator meets has a sentence of its own.
#[test]
fn what_is_in_the_way_is_said_in_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = refusal(Folder::new().path(), &["--listen", &address], &[]);
    assert!(told.contains(&address) && told.contains("--listen"), "{told}");

    let listen = ["--listen", "127.0.0.1:0"];
    let folder = folder_with("data", "a file where the folder should be");
    let told = refusal(folder.path(), &listen, &[]);
    assert!(told.contains("cannot create the folder data"), "{told}");

    let folder = folder_with("other.db", &"this is not a database ".repeat(100));
    let told = refusal(folder.path(), &[&listen[..], &["--database", "sqlite:other.db"]].concat(), &[]);
    assert!(told.contains("other.db is not an SQLite database"), "{told}");

    let folder = Folder::new();
    let holder = rusqlite::Connection::open(folder.path().join("held.db")).unwrap();
    holder.execute_batch("create table t (x); begin exclusive; insert into t values (1)").unwrap();
    let told = refusal(folder.path(), &[&listen[..], &["--database", "sqlite:held.db"]].concat(), &[]);
    assert!(told.contains("another program holds the database held.db"), "{told}");

    let told = refusal(
        Folder::new().path(),
        &[&listen[..], &["--database", "postgres://u:hunter2@127.0.0.1:1/d"]].concat(),
        &[],
    );
    assert!(told.contains("127.0.0.1:1") && !told.contains("hunter2"), "{told}");
}

#[test]
fn lanes_are_fixed_when_the_database_is_initialised() {
    let folder = Folder::new();
    let ended = run(folder.path(), &["migrate"], &[("Ledger__Lanes", "4")]);
    assert_eq!((ended.code, ended.stdout.contains("4 lanes")), (Some(0), true), "{}", ended.stderr);
    let again = run(folder.path(), &["migrate"], &[]);
    assert!(again.stdout.contains("4 lanes"), "{}", again.stdout);
    let told = refusal(folder.path(), &["migrate"], &[("Ledger__Lanes", "8")]);
    assert!(told.contains("set Ledger:Lanes to 4"), "{told}");
}

#[test]
fn the_command_line_explains_itself() {
    let folder = Folder::new();
    let version = run(folder.path(), &["-V"], &[]);
    assert_eq!((version.code, version.stdout.starts_with("fintech 0.")), (Some(0), true));
    assert_eq!(run(folder.path(), &["--nonsense"], &[]).code, Some(2));
    let help = run(folder.path(), &["--help"], &[]);
    for word in ["serve", "migrate", "config", "--database"] {
        assert!(help.stdout.contains(word), "{}", help.stdout);
    }
}
