//! The oracle's `jsonb` and bucket rules against PostgreSQL itself, which the contract names as the tie-breaker.
//!
//! Needs `psql` and a UTF-8 database with locale C; `CONVOLAKE_POSTGRESQL` is its connection string. Skipped, visibly,
//! without it.

use std::io::Write;
use std::process::{Command, Stdio};

use super::json::{self, Value};
use super::time::{self, Unit};
use crate::generate::{MOMENTS, ZONES, anything, document};
use crate::random::Random;

/// Runs statements that give one line each.
fn psql(connection: &str, statements: &str) -> Vec<String> {
    let mut child = Command::new("psql")
        .args([connection, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql starts");
    let mut stdin = child.stdin.take().expect("piped");
    let text = statements.to_string();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("psql ends");
    writer.join().expect("a writer").expect("all written");
    assert!(output.status.success(), "psql: {}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_string).collect()
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn flag(value: bool) -> &'static str {
    if value { "t" } else { "f" }
}

#[test]
fn postgresql_agrees() {
    let Ok(connection) = std::env::var("CONVOLAKE_POSTGRESQL") else {
        println!("SKIPPED: CONVOLAKE_POSTGRESQL is not set");
        return;
    };
    let mut random = Random::new(11);
    let mut sql = String::from("set standard_conforming_strings = on; set timezone = 'UTC';\n");
    let mut expected: Vec<(String, String)> = Vec::new();
    let mut add = |statement: String, answer: String| {
        sql.push_str(&statement);
        sql.push_str(";\n");
        expected.push((statement, answer));
    };
    for number in 0..3_000 {
        let (left, right) = if number % 3 == 0 {
            let whole = |random: &mut Random| document(random, 1).given("properties").cloned().unwrap_or(Value::Null);
            (whole(&mut random), whole(&mut random))
        } else {
            let one = anything(&mut random, 2);
            let other = match (random.below(3), &one) {
                (0, Value::Array(elements)) if !elements.is_empty() => random.pick(elements).clone(),
                (1, _) => json::canonical(&one),
                _ => anything(&mut random, 2),
            };
            (one, other)
        };
        let (a, b) = (format!("{}::jsonb", literal(&left.to_text())), format!("{}::jsonb", literal(&right.to_text())));
        let hex = |text: Option<String>| {
            text.map_or("null".to_string(), |text| text.bytes().map(|byte| format!("{byte:02x}")).collect())
        };
        let path: Vec<String> = (0..random.below(3))
            .map(|_| random.pick(&["a", "b", "0", "-1", "00", "1", "nested", "", "x", "99999999999"]).to_string())
            .collect();
        let array = format!("array[{}]::text[]", path.iter().map(|part| literal(part)).collect::<Vec<_>>().join(","));
        add(
            format!("select coalesce(encode(convert_to({a} #>> {array}, 'UTF8'), 'hex'), 'null')"),
            hex(json::at_path(&left, &path).and_then(json::text)),
        );
        add(format!("select {a} @> {b}"), flag(json::contains(&left, &right)).to_string());
        add(format!("select {a} = {b}"), flag(json::equal(&left, &right)).to_string());
        // An empty array at the top sorts before everything in PostgreSQL, a bug kept for compatibility; whole fields
        // are objects.
        let empty = |value: &Value| value.as_array().is_some_and(<[Value]>::is_empty);
        if !empty(&left) && !empty(&right) {
            add(format!("select {a} < {b}"), flag(json::compare(&left, &right).is_lt()).to_string());
        }
        let key = random.pick(&["a", "5", "plan", "", "é"]).to_string();
        add(format!("select {a} ? {}", literal(&key)), flag(json::has_key(&left, &key)).to_string());
        let same = json::canonical(&left) == json::canonical(&right);
        assert_eq!(same, json::equal(&left, &right), "{} {}", left.to_text(), right.to_text());
    }
    for moment in MOMENTS {
        let at = time::parse_document_time(moment).expect("a time");
        for zone in ZONES {
            for unit in [Unit::Hour, Unit::Day, Unit::Week, Unit::Month] {
                let bucket = time::bucket(at, unit, 1, zone.parse().expect("a zone"), 0);
                add(
                    format!(
                        "select (extract(epoch from date_trunc('{}', timestamptz '{}', '{zone}')) * 1000)::bigint",
                        unit.name(),
                        time::render(at)
                    ),
                    bucket.to_string(),
                );
            }
        }
    }
    let answers = psql(&connection, &sql);
    assert_eq!(answers.len(), expected.len());
    let wrong: Vec<String> = expected
        .iter()
        .zip(&answers)
        .filter(|((_, expected), answer)| expected != *answer)
        .map(|((statement, expected), answer)| format!("{statement}\n  PostgreSQL {answer}, oracle {expected}"))
        .collect();
    println!("{} statements, {} differences", expected.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong[..wrong.len().min(12)].join("\n"));
}
