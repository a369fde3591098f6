//! A text index against a plain scan of the texts.

use object_store::memory::InMemory;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::model::fold::fold;
use crate::model::search_text::END_OF_TEXT;

const LETTERS: [char; 36] = [
    'a',
    'b',
    'c',
    'E',
    ' ',
    '\n',
    '\0',
    'ß',
    'S',
    'ſ',
    'Σ',
    'ς',
    'é',
    'İ',
    '\u{307}',
    'Д',
    'я',
    '日',
    '本',
    '語',
    '😀',
    '\u{212a}',
    'k',
    '\u{1f1e9}',
    'ﬁ',
    'f',
    'i',
    'ё',
    'が',
    'か',
    '\u{3099}',
    '한',
    '\u{1112}',
    '\u{1161}',
    '\u{11ab}',
    '\u{640}',
];

fn random_text(random: &mut SmallRng, length: usize) -> String {
    (0..length).map(|_| *LETTERS.choose(random).unwrap()).collect()
}

/// Some rows of some texts each; a third of the rows have none.
fn random_rows(random: &mut SmallRng, rows: usize) -> Vec<Vec<String>> {
    let mut row = |number: usize| -> Vec<String> {
        let texts = if number.is_multiple_of(3) { 0 } else { random.random_range(1..4) };
        (0..texts)
            .map(|_| random.random_range(0..40))
            .collect::<Vec<usize>>()
            .into_iter()
            .map(|length| random_text(random, length))
            .collect()
    };
    (0..rows).map(&mut row).collect()
}

fn search_text(texts: &[String]) -> Vec<u8> {
    texts.iter().flat_map(|text| fold(text).into_bytes().into_iter().chain([END_OF_TEXT])).collect()
}

fn index_of(rows: &[Vec<String>]) -> Bytes {
    let mut builder = TextIndexBuilder::new(rows.len() as u32).unwrap();
    rows.iter().for_each(|texts| builder.push(&search_text(texts)).unwrap());
    builder.finish().unwrap()
}

async fn found(index: &TextIndex, store: &InMemory, term: &SearchTerm) -> Result<(Vec<u32>, usize), TextIndexError> {
    let candidates: Vec<u32> = index.candidates(store, term).await?.into_iter().collect();
    let verified = index.verify(store, &candidates, term).await?;
    let count = candidates.len();
    Ok((candidates.into_iter().zip(verified).filter(|(_, has)| *has).map(|(row, _)| row).collect(), count))
}

#[tokio::test]
async fn a_search_finds_what_a_scan_finds() {
    let mut random = SmallRng::seed_from_u64(3);
    let mut hits = 0;
    for count in [0, 1, 7, 300, 5_000] {
        let rows = random_rows(&mut random, count);
        let (store, path) = (InMemory::new(), Path::from("a.ngrams"));
        let object = index_of(&rows);
        store.put(&path, object.clone().into()).await.unwrap();
        let index = TextIndex::open(&store, path.clone()).await.unwrap().unwrap();
        assert_eq!(index.rows(), count as u32);
        for _ in 0..300 {
            let length = random.random_range(0..6);
            let term = match rows.choose(&mut random).and_then(|texts| texts.choose(&mut random)) {
                // A part of a text, in another case.
                Some(text) if random.random_bool(0.7) => {
                    let start = random.random_range(0..=text.chars().count());
                    text.chars().skip(start).take(length + 1).flat_map(char::to_uppercase).collect()
                }
                _ => random_text(&mut random, length),
            };
            let folded = fold(&term);
            let has = |texts: &Vec<String>| texts.iter().any(|text| fold(text).contains(&folded));
            let expected: Vec<u32> = (0..count as u32).filter(|row| has(&rows[*row as usize])).collect();
            let (rows, _) = found(&index, &store, &SearchTerm::new(&term)).await.unwrap();
            if folded.is_empty() {
                continue;
            }
            assert_eq!(rows, expected, "{term:?} among {count}");
            hits += expected.len();
        }
    }
    assert!(hits > 10_000);
}

#[tokio::test]
async fn few_rows_are_candidates() {
    let rows: Vec<Vec<String>> =
        (0..2_000).map(|row| vec![format!("conversation {row} asks for {}", 7_919 * row)]).collect();
    let (store, path) = (InMemory::new(), Path::from("a.ngrams"));
    let object = index_of(&rows);
    store.put(&path, object.clone().into()).await.unwrap();
    let index = TextIndex::from_bytes(path, &object).unwrap();
    for (term, most) in [("1234 asks", 20), ("ON 77 ASKS", 20), ("nothing of the kind", 0), ("xyz", 0), ("9", 2_000)] {
        let (_, candidates) = found(&index, &store, &SearchTerm::new(term)).await.unwrap();
        assert!(candidates <= most, "{candidates} candidates for {term}");
    }
}

/// No byte can change without an error or the right answer.
#[tokio::test]
async fn damage_is_found() {
    let rows: Vec<Vec<String>> = (0..12).map(|row| vec![format!("some text with {row}")]).collect();
    let object = index_of(&rows);
    let term = SearchTerm::new("with 1");
    let expected = vec![1, 10, 11];
    let (store, path) = (InMemory::new(), Path::from("a.ngrams"));
    let mut errors = 0;
    for place in 0..object.len() {
        let mut damaged = object.to_vec();
        damaged[place] ^= 0x11;
        store.put(&path, damaged.into()).await.unwrap();
        let answer = match TextIndex::open(&store, path.clone()).await {
            Ok(Some(index)) => found(&index, &store, &term).await.map(|(rows, _)| rows).ok(),
            // It is made again.
            Ok(None) | Err(_) => None,
        };
        match answer {
            Some(rows) => assert_eq!(rows, expected, "byte {place} is changed"),
            None => errors += 1,
        }
    }
    assert!(errors > 100);
    for end in [0, 8, 63, 64, 100, object.len() - 1] {
        store.put(&path, object.slice(..end).into()).await.unwrap();
        assert!(TextIndex::open(&store, path.clone()).await.is_err(), "{end} bytes");
    }
    assert!(TextIndex::open(&store, Path::from("b.ngrams")).await.unwrap().is_none());
}

/// It would not find what it finds now.
#[tokio::test]
async fn what_was_folded_in_another_way_is_made_again() {
    let object = index_of(&[vec!["some text".to_owned()]]);
    let (store, path) = (InMemory::new(), Path::from("a.ngrams"));
    let folding = HEADER_BYTES - 8 * 5 + 4;
    assert_eq!(object[folding], FOLDING as u8);
    for (place, value, opens) in [(8, 3, true), (8, 2, true), (folding, 1, true), (folding, 77, true), (8, 5, false)] {
        let mut other = object.to_vec();
        other[place] = value;
        store.put(&path, other.into()).await.unwrap();
        let opened = TextIndex::open(&store, path.clone()).await;
        assert!(if opens { matches!(opened, Ok(None)) } else { opened.is_err() }, "{value} at {place}");
    }
}
