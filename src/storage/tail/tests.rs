use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::model::document;
use crate::model::ids::{ConversationKey, EpochMillis};
use crate::model::origin::{Reach, Sender};
use crate::model::resolve::{Identity, resolve};

#[test]
fn segments_go_round_and_never_meet_a_file() {
    let mut counters = Counters { next_sequence: 1, next_file: 1, next_segment: u32::MAX };
    assert_eq!([counters.segment(), counters.segment(), counters.segment()], [u32::MAX, 1 << 31, (1 << 31) + 1]);
    assert_eq!([counters.file(), counters.file()], [1, 2]);
}

fn conversation(project: &str, id: &str, external_id: Option<&str>, version: u64) -> Arc<Conversation> {
    let text = serde_json::json!({"id": id, "externalId": external_id, "type": "openai", "tags": [version.to_string()],
        "messages": [{"role": "user", "content": ""}]});
    let document = document::parse(text.to_string().as_bytes()).unwrap();
    let identity = Identity {
        organization_id: OrganizationId::new("o"),
        project_id: ProjectId::new(project),
        integration_id: None,
        sender: Sender::import(),
        reach: Reach::Everything,
    };
    Arc::new(resolve(&document, &identity, None, EpochMillis(0), || "new".to_owned()))
}

fn version_of(conversation: &Conversation) -> u64 {
    conversation.tags.as_ref().unwrap()[0].parse().unwrap()
}

/// What stands for a file: the rows that a flush took, and which of them are deleted.
struct File {
    rows: Vec<Arc<Conversation>>,
    deleted: RoaringBitmap,
}

struct World {
    tail: Tail,
    counters: Counters,
    /// Newest state of each key, over tail and files.
    model: HashMap<ConversationKey, Arc<Conversation>>,
    files: Vec<File>,
    /// The segments at the freeze and the order that their rows will have in the file.
    flushing: Option<(Vec<SegmentSnapshot>, Vec<u64>)>,
}

impl World {
    fn key(random: &mut StdRng) -> (String, String) {
        (format!("p{}", random.random_range(0..2)), format!("c{}", random.random_range(0..12)))
    }

    fn commit(&mut self, random: &mut StdRng, version: &mut u64) {
        let mut group = TailGroup::begin(&self.tail);
        let before = contents(&self.tail);
        let mut model = self.model.clone();
        let mut file_rows = Vec::new();
        for _ in 0..random.random_range(1..8) {
            *version += 1;
            let (project, id) = World::key(random);
            let external_id = format!("e{}", random.random_range(0..5));
            let key = conversation(&project, &id, None, 0).key();
            let free = model.values().all(|other| {
                other.project_id != key.project_id
                    || other.external_id.as_deref() != Some(external_id.as_str())
                    || other.id == key.id
            });
            let external_id = (free && random.random_bool(0.6)).then_some(external_id.as_str());
            let deleted = random.random_bool(0.3);
            let value = (!deleted).then(|| conversation(&project, &id, external_id, *version));
            if group.tail().get(&key).is_none() {
                file_rows.push(key.clone());
            }
            group.stage_row(&key, value.as_ref(), &mut self.counters);
            match value {
                Some(conversation) => model.insert(key, conversation),
                None => model.remove(&key),
            };
        }
        if random.random_bool(0.1) {
            // The log write failed.
            drop(group);
            assert_eq!(contents(&self.tail), before);
            return;
        }
        self.tail = group.finish(10, &Arc::default(), &mut self.counters);
        self.model = model;
        for file in &mut self.files {
            let rows = file.rows.iter().enumerate().filter(|(_, row)| file_rows.contains(&row.key()));
            file.deleted.extend(rows.map(|(row, _)| row as u32));
        }
    }

    fn freeze(&mut self, random: &mut StdRng) {
        self.tail.freeze();
        let segments = self.tail.frozen().unwrap().segments().to_vec();
        let live = segments.iter().flat_map(|entry| {
            let rows = entry.segment.sequences.iter().enumerate();
            rows.filter(|(row, _)| !entry.deleted.contains(*row as u32)).map(|(_, sequence)| *sequence)
        });
        // A file is sorted by something else.
        let mut order: Vec<u64> = live.collect();
        rand::seq::SliceRandom::shuffle(order.as_mut_slice(), random);
        self.flushing = Some((segments, order));
    }

    fn end_flush(&mut self) {
        let Some((before, order)) = self.flushing.take() else { return };
        let rows_by_sequence: HashMap<u64, u32> = order.iter().enumerate().map(|(row, at)| (*at, row as u32)).collect();
        let rows = order.iter().map(|wanted| {
            let found = before.iter().find_map(|entry| {
                let row = entry.segment.sequences.binary_search(wanted).ok()?;
                Some(entry.segment.rows[row].clone())
            });
            found.unwrap()
        });
        let rows = rows.collect();
        let deleted = self.tail.drop_frozen().unwrap().deleted_since(&before, &rows_by_sequence);
        self.files.push(File { rows, deleted });
    }

    fn check(&self) {
        // Every live row exactly once, in the newest state, in tail and files together.
        let mut seen = contents(&self.tail);
        for file in &self.files {
            let live = file.rows.iter().enumerate().filter(|(row, _)| !file.deleted.contains(*row as u32));
            seen.extend(live.map(|(_, row)| (row.key(), version_of(row))));
        }
        seen.sort();
        let mut wanted: Vec<_> = self.model.iter().map(|(key, row)| (key.clone(), version_of(row))).collect();
        wanted.sort();
        assert_eq!(seen, wanted);
        self.check_look_ups();
        self.check_segments();
    }

    fn check_look_ups(&self) {
        let organization = OrganizationId::new("o");
        let in_files = |key: &ConversationKey| {
            self.files.iter().any(|file| {
                let mut rows = file.rows.iter().enumerate();
                rows.any(|(row, conversation)| conversation.key() == *key && !file.deleted.contains(row as u32))
            })
        };
        for number in 0..12 {
            let id = format!("c{number}");
            let mut found: Vec<_> =
                self.tail.find_id(&organization, &id).iter().map(|row| row.project_id.clone()).collect();
            found.sort();
            let mut wanted = Vec::new();
            for project in ["p0", "p1"] {
                let key = conversation(project, &id, None, 0).key();
                let known = self.model.get(&key).filter(|_| !in_files(&key));
                assert_eq!(self.tail.live(&key).map(|row| version_of(&row.value)), known.map(|row| version_of(row)));
                if in_files(&key) {
                    assert!(self.tail.get(&key).is_none(), "the tail knows a key whose row in a file is live");
                }
                wanted.extend(known.map(|row| row.project_id.clone()));
            }
            assert_eq!(found, wanted, "{id}");
        }
        for number in 0..5 {
            let external_id = format!("e{number}");
            let mut all = Vec::new();
            for project in ["p0", "p1"] {
                let owner = conversation(project, "any", None, 0).key();
                let holder = self.model.values().find(|row| {
                    row.project_id.as_str() == project
                        && row.external_id.as_deref() == Some(external_id.as_str())
                        && !in_files(&row.key())
                });
                let found = self.tail.get_by_external_id(&owner, &external_id);
                assert_eq!(found.map(|row| row.value.key()), holder.map(|row| row.key()));
                all.extend(holder.map(|row| row.key()));
            }
            let found = self.tail.find_external_id(&organization, &external_id);
            assert_eq!(found.iter().map(|row| row.key()).collect::<Vec<_>>(), all, "{external_id}");
        }
    }

    fn check_segments(&self) {
        let segments = self.tail.segments();
        let sequences: Vec<u64> = segments.iter().flat_map(|entry| entry.segment.sequences.iter().copied()).collect();
        assert!(sequences.is_sorted_by(|a, b| a < b), "segments are not in the order of the log");
        for generation in self.tail.generations() {
            let rows: usize = generation.segments.iter().map(|entry| entry.segment.rows.len()).sum();
            assert_eq!(generation.rows(), rows);
        }
        let active = self.tail.active();
        assert!(active.segments().len() <= 2 + active.rows().checked_ilog2().unwrap_or(0) as usize);
    }
}

/// Live rows of the segments, sorted.
fn contents(tail: &Tail) -> Vec<(ConversationKey, u64)> {
    let mut live = Vec::new();
    for entry in tail.segments() {
        let rows = entry.segment.rows.iter().enumerate();
        live.extend(
            rows.filter(|(row, _)| !entry.deleted.contains(*row as u32)).map(|(_, row)| (row.key(), version_of(row))),
        );
    }
    live.sort();
    live
}

#[test]
fn random_changes_and_flushes_against_a_map() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World {
            tail: Tail::default(),
            counters: Counters::new(),
            model: HashMap::new(),
            files: Vec::new(),
            flushing: None,
        };
        let mut version = 0;
        for _ in 0..60 {
            match random.random_range(0..10) {
                0 if world.flushing.is_none() => world.freeze(&mut random),
                1 | 2 => world.end_flush(),
                _ => world.commit(&mut random, &mut version),
            }
            world.check();
        }
    }
}
