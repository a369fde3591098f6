//! A seeded, realistic sample: support conversations of a software company over two years. The same seed and number
//! give the same document, so that a benchmark can name any of them without keeping them.
#![expect(clippy::indexing_slicing, reason = "numbers are drawn below the length of the list")]

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::error::CliError;
use crate::config::SampleArguments;
use crate::model::ids::EpochMillis;
use crate::model::time;

/// 2024-07-01T00:00:00Z, the first day of the sample.
pub(crate) const FIRST_DAY_MILLIS: i64 = 1_719_792_000_000;
pub(crate) const DAYS: i64 = 730;
const DAY_MILLIS: i64 = 86_400_000;

pub const PROJECTS: [&str; 4] = ["help-center", "in-app-copilot", "developer-docs", "support-desk"];
const INTEGRATIONS: [&str; 8] =
    ["docs-widget", "app-sidebar", "slack-bot", "cli-helper", "zendesk", "intercom", "email-desk", "status-page"];
const REGIONS: [&str; 6] = ["us-east", "us-west", "eu-west", "eu-central", "ap-south", "sa-east"];
const PLANS: [&str; 4] = ["free", "starter", "pro", "enterprise"];
const MODELS: [&str; 5] = ["atlas-small", "atlas-large", "nimbus-2", "nimbus-2-mini", "quartz"];
const BROWSERS: [&str; 4] = ["Firefox", "Chrome", "Safari", "Edge"];
const LOCALES: [&str; 7] = ["en", "de", "fr", "ja", "pt-BR", "es", "ko"];
const AGENTS: [&str; 24] = [
    "Agent 01", "Agent 02", "Agent 03", "Agent 04", "Agent 05", "Agent 06", "Agent 07", "Agent 08", "Agent 09",
    "Agent 10", "Agent 11", "Agent 12", "Agent 13", "Agent 14", "Agent 15", "Agent 16", "Agent 17", "Agent 18",
    "Agent 19", "Agent 20", "Agent 21", "Agent 22", "Agent 23", "Agent 24",
];
const TAGS: [&str; 8] = ["billing", "login", "api", "webhooks", "export", "mobile", "urgent", "feature-request"];
const TOPICS: [&str; 12] = [
    "rotating an API key",
    "exporting invoices",
    "inviting a teammate",
    "the webhook retry schedule",
    "single sign-on",
    "rate limits on the search endpoint",
    "importing old tickets",
    "the mobile app losing its session",
    "changing the billing address",
    "deleting a workspace",
    "the difference between the plans",
    "a failing nightly sync",
];
const QUESTIONS: [&str; 6] = [
    "How do I get started with {}?",
    "We have a problem with {} since this morning.",
    "Is there a guide about {}?",
    "Can you explain {} in simple words?",
    "{} does not work as the page says.",
    "What happens to our data after {}?",
];
const SENTENCES: [&str; 14] = [
    "Open the settings page and choose the workspace that you want to change.",
    "The change takes effect within a minute, and nobody has to sign in again.",
    "If the request still fails, the answer names the rule that it broke.",
    "You can do the same from the command line with one call.",
    "Only an owner of the workspace sees this button.",
    "The log keeps every attempt for thirty days, with the time and the status.",
    "We retry with a growing pause, six times in all, and then mark the delivery as failed.",
    "Older versions of the client ignore this field.",
    "Please send the identifier of one failing request, so that we can look it up.",
    "The export is a file with one line per record, compressed.",
    "This is included in every plan except the free one.",
    "A second key can be valid at the same time, so nothing breaks while you switch.",
    "Once it is deleted it cannot be brought back, so make an export first.",
    "The limit is counted per project and starts anew each minute.",
];

/// Prints the sample, one document a line.
pub(crate) fn run(arguments: &SampleArguments) -> Result<(), CliError> {
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let mut print = || {
        for number in 0..arguments.rows {
            writeln!(out, "{}", document(arguments.seed, number, arguments.rows, arguments.bytes))?;
        }
        out.flush()
    };
    match print() {
        // Whoever read it has enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(|error| CliError::Io { what: "printing the sample".to_owned(), error }),
    }
}

/// The id of the sample's document `number`.
pub fn id(number: u64) -> String {
    // Spread over the id space, as random ids are; an odd multiplier keeps them distinct.
    format!("conv-{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// The externalId of the sample's document `number`.
pub fn external_id(number: u64) -> String {
    format!("ticket-{number:09}")
}

pub(crate) fn project(number: u64) -> &'static str {
    PROJECTS[(number % PROJECTS.len() as u64) as usize]
}

fn pick<'a>(random: &mut SmallRng, values: &[&'a str]) -> &'a str {
    values.choose(random).copied().unwrap_or_default()
}

/// A number in 0..n that is small more often than large.
fn skewed(random: &mut SmallRng, n: u64) -> u64 {
    let a: f64 = random.random();
    ((a * a * a) * n as f64) as u64
}

/// One document of `total`, in the shape of `POST /conversations`, as one line of JSON of about `bytes` bytes at least
/// 1,500; times rise with `number` over the two years.
pub fn document(seed: u64, number: u64, total: u64, bytes: usize) -> String {
    let mut random = SmallRng::seed_from_u64(seed ^ number.wrapping_mul(0xD134_2543_DE82_EF95));
    let span = DAYS * DAY_MILLIS;
    let start = FIRST_DAY_MILLIS + (number as i128 * span as i128 / total.max(1) as i128) as i64;
    let start = (start + random.random_range(0..DAY_MILLIS)).min(FIRST_DAY_MILLIS + span - 1);
    let kind = match random.random_range(0..10) {
        0..6 => "openai",
        6..9 => "support_ticket",
        _ => "support_copilot",
    };
    let user = skewed(&mut random, (total / 4).max(50));
    let topic = pick(&mut random, &TOPICS);
    let plan = PLANS[(skewed(&mut random, 4)) as usize];
    let mut out = String::with_capacity(bytes + 512);
    let _ = write!(
        out,
        r#"{{"id":"{}","externalId":"{}","type":"{kind}","projectId":"{}","integrationId":"{}","createdAt":"{}""#,
        id(number),
        external_id(number),
        project(number),
        pick(&mut random, &INTEGRATIONS),
        time::render(EpochMillis(start)),
    );
    if random.random_bool(0.4) {
        let _ = write!(out, r#","tags":["{}","{}"]"#, pick(&mut random, &TAGS[..4]), pick(&mut random, &TAGS[4..]));
    }
    let page = skewed(&mut random, 5_000);
    let score = f64::from(random.random_range(0..1_000)) / 1_000.0;
    let _ = write!(
        out,
        concat!(
            r#","properties":{{"url":"https://example.com/{}/{}","region":"{}","plan":"{}","score":{},"#,
            r#""model":"{}","locale":"{}","tokens":{{"prompt":{},"completion":{}}},"latencyMs":{},"resolved":{},"#,
            r#""topic":"{}","client":{{"browser":"{}","version":{},"mobile":{}}},"cost":"{:.4}""#
        ),
        if kind == "openai" { "docs" } else { "help" },
        page,
        pick(&mut random, &REGIONS),
        plan,
        score,
        pick(&mut random, &MODELS),
        pick(&mut random, &LOCALES),
        random.random_range(50..4_000),
        random.random_range(20..1_500),
        random.random_range(80..9_000),
        random.random_bool(0.7),
        topic,
        pick(&mut random, &BROWSERS),
        random.random_range(90..140),
        random.random_bool(0.3),
        f64::from(random.random_range(1..3_000)) / 10_000.0,
    );
    if random.random_bool(0.2) {
        let _ = write!(out, r#","experiment":"variant-{}""#, ["a", "b", "c"][random.random_range(0..3)]);
    }
    if random.random_bool(0.1) {
        out.push_str(r#","sources":["docs","forum"]"#);
    }
    let _ = write!(out, r#"}},"userProperties":{{"userId":"user-{user}","company":"company-{}""#, user % 997);
    if kind != "openai" {
        let _ = write!(out, r#","supportAgentName":"{}""#, pick(&mut random, &AGENTS));
    }
    let _ = write!(out, r#","seats":{}}},"messages":["#, 1 + user % 250);
    let turns = 2 + 2 * skewed(&mut random, 6);
    let per_message = (bytes.saturating_sub(out.len()) / turns as usize).saturating_sub(110).max(40);
    for turn in 0..turns {
        let role = match (turn % 2, kind) {
            (0, _) => "user",
            (_, "support_ticket") => "agent",
            _ => "assistant",
        };
        if turn > 0 {
            out.push(',');
        }
        let at = start + turn as i64 * random.random_range(2_000..90_000);
        let _ = write!(
            out,
            r#"{{"role":"{role}","createdAt":"{}","externalId":"{number}-{turn}","content":""#,
            time::render(EpochMillis(at.min(FIRST_DAY_MILLIS + span - 1))),
        );
        let from = out.len();
        if turn == 0 {
            out.push_str(&pick(&mut random, &QUESTIONS).replace("{}", topic));
        }
        while out.len() - from < per_message {
            if out.len() > from {
                out.push(' ');
            }
            out.push_str(pick(&mut random, &SENTENCES));
        }
        out.push_str("\"}");
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_in_the_data_folder_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample.ndjson");
        let text = std::fs::read_to_string(path).expect("data/sample.ndjson, by `convolake sample --rows 100`");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 100);
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(*line, document(42, number as u64, 100, 1_500));
        }
    }

    #[test]
    fn documents_are_valid_and_repeatable() {
        for number in 0..200 {
            let text = document(7, number, 200, 4_000);
            assert_eq!(text, document(7, number, 200, 4_000));
            crate::model::document::parse(text.as_bytes()).expect("a valid document");
        }
    }
}
