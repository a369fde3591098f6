use super::*;
use crate::storage::format::flatten::test_support::conversation;

fn project(name: &str) -> Project {
    (OrganizationId::new("o"), ProjectId::new(name))
}

/// The columns of a file with these documents of one project.
fn choose(registry: &ColumnRegistry, documents: impl IntoIterator<Item = String>) -> Layout {
    choose_of(registry, [("p", documents.into_iter().collect())])
}

/// Of several projects.
fn choose_of<const N: usize>(registry: &ColumnRegistry, projects: [(&str, Vec<String>); N]) -> Layout {
    let mut counts = PathCounts::new(registry);
    for (name, documents) in projects {
        for (number, text) in documents.into_iter().enumerate() {
            counts.add(&project(name), &conversation(number, Some(&text), None)).unwrap();
        }
    }
    registry.choose(counts.finish()).layout
}

fn len(registry: &ColumnRegistry) -> usize {
    registry.columns().by_key.len()
}

/// Documents of which each has the keys.
fn with_keys(documents: usize, keys: impl Iterator<Item = String>) -> Vec<String> {
    let keys: Vec<String> = keys.map(|key| format!(r#""{key}":"x""#)).collect();
    vec![format!("{{{}}}", keys.join(",")); documents]
}

fn names(layout: &Layout) -> Vec<&str> {
    layout.columns.iter().map(|column| column.name.as_str()).collect()
}

#[test]
fn a_new_column_needs_twenty_documents_and_one_percent() {
    let registry = ColumnRegistry::default();
    let documents = (0..3_000).map(|n| match n {
        0..19 => r#"{"few":1}"#.to_owned(),
        19..48 => r#"{"nearly":"x"}"#.to_owned(),
        48..78 => r#"{"enough":"x","deep":{"er":true}}"#.to_owned(),
        _ => "{}".to_owned(),
    });
    let layout = choose(&registry, documents);
    assert_eq!(names(&layout), ["properties_deep_er_boolean", "properties_enough"]);
    // What the table has stays a column in a file where it is rare, and is left out of one without it.
    let layout = choose(&registry, [r#"{"enough":"y","few":2}"#.to_owned()]);
    assert_eq!((names(&layout), len(&registry)), (vec!["properties_enough"], 2));
}

#[test]
fn kinds_are_columns_of_their_own_and_case_clashes_get_a_number() {
    let registry = ColumnRegistry::default();
    let documents = (0..60).map(|n| match n % 3 {
        0 => r#"{"x":1.0,"X":"s"}"#.to_owned(),
        1 => r#"{"x":"t","X":"s"}"#.to_owned(),
        _ => r#"{"x":2,"X":"s"}"#.to_owned(),
    });
    let layout = choose(&registry, documents);
    assert_eq!(names(&layout), ["properties_x", "properties_x_2", "properties_x_number", "properties_x_number_text"]);
}

#[test]
fn the_cap_holds_and_the_frequent_paths_win() {
    let registry = ColumnRegistry::default();
    let documents = (0..40).map(|n| {
        let keys = (0..1_100).filter(|key| n < 20 || *key >= 600).map(|key| format!(r#""k{key}":1"#));
        format!("{{{}}}", keys.collect::<Vec<_>>().join(","))
    });
    let layout = choose(&registry, documents);
    assert_eq!((layout.columns.len(), len(&registry)), (MAX_PROJECT_COLUMNS, MAX_PROJECT_COLUMNS));
    assert!((600..1_100).all(|key| layout.columns.iter().any(|c| c.path == [format!("k{key}")])));
}

#[test]
fn random_keys_are_forgotten_and_frequent_ones_survive() {
    let registry = ColumnRegistry::default();
    let documents = (0..3_000).map(|n| {
        let keys = (0..100).map(|key| format!(r#""r{n}_{key}":1"#)).collect::<Vec<_>>().join(",");
        format!(r#"{{"kept":1,{keys}}}"#)
    });
    let mut counts = PathCounts::new(&registry);
    for (number, text) in documents.enumerate() {
        counts.add(&project("p"), &conversation(number, Some(&text), None)).unwrap();
        assert!(counts.fields[0].trie.len() <= MAX_COUNTED_PATHS + 101);
    }
    let layout = registry.choose(counts.finish()).layout;
    assert_eq!(names(&layout), ["properties_kept_number", "properties_kept_number_text"]);
}

#[test]
fn long_paths_are_no_columns() {
    let registry = ColumnRegistry::default();
    let long = |length: usize| format!(r#"{{"{}":{{"b":1}}}}"#, "a".repeat(length - 2));
    let documents = (0..40).map(|n| long(256 + n % 2));
    let layout = choose(&registry, documents);
    assert_eq!(layout.columns.len(), 1);
    assert_eq!(layout.columns[0].path[0].len(), 254);
}

/// Each path has one name, whoever asks first, and no two have the same.
#[test]
fn files_written_side_by_side_agree_on_names() {
    let registry = ColumnRegistry::default();
    let file = |keys: [&'static str; 2]| with_keys(20, keys.into_iter().map(str::to_owned));
    let counted = |documents: Vec<String>| {
        let mut counts = PathCounts::new(&registry);
        for (number, text) in documents.iter().enumerate() {
            counts.add(&project("p"), &conversation(number, Some(text), None)).unwrap();
        }
        counts.finish()
    };
    // Both have counted before one of them has chosen.
    let (first, second) = (counted(file(["planName", "a.b"])), counted(file(["plan_name", "planName"])));
    let (first, second) = (registry.choose(first).layout, registry.choose(second).layout);
    assert_eq!(names(&first), ["properties_a_u2e_b", "properties_plan_name"]);
    assert_eq!(names(&second), ["properties_plan_name", "properties_plan_name_2"]);
    assert_eq!(second.columns[0].path, ["planName"]);
}

#[test]
fn names_are_not_those_of_plain_columns() {
    let registry = ColumnRegistry::default();
    let layout = choose(&registry, with_keys(20, ["remainder"].into_iter().map(str::to_owned)));
    assert_eq!(names(&layout), ["properties_remainder_2"]);
    let numbers = vec![r#"{"score":1,"score_number":"x"}"#.to_owned(); 20];
    let layout = choose(&registry, numbers);
    assert_eq!(names(&layout), ["properties_score_number", "properties_score_number_2"]);
}

/// A web page may send any keys: these use up what its own project may have.
#[test]
fn no_project_takes_the_columns_of_another() {
    let registry = ColumnRegistry::default();
    for post in 0..21 {
        choose_of(&registry, [("flood", with_keys(20, (0..50).map(|key| format!("r{post}_{key}"))))]);
    }
    assert_eq!(len(&registry), MAX_PROJECT_COLUMNS);
    let other = ["plan".to_owned(), "r0_1".to_owned()];
    let layout = choose_of(&registry, [("other", with_keys(20, other.into_iter()))]);
    assert_eq!(names(&layout), ["properties_plan", "properties_r0_1"]);
    assert_eq!(len(&registry), MAX_PROJECT_COLUMNS + 1, "a path is one column, whoever has it");
    // What is read back of the commits counts the same.
    let again = ColumnRegistry::new(registry.columns().by_key.values().cloned());
    choose_of(&again, [("flood", with_keys(20, ["new".to_owned()].into_iter()))]);
    assert_eq!(len(&again), len(&registry));
    choose_of(&again, [("other", with_keys(20, ["new".to_owned()].into_iter()))]);
    assert_eq!(len(&again), len(&registry) + 1);
}

#[test]
fn a_path_qualifies_by_the_documents_of_its_own_project() {
    let registry = ColumnRegistry::default();
    // 20 documents of a small project beside 5,000 others; the same path in 19 of each is in too few.
    let small = |keys: &[&str]| with_keys(19, keys.iter().map(|key| (*key).to_owned()));
    let mut of_small = small(&["both", "small"]);
    of_small.push(r#"{"small":"x"}"#.to_owned());
    let mut of_large = vec!["{}".to_owned(); 5_000];
    of_large.extend(small(&["both", "large"]));
    of_large.extend(with_keys(30, ["large"].into_iter().map(str::to_owned)));
    let layout = choose_of(&registry, [("large", of_large), ("small", of_small)]);
    assert_eq!(names(&layout), ["properties_small"]);
}

#[test]
fn projects_share_the_columns_of_a_file() {
    let registry = ColumnRegistry::default();
    let own = |project: &str, count: usize| {
        let project = project.to_owned();
        with_keys(20, (0..count).map(move |key| format!("{project}{key}")))
    };
    let layout = choose_of(
        &registry,
        [
            ("a", own("a", 1_000)),
            ("b", own("b", 1_000)),
            ("c", own("c", 10)),
            ("d", own("d", 1_000)),
            ("e", own("e", 1_000)),
            ("f", own("f", 1_000)),
        ],
    );
    assert_eq!(layout.columns.len(), MAX_FILE_COLUMNS);
    let of = |project: &str| layout.columns.iter().filter(|column| column.path[0].starts_with(project)).count();
    assert_eq!(["a", "b", "c", "d", "e", "f"].map(of), [798, 798, 10, 798, 798, 798]);
    assert_eq!(registry.layout(), layout);
}
