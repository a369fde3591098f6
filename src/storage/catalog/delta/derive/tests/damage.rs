//! Whatever happens to a log, it is told again.

use super::*;

/// A store whose logs have a checkpoint, commits after it, and vectors of both kinds.
async fn store() -> (Arc<dyn ObjectStore>, Arc<Manifest>) {
    let store = memory();
    let mut logs = logs(&store);
    let mut manifest = Arc::default();
    for number in 1..=104u64 {
        let mut step = both([number]);
        if let Some(old) = number.checked_sub(4).filter(|old| *old > 0) {
            step.tables.values_mut().for_each(|changes| changes.remove = vec![id(old)]);
        }
        if number == 103 {
            step.tables.get_mut("events").unwrap().deletions = deletes(101, 2, [1, 7]);
        }
        manifest = after(&manifest, step);
        // So late that what a checkpoint replaces goes at once.
        logs.derive(&manifest, &tables(), EpochMillis(i64::MAX)).await.unwrap();
    }
    let mut wide = both([]);
    for (table, rows) in [("events", 200_000), ("details", 600_000)] {
        wide.tables.get_mut(table).unwrap().add.push(file(table, 200, rows));
    }
    manifest = after(&manifest, wide);
    let rows: Vec<u32> = (0..200_000).step_by(41).collect();
    manifest = after(&manifest, deleting(200, rows.len() as u64, rows));
    derive(&mut logs, &manifest).await;
    assert_told(&store, &manifest, "the sound store").await;
    (store, manifest)
}

async fn bytes(store: &Arc<dyn ObjectStore>, path: &Path) -> bytes::Bytes {
    store.get(path).await.unwrap().bytes().await.unwrap()
}

/// All objects as they are, to put them back.
async fn contents(store: &Arc<dyn ObjectStore>) -> Vec<(Path, bytes::Bytes)> {
    let mut contents = Vec::new();
    for name in names(store).await {
        let path = Path::from(name);
        contents.push((path.clone(), bytes(store, &path).await));
    }
    contents
}

async fn restored(contents: &[(Path, bytes::Bytes)]) -> Arc<dyn ObjectStore> {
    let store = memory();
    for (path, object) in contents {
        store.put(path, object.clone().into()).await.unwrap();
    }
    store
}

#[tokio::test]
async fn every_object_is_replaced_when_it_is_gone_or_damaged() {
    let (store, manifest) = store().await;
    let contents = contents(&store).await;
    assert_eq!(contents.len(), 2 * 8 + 1, "two tables with a checkpoint, commits and a file of vectors");
    for (path, whole) in &contents {
        let mut damages: Vec<(String, Option<Vec<u8>>)> = vec![("gone".to_owned(), None)];
        for part in 0..20usize {
            let place = whole.len() * part / 20;
            let mut flipped = whole.to_vec();
            flipped[place] ^= 1 << (part % 7);
            damages.push((format!("bit at {place}"), Some(flipped)));
            if part % 6 == 0 {
                damages.push((format!("cut at {place}"), Some(whole[..place].to_vec())));
            }
        }
        for (what, damaged) in damages {
            let store = restored(&contents).await;
            match damaged {
                Some(damaged) => drop(store.put(path, damaged.into()).await.unwrap()),
                None => store.delete(path).await.unwrap(),
            }
            derive(&mut logs(&store), &manifest).await;
            assert_told(&store, &manifest, &format!("{path}, {what}")).await;
            let data = names(&store).await;
            derive(&mut logs(&store), &manifest).await;
            assert_eq!(names(&store).await, data, "{path}, {what}: told once");
        }
    }
}

#[tokio::test]
async fn logs_that_are_gone_are_made_again() {
    let (store, manifest) = store().await;
    let id_of = async |store| read(store, "events").await.state().meta_data.as_ref().unwrap().id.clone();
    let before = id_of(&store).await;
    for name in names(&store).await {
        store.delete(&Path::from(name)).await.unwrap();
    }
    derive(&mut logs(&store), &manifest).await;
    assert_told(&store, &manifest, "made again").await;
    assert_eq!(id_of(&store).await, before, "to other engines it is the same table");
}

#[tokio::test]
async fn a_changed_number_is_corrected() {
    let (store, manifest) = store().await;
    let contents = contents(&store).await;
    for (from, to) in [
        ("\"numRecords\\\":100", "\"numRecords\\\":101"),
        ("2023-11-14", "2023-11-15"),
        ("\"size\":1000", "\"size\":1001"),
        ("\"partitionValues\"", "\"partitionValuez\""),
        ("\"version\":103", "\"version\":999"),
        ("data/0", "data/1"),
        ("\"add\"", "\"adx\""),
        ("\"cardinality\":2", "\"cardinality\":3"),
    ] {
        let store = restored(&contents).await;
        let mut changed = 0;
        for version in 101..=104 {
            let path = Path::from(format!("events/_delta_log/{version:020}.json"));
            let text = String::from_utf8(bytes(&store, &path).await.to_vec()).unwrap();
            changed += text.matches(from).count();
            store.put(&path, text.replace(from, to).into()).await.unwrap();
        }
        assert!(changed > 0, "{from} is nowhere");
        derive(&mut logs(&store), &manifest).await;
        assert_told(&store, &manifest, from).await;
    }
}

#[tokio::test]
async fn what_other_programs_commit_is_taken_back() {
    let (store, mut manifest) = store().await;
    let mut logs = logs(&store);
    derive(&mut logs, &manifest).await;
    let version = read(&store, "events").await.version();
    let next = Path::from(format!("events/_delta_log/{:020}.json", version + 1));
    let log = read(&store, "events").await;
    let add = log.state().files.values().next().unwrap().clone();
    let foreign = [
        Action::Remove(add.to_remove(NOW)),
        Action::Add(crate::storage::catalog::delta::Add { path: "part-0.parquet".to_owned(), ..add.as_ref().clone() }),
    ];
    let text: Vec<String> = foreign.iter().map(|action| serde_json::to_string(action).unwrap()).collect();
    store.put(&next, text.join("\n").into()).await.unwrap();
    manifest = after(&manifest, both([300]));
    derive(&mut logs, &manifest).await;
    assert_told(&store, &manifest, "while it runs").await;

    let version = read(&store, "events").await.version();
    let next = Path::from(format!("events/_delta_log/{:020}.json", version + 1));
    store.put(&next, text.join("\n").into()).await.unwrap();
    derive(&mut self::logs(&store), &manifest).await;
    assert_told(&store, &manifest, "before a start").await;

    let version = read(&store, "events").await.version();
    let next = Path::from(format!("events/_delta_log/{:020}.json", version + 1));
    store.put(&next, r#"{"commitInfo":{"operation":"VACUUM START"}}"#.into()).await.unwrap();
    manifest = after(&manifest, both([301]));
    derive(&mut self::logs(&store), &manifest).await;
    assert_eq!(read(&store, "events").await.version(), version + 2, "a harmless one is passed");
    assert_told(&store, &manifest, "after a harmless one").await;
}

#[tokio::test]
async fn an_older_writer_takes_nothing_back() {
    let store = memory();
    let one = after(&Arc::default(), both([1]));
    let mut old = logs(&store);
    derive(&mut old, &one).await;
    let begin = Commit { epoch: Epoch(9), ..commit(&one, Edit::default()) };
    let newer = Arc::new(one.apply(&begin, Checksum::default()).unwrap());
    let newer = after(&newer, both([2]));
    derive(&mut logs(&store), &newer).await;
    let before = names(&store).await;

    // The older one has not heard of it, and derives another commit of its own.
    store.put(&one.number.next().next().path(), "the newer writer's".into()).await.unwrap();
    let late = after(&one, deleting(1, 1, [1]));
    let fenced = old.derive(&late, &tables(), NOW).await.unwrap_err();
    assert!(matches!(fenced, DeriveError::Fenced { found: 9, own: 0, .. }), "{fenced}");
    store.delete(&one.number.next().next().path()).await.unwrap();
    assert_eq!(names(&store).await, before);
    assert_told(&store, &newer, "after the older writer").await;

    // Without a newer commit nobody has made what the log says: the line is what counts.
    derive(&mut logs(&store), &late).await;
    assert_told(&store, &late, "a log ahead of the line").await;
}
